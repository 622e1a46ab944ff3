package main

import (
	"fmt"
	"reflect"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

const repairHelp = `Repair a mirrored pool that has lost a drive or a leg.

With a drive that is lost for good, --with names a free one that takes its
place: it is made a part of the volume group, each mirror gets a new leg on it,
and the lost drive is given up, so that it is refused should it come back.
Without --with, drives that are back are used again and mirrors are given legs
back that the kernel has dropped; a drive that was merely pulled out and is
plugged in again needs no command at all.

What will be done is shown first, and asked unless --yes is given. Volumes may
be in use meanwhile; their new legs are copied in the background, and
'lvme pools -o wide' shows how far that is. Interrupted, it goes on where it
was when it is called again.`

// repairFlags are the flags of `lvme pools repair`.
type repairFlags struct {
	storeFlags
	with        string
	dryRun, yes bool
}

func newRepair(env *environment) *cobra.Command {
	var f repairFlags
	cmd := &cobra.Command{
		Use: "repair [--with DRIVE] [--dry-run] [--yes] VG", Short: "Give a mirrored pool another drive, or its legs back", Long: repairHelp,
		Example: "  lvme pools repair lvme-7qk2m1xa --dry-run\n  lvme pools repair lvme-7qk2m1xa --with nvme3n1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := env.node(cmd, f.storeFlags)
			if err != nil {
				return err
			}
			return env.repair(n, f, args[0])
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&f.with, "with", "", "free drive that takes the place of a lost one: a name, path, serial number or ID")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be done and do nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}

// repair shows what is to be done, asks, and does it.
func (env *environment) repair(n node, f repairFlags, vg string) error {
	plan, err := n.planRepair(f, vg)
	if err != nil {
		return err
	}
	if plan.Nothing() {
		fmt.Fprintf(env.stdout, "Nothing to do: no drive of %s is lost, and no mirror lacks a leg. Nothing was changed.\n", vg)
		return nil
	}
	fmt.Fprintf(env.stdout, "To be done to %s:\n\n", vg)
	for _, step := range plan.Steps() {
		fmt.Fprintln(env.stdout, "  - "+table.Plain(step))
	}
	fmt.Fprintln(env.stdout)
	if f.dryRun {
		fmt.Fprintln(env.stdout, "Dry run: nothing was changed.")
		return nil
	}
	if !f.yes {
		if err := env.confirm("Do it?"); err != nil {
			return err
		}
	}
	return env.doRepair(n, f, plan)
}

// planRepair plans on a store that is not changed.
func (n node) planRepair(f repairFlags, vg string) (volume.Repair, error) {
	s, err := n.look()
	if err != nil {
		return volume.Repair{}, err
	}
	defer s.Close()
	if err := n.adopted(s.Key()); err != nil {
		return volume.Repair{}, err
	}
	return f.plan(n, s, vg)
}

func (f repairFlags) plan(n node, s *volume.Store, vg string) (volume.Repair, error) {
	if f.with == "" {
		return s.PlanRepair(n.ctx, vg, nil)
	}
	return s.PlanRepair(n.ctx, vg, func(v drive.Verdict) bool { return names(f.with, v.Drive) })
}

// doRepair carries out what was shown and agreed to, and nothing else.
func (env *environment) doRepair(n node, f repairFlags, shown volume.Repair) error {
	s, err := n.change()
	if err != nil {
		return err
	}
	defer s.Close()
	plan, err := f.plan(n, s, shown.Pool.VG)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(plan.Steps(), shown.Steps()) {
		return fmt.Errorf("the drives changed since the plan was made: nothing was changed, run it again")
	}
	steps := progress{out: env.stdout, now: env.now}
	err = s.Repair(n.ctx, plan, steps.next)
	steps.end(err)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "\nDone. New legs are copied in the background: 'lvme pools -o wide' shows how far. %s has now:\n\n", shown.Pool.VG)
	pools := viewPools(s.Key(), s.Pools(n.ctx))
	return write(env.stdout, output{form: asTable}, pools, pools.Pools, poolColumns)
}

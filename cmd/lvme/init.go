package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

const initHelp = `Take free drives: make a volume group and a thin pool of them, as their drive
class says, for volumes of this node.

What becomes of which drive is shown first, and asked unless --yes is given. A
drive that holds anything (a signature, a partition, a mount) is never taken.
Without DRIVE all free drives are taken; a DRIVE is a name (nvme0n1), a path
below /dev, a serial number or an ID. Done again it changes nothing, and
finishes what was interrupted. An agent that runs takes over by itself.`

// initFlags are the flags of `lvme init`.
type initFlags struct {
	storeFlags
	class       string
	dryRun, yes bool
}

func newInit(env *environment) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use: "init [--dry-run] [--yes] [--class CLASS] [DRIVE...]", Short: "Take free drives for volumes", Long: initHelp,
		Example: "  lvme init --dry-run\n  lvme init\n  lvme init --yes --class fast\n  lvme init /dev/disk/by-id/nvme-eui.0025385c21b0a3f1",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := env.node(cmd, f.storeFlags)
			if err != nil {
				return err
			}
			return env.init(n, f, args)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&f.class, "class", "", "take drives of this drive class only")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be done and do nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}

// init shows the plan, asks, and carries it out.
func (env *environment) init(n node, f initFlags, args []string) error {
	choose := choice{class: f.class, drives: args}
	plan, unfinished, err := n.plan(choose)
	if err != nil {
		return err
	}
	if err := showPlan(env.stdout, plan); err != nil {
		return err
	}
	switch {
	case len(plan.Groups) == 0 && !unfinished:
		fmt.Fprintln(env.stdout, "Nothing to do: no drive is to be taken. Nothing was changed.")
		return nil
	case f.dryRun:
		fmt.Fprintln(env.stdout, "Dry run: nothing was changed.")
		return nil
	case !f.yes && len(plan.Groups) > 0:
		if err := env.confirm(fmt.Sprintf("Take %s?", driveCount(plan))); err != nil {
			return err
		}
	}
	return env.take(n, plan, choose)
}

// plan looks at the drives and says what would be done, and whether something
// that was begun earlier is to be finished.
func (n node) plan(choose choice) (plan volume.Plan, unfinished bool, err error) {
	s, err := n.look()
	if err != nil {
		return volume.Plan{}, false, err
	}
	defer s.Close()
	if err := errors.Join(n.adopted(s.Key()), choose.check(n.options.Config, s.Verdicts())); err != nil {
		return volume.Plan{}, false, err
	}
	unfinished = slices.ContainsFunc(s.Pools(n.ctx), func(p volume.Pool) bool { return !p.Away && p.Problem != "" })
	return s.Plan(choose.takes), unfinished, nil
}

// take carries the plan out. The drives are looked at once more: what was
// shown and agreed to is done, and nothing else.
func (env *environment) take(n node, shown volume.Plan, choose choice) error {
	s, err := n.change()
	if err != nil {
		return err
	}
	defer s.Close()
	plan := s.Plan(choose.takes)
	if fingerprint(plan) != fingerprint(shown) {
		return errors.New("the drives changed since the plan was made (does an agent take them already?): nothing was changed, run it again")
	}
	start := env.now()
	steps := progress{out: env.stdout, now: env.now}
	err = s.Init(n.ctx, plan, steps.next)
	steps.end(err)
	if err != nil {
		return err
	}
	return env.showTaken(n.ctx, s, plan, env.now().Sub(start))
}

// showTaken shows the store after a success.
func (env *environment) showTaken(ctx context.Context, s *volume.Store, plan volume.Plan, took time.Duration) error {
	fmt.Fprintf(env.stdout, "\nTook %s in %s. Store %s has now:\n\n", driveCount(plan), took.Round(time.Millisecond), s.Key())
	pools := viewPools(s.Key(), s.Pools(ctx))
	return write(env.stdout, output{form: asTable}, pools, pools.Pools, poolColumns)
}

// choice says which of the free drives are meant.
type choice struct {
	class  string
	drives []string // names, paths, serial numbers, ids; none means all
}

func (c choice) takes(v drive.Verdict) bool {
	return (c.class == "" || v.Class == c.class) && (len(c.drives) == 0 || slices.ContainsFunc(c.drives, func(a string) bool { return names(a, v.Drive) }))
}

// names says whether a person who writes arg means the drive.
func names(arg string, d drive.Drive) bool {
	return arg == d.Name || arg == d.Path || arg == strings.TrimSpace(d.Serial) || d.Is(arg) || slices.Contains(d.Paths, arg)
}

// check says all that is wrong with the choice: whoever names a drive wants it
// taken, or to know why not.
func (c choice) check(cfg drive.Config, verdicts []drive.Verdict) error {
	var errs []error
	if _, ok := cfg.Class(c.class); !ok {
		var known []string
		for _, class := range cfg.Classes {
			known = append(known, class.Name)
		}
		errs = append(errs, fmt.Errorf("--class is %q, must be one of the configuration's: %s", c.class, strings.Join(known, ", ")))
	}
	for _, arg := range c.drives {
		errs = append(errs, c.checkDrive(arg, verdicts))
	}
	return errors.Join(errs...)
}

func (c choice) checkDrive(arg string, verdicts []drive.Verdict) error {
	var errs []error
	found := false
	for _, v := range verdicts {
		if !names(arg, v.Drive) {
			continue
		}
		found = true
		switch {
		case v.Status == drive.Refused:
			errs = append(errs, fmt.Errorf("%s cannot be taken: %s", arg, strings.Join(v.Reasons, "; ")))
		case v.Status == drive.Free && c.class != "" && v.Class != c.class:
			errs = append(errs, fmt.Errorf("%s cannot be taken for class %s: it belongs to class %s, whose selector comes first", arg, c.class, v.Class))
		}
	}
	if !found {
		return fmt.Errorf("%s is no NVMe drive of this node: 'lvme drives' shows them", arg)
	}
	return errors.Join(errs...)
}

// driveCount counts the drives that a plan takes, in words.
func driveCount(plan volume.Plan) string {
	n := 0
	for _, g := range plan.Groups {
		n += len(g.Drives)
	}
	if n == 1 {
		return "1 drive"
	}
	return fmt.Sprintf("%d drives", n)
}

// fingerprint is equal for plans that make the same of the same drives.
func fingerprint(plan volume.Plan) string {
	var b strings.Builder
	for _, g := range plan.Groups {
		fmt.Fprintf(&b, "%q %d %q %d %d:", g.Class, g.Number, g.Layout, g.ThinBytes, g.ThickBytes)
		for _, d := range g.Drives {
			fmt.Fprintf(&b, " %q %d", d.ID, d.Bytes)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// showPlan shows what becomes of the drives.
func showPlan(w io.Writer, plan volume.Plan) error {
	var left []drive.Verdict
	ours := 0
	for _, v := range plan.Verdicts {
		switch v.Status {
		case drive.Refused:
			left = append(left, v)
		case drive.Ours:
			ours++
		case drive.Free:
			// In the plan, or left out of it by name.
		}
	}
	var errs []error
	if len(plan.Groups) > 0 {
		fmt.Fprintf(w, "To be taken:\n\n")
		errs = append(errs, planTable(plan).Write(w))
		fmt.Fprintln(w)
	}
	if len(left) > 0 {
		fmt.Fprintf(w, "Not to be taken:\n\n")
		errs = append(errs, refusedTable(left).Write(w))
		fmt.Fprintln(w)
	}
	for _, note := range plan.Notes {
		fmt.Fprintln(w, "Note: "+table.Plain(note)+".")
	}
	if ours > 0 {
		fmt.Fprintf(w, "Drives taken already: %d.\n", ours)
	}
	return errors.Join(errs...)
}

func planTable(plan volume.Plan) *table.Table {
	t := table.New("DRIVES", "MODEL", "SERIAL", "CLASS", "LAYOUT", "SIZE", "THIN", "METADATA", "THICK", "RESERVE", "HOLDS")
	for _, g := range plan.Groups {
		for i, d := range g.Drives {
			if i == 0 {
				t.Add(d.Name, d.Model, d.Serial, g.Class, string(g.Layout), size(g.Bytes), size(g.ThinBytes), size(g.MetadataBytes), size(g.ThickBytes), size(g.ReserveBytes), holds(d))
			} else {
				t.Add("+ "+d.Name, d.Model, d.Serial, "\"", "\"", "\"", "\"", "\"", "\"", "\"", holds(d))
			}
		}
	}
	return t
}

// holds says what a free drive holds: no signature is not the same as blank.
func holds(d drive.Drive) string {
	if d.Content.Blank {
		return "nothing"
	}
	return "old data, no signature"
}

// refusedTable has a line for each reason.
func refusedTable(refused []drive.Verdict) *table.Table {
	t := table.New("DRIVE", "MODEL", "SERIAL", "SIZE", "REASON")
	for _, v := range refused {
		d := v.Drive
		t.Add(d.Name, d.Model, d.Serial, size(d.Bytes), strings.Join(v.Reasons, "; "))
	}
	return t
}

// progress writes a line for each step with the time that it took.
type progress struct {
	out   io.Writer
	now   func() time.Time
	begun time.Time
	step  bool
}

// next ends the step before, if any, and begins another.
func (p *progress) next(step string) {
	p.end(nil)
	p.begun, p.step = p.now(), true
	fmt.Fprintf(p.out, "%s ... ", table.Plain(step))
}

// end ends the step.
func (p *progress) end(err error) {
	if !p.step {
		return
	}
	p.step = false
	result := "done"
	if err != nil {
		result = "failed"
	}
	fmt.Fprintf(p.out, "%s in %s\n", result, p.now().Sub(p.begun).Round(time.Millisecond))
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

const drivesHelp = `Show every NVMe drive of this node and what lvme says of it:

  free      'lvme init' would take it
  ours      it holds volumes of this node
  refused   lvme does not touch it; REASON says why and what to do
  away      it holds volumes of this node and is not plugged in`

func newDrives(env *environment) *cobra.Command {
	var f storeFlags
	var out output
	cmd := &cobra.Command{
		Use: "drives", Aliases: []string{"drive"}, Short: "Show the NVMe drives: free, taken, or refused and why", Long: drivesHelp,
		Example: "  lvme drives\n  lvme drives -o wide\n  lvme drives -o json | jq '.drives[] | select(.status == \"free\") | .drive.serial'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.show(cmd, f, func(ctx context.Context, s *volume.Store) error {
				v := viewDrives(s.Key(), s.Verdicts(), s.Pools(ctx))
				return write(env.stdout, out, v, v.rows(), driveColumns)
			})
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	cmd.AddCommand(newForget(env))
	return cmd
}

// drivesView is `lvme drives -o json`.
type drivesView struct {
	Store  string          `json:"store"`
	Drives []drive.Verdict `json:"drives"`
	Away   []awayDrive     `json:"away"`
}

// awayDrive is a drive of the store that is not in this node.
type awayDrive struct {
	ID     string `json:"id"`
	Model  string `json:"model"`
	Serial string `json:"serial"`
	Bytes  int64  `json:"bytes"`
	VG     string `json:"vg"`
	Class  string `json:"class"`
}

// statusAway is the word for drives that only the host record knows.
const statusAway = "away"

func viewDrives(store string, verdicts []drive.Verdict, pools []volume.Pool) drivesView {
	v := drivesView{Store: store, Drives: []drive.Verdict{}, Away: []awayDrive{}}
	for _, verdict := range verdicts {
		verdict.Drive.Controllers, verdict.Drive.Paths = list(verdict.Drive.Controllers), list(verdict.Drive.Paths)
		v.Drives = append(v.Drives, verdict)
	}
	here := func(id string) bool {
		return slices.ContainsFunc(verdicts, func(v drive.Verdict) bool { return v.Drive.Is(id) })
	}
	for _, p := range pools {
		for _, d := range p.Drives {
			if d.Path == "" && !here(d.ID) {
				v.Away = append(v.Away, awayDrive{ID: d.ID, Model: d.Model, Serial: d.Serial, Bytes: d.Bytes, VG: p.VG, Class: p.Class})
			}
		}
	}
	return v
}

// rows brings the drives that are away into the form of the others.
func (v drivesView) rows() []drive.Verdict {
	rows := slices.Clone(v.Drives)
	for _, d := range v.Away {
		rows = append(rows, drive.Verdict{
			Drive:  drive.Drive{ID: d.ID, Model: d.Model, Serial: d.Serial, Bytes: d.Bytes, NUMANode: -1},
			Status: statusAway, Class: d.Class, VG: d.VG,
			Reasons: []string{"not in this node: plug it in again, or give it up with `lvme drives forget`"},
		})
	}
	return rows
}

var driveColumns = []column[drive.Verdict]{
	{"NAME", false, func(v drive.Verdict) string { return v.Drive.Name }},
	{"MODEL", false, func(v drive.Verdict) string { return v.Drive.Model }},
	{"SERIAL", false, func(v drive.Verdict) string { return v.Drive.Serial }},
	{"SIZE", false, func(v drive.Verdict) string { return table.Bytes(v.Drive.Bytes) }},
	{"NUMA", false, numa},
	{"FIRMWARE", true, func(v drive.Verdict) string { return v.Drive.Firmware }},
	{"TRANSPORT", true, func(v drive.Verdict) string { return v.Drive.Transport }},
	{"ADDRESS", true, func(v drive.Verdict) string { return v.Drive.Address }},
	{"BLOCK", true, func(v drive.Verdict) string { return size(v.Drive.LogicalBlock) }},
	{"USED-LIFE", true, usedLife},
	{"HEALTH", true, func(v drive.Verdict) string { return string(v.Drive.Health.Status) }},
	{"ID", true, func(v drive.Verdict) string { return v.Drive.ID }},
	{"STATUS", false, func(v drive.Verdict) string { return string(v.Status) }},
	{"CLASS", false, func(v drive.Verdict) string { return v.Class }},
	{"VG", false, func(v drive.Verdict) string { return v.VG }},
	{"REASON", false, func(v drive.Verdict) string { return strings.Join(remarks(v), "; ") }},
}

func numa(v drive.Verdict) string {
	if v.Drive.NUMANode < 0 {
		return ""
	}
	return strconv.Itoa(v.Drive.NUMANode)
}

func usedLife(v drive.Verdict) string {
	if v.Drive.Health.SMART == nil {
		return ""
	}
	return strconv.Itoa(v.Drive.Health.SMART.PercentageUsed) + "%"
}

// remarks are all that is to be said of a drive: why it was refused, what else
// an operator should know, and ill health.
func remarks(v drive.Verdict) []string {
	all := slices.Concat(v.Reasons, v.Notes)
	if h := v.Drive.Health; h.Status == drive.HealthWarning || h.Status == drive.HealthCritical {
		all = append(all, fmt.Sprintf("health is %s: %s", h.Status, strings.Join(h.Reasons, ", ")))
	}
	return all
}

const forgetHelp = `Give up a drive that is away and does not come back: dead, stolen, or moved to
another node for good. From then on its volumes and snapshots count as deleted,
so that whatever waits for them can go on. Drives in this node are never
forgotten.`

func newForget(env *environment) *cobra.Command {
	var f storeFlags
	var serial string
	var yes bool
	cmd := &cobra.Command{
		Use: "forget (--serial SERIAL | ID)", Short: "Give up a drive that is away, and the volumes on it", Long: forgetHelp,
		Example: "  lvme drives forget --serial S5H9NS0T901234\n  lvme drives forget eui.0025385c21b0a3f1 --yes",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || (len(args) == 1) == (serial != "") {
				return fmt.Errorf("one drive is to be named, by its ID or by --serial")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := env.node(cmd, f)
			if err != nil {
				return err
			}
			return env.forget(n, strings.Join(args, ""), serial, yes)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&serial, "serial", "", "serial number of the drive")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// forget gives up the pools on the drive with that id or serial number.
func (env *environment) forget(n node, id, serial string, yes bool) error {
	match := func(d volume.PoolDrive) bool {
		return id != "" && d.ID == id || serial != "" && strings.TrimSpace(d.Serial) == serial
	}
	s, err := n.look()
	if err != nil {
		return err
	}
	defer s.Close()
	pools := slices.DeleteFunc(s.Pools(n.ctx), func(p volume.Pool) bool { return !slices.ContainsFunc(p.Drives, match) })
	if len(pools) == 0 {
		return fmt.Errorf("no drive of this store is %s: 'lvme drives -o wide' shows those that are away, with their ids", cmp.Or(id, serial))
	}
	for _, p := range pools {
		if !p.Away {
			return fmt.Errorf("volume group %s is in this node: only drives that are away can be forgotten; move its volumes away and remove it with LVM instead", p.VG)
		}
	}
	if err := env.mayForget(pools, yes); err != nil {
		return err
	}
	changed, err := n.change()
	if err != nil {
		return err
	}
	defer changed.Close()
	gone, err := changed.Forget(n.ctx, match)
	for _, p := range gone {
		fmt.Fprintf(env.stdout, "forgot volume group %s of class %s\n", p.VG, p.Class)
	}
	return err
}

func (env *environment) mayForget(pools []volume.Pool, yes bool) error {
	t := table.New("VG", "CLASS", "MODEL", "SERIAL", "SIZE", "ID")
	for _, p := range pools {
		for _, d := range p.Drives {
			t.Add(p.VG, p.Class, d.Model, d.Serial, table.Bytes(d.Bytes), d.ID)
		}
	}
	if err := t.Write(env.stdout); err != nil || yes {
		return err
	}
	return env.confirm("All volumes and snapshots on them count as deleted from then on. Forget them?")
}

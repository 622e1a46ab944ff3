package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

func newSnapshots(env *environment) *cobra.Command {
	var f storeFlags
	var out output
	cmd := &cobra.Command{
		Use: "snapshots", Aliases: []string{"snapshot"}, Short: "Show the snapshots",
		Long:    "Show the snapshots on the drives that are in this node.\n\nRESERVED is what a snapshot counts against its pool: what its source held when\nit was taken. The ID (-o wide) is the snapshotHandle of its\nVolumeSnapshotContent.",
		Example: "  lvme snapshots\n  lvme snapshots -o json | jq '.snapshots[] | {name, source}'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.show(cmd, f, func(ctx context.Context, s *volume.Store) error {
				snapshots, err := s.Snapshots(ctx)
				if err != nil {
					return fmt.Errorf("list snapshots: %w", err)
				}
				env.sayAway(s.Pools(ctx))
				v := viewSnapshots(s.Key(), snapshots, env.now())
				return write(env.stdout, out, v, v.Snapshots, snapshotColumns)
			})
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	return cmd
}

// snapshotsView is `lvme snapshots -o json`.
type snapshotsView struct {
	Store     string         `json:"store"`
	Snapshots []snapshotView `json:"snapshots"`
}

type snapshotView struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Source   string    `json:"source"`
	Class    string    `json:"class"`
	VG       string    `json:"vg"`
	Mode     string    `json:"mode"`
	State    string    `json:"state"`
	FSType   string    `json:"fsType,omitempty"`
	Profile  string    `json:"profile"`
	Bytes    int64     `json:"bytes"`
	Reserved int64     `json:"reservedBytes"`
	Created  time.Time `json:"created"`

	age string
}

func viewSnapshots(store string, snapshots []volume.Snapshot, now time.Time) snapshotsView {
	v := snapshotsView{Store: store, Snapshots: []snapshotView{}}
	for _, o := range snapshots {
		v.Snapshots = append(v.Snapshots, snapshotView{
			ID: o.Key.String(), Name: o.Name, Source: o.Source.String(), Class: o.Class, VG: volume.VGName(o.Key.VG),
			Mode: string(o.Mode), State: string(o.State), FSType: o.FSType, Profile: o.Profile, Bytes: o.Bytes,
			Reserved: o.Reserved, Created: o.Created, age: table.Age(now.Sub(o.Created)),
		})
	}
	return v
}

var snapshotColumns = []column[snapshotView]{
	{"NAME", false, func(s snapshotView) string { return s.Name }},
	{"SOURCE", false, func(s snapshotView) string { return lvOf(s.Source) }},
	{"SIZE", false, func(s snapshotView) string { return table.Bytes(s.Bytes) }},
	{"RESERVED", false, func(s snapshotView) string { return table.Bytes(s.Reserved) }},
	{"CLASS", false, func(s snapshotView) string { return s.Class }},
	{"CONTENT", false, func(s snapshotView) string { return content(s.Mode, s.FSType) }},
	{"PROFILE", true, func(s snapshotView) string { return s.Profile }},
	{"ID", true, func(s snapshotView) string { return s.ID }},
	{"AGE", false, func(s snapshotView) string { return s.age }},
}

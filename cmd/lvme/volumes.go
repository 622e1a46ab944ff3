package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

func newVolumes(env *environment) *cobra.Command {
	var f storeFlags
	var out output
	cmd := &cobra.Command{
		Use: "volumes", Aliases: []string{"volume"}, Short: "Show the volumes",
		Long:    "Show the volumes on the drives that are in this node.\n\nSTATE is what is known of the content, STAGED whether the volume is in use on\nthis node. The ID (-o wide) is the volumeHandle of its PersistentVolume.",
		Example: "  lvme volumes\n  lvme volumes -o json | jq '.volumes[] | {id, bytes}'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.show(cmd, f, func(ctx context.Context, s *volume.Store) error {
				volumes, err := s.Volumes(ctx)
				if err != nil {
					return fmt.Errorf("list volumes: %w", err)
				}
				env.sayAway(s.Pools(ctx))
				v := viewVolumes(s.Key(), volumes, env.now())
				return write(env.stdout, out, v, v.Volumes, volumeColumns)
			})
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	return cmd
}

// sayAway says that a list is not the whole truth.
func (env *environment) sayAway(pools []volume.Pool) {
	for _, p := range pools {
		if p.Away {
			fmt.Fprintf(env.stderr, "lvme: what is on %s is not listed: %s\n", p.VG, table.Plain(p.Problem))
		}
	}
}

// volumesView is `lvme volumes -o json`.
type volumesView struct {
	Store   string       `json:"store"`
	Volumes []volumeView `json:"volumes"`
}

type volumeView struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Class       string    `json:"class"`
	VG          string    `json:"vg"`
	Type        string    `json:"type"`
	Mode        string    `json:"mode"`
	State       string    `json:"state"`
	FSType      string    `json:"fsType,omitempty"`
	Profile     string    `json:"profile"`
	MkfsOptions []string  `json:"mkfsOptions,omitempty"`
	Bytes       int64     `json:"bytes"`
	Source      string    `json:"source,omitempty"`
	Created     time.Time `json:"created"`
	Staged      bool      `json:"staged"`

	age string
}

func viewVolumes(store string, volumes []volume.Volume, now time.Time) volumesView {
	v := volumesView{Store: store, Volumes: []volumeView{}}
	for _, o := range volumes {
		v.Volumes = append(v.Volumes, volumeView{
			ID: o.Key.String(), Name: o.Name, Class: o.Class, VG: volume.VGName(o.Key.VG), Type: string(o.Type), Mode: string(o.Mode),
			State: string(o.State), FSType: o.FSType, Profile: o.Profile, MkfsOptions: o.MkfsOptions, Bytes: o.Bytes,
			Source: o.Source.String(), Created: o.Created, Staged: o.Active, age: table.Age(now.Sub(o.Created)),
		})
	}
	return v
}

var volumeColumns = []column[volumeView]{
	{"NAME", false, func(v volumeView) string { return v.Name }},
	{"SIZE", false, func(v volumeView) string { return table.Bytes(v.Bytes) }},
	{"CLASS", false, func(v volumeView) string { return v.Class }},
	{"TYPE", false, func(v volumeView) string { return v.Type }},
	{"CONTENT", false, func(v volumeView) string { return content(v.Mode, v.FSType) }},
	{"STATE", false, func(v volumeView) string { return v.State }},
	{"STAGED", false, func(v volumeView) string { return yesNo(v.Staged) }},
	{"PROFILE", true, func(v volumeView) string { return v.Profile }},
	{"SOURCE", true, func(v volumeView) string { return lvOf(v.Source) }},
	{"ID", true, func(v volumeView) string { return v.ID }},
	{"AGE", false, func(v volumeView) string { return v.age }},
}

// content is the filesystem of a volume, or that it is a block device.
func content(mode, fsType string) string {
	if mode == string(volume.Block) {
		return string(volume.Block)
	}
	return cmp.Or(fsType, mode)
}

// lvOf is the last part of an id, which tells a person enough.
func lvOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

const orphansHelp = `List the volumes and snapshots of this node that nothing in the cluster stands
for: no PersistentVolume or VolumeSnapshotContent has their id. Nothing is
deleted; COMMAND is what a person would type to delete one.

The cluster's list is the JSON of

  kubectl get pv,volumesnapshotcontent -o json

of the whole cluster. What is younger than --grace is marked, since the cluster
may just be noting it, and what is in use is never to be deleted by hand.`

func newOrphans(env *environment) *cobra.Command {
	var f storeFlags
	var out output
	var pvs string
	var grace time.Duration
	cmd := &cobra.Command{
		Use: "orphans --pvs FILE|-", Short: "Show volumes and snapshots that the cluster does not know", Long: orphansHelp,
		Example: "  kubectl get pv,volumesnapshotcontent -o json | lvme orphans --pvs -\n  lvme orphans --pvs list.json -o json | jq -r '.orphans[].delete'",
		Args: func(cmd *cobra.Command, args []string) error {
			if pvs == "" {
				return errors.New("the cluster's list is to be named: --pvs FILE, or --pvs - for standard input")
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := env.enter(); err != nil {
				return err
			}
			claims, err := env.readClaims(pvs)
			if err != nil {
				return err
			}
			return env.show(cmd, f, func(ctx context.Context, s *volume.Store) error {
				return env.orphans(ctx, s, claims, grace, out)
			})
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	cmd.Flags().StringVar(&pvs, "pvs", "", "`file` with the cluster's PersistentVolumes and VolumeSnapshotContents as a\nlist in JSON; - for standard input")
	cmd.Flags().DurationVar(&grace, "grace", time.Hour, "how old a volume must be before it is said how to delete it")
	return cmd
}

func (env *environment) orphans(ctx context.Context, s *volume.Store, claims volume.Claims, grace time.Duration, out output) error {
	volumes, err := s.Volumes(ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	snapshots, err := s.Snapshots(ctx)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	env.sayAway(s.Pools(ctx))
	v := viewOrphans(s.Key(), s.Orphans(volumes, snapshots, claims, grace), env.now())
	return write(env.stdout, out, v, v.Orphans, orphanColumns)
}

// clusterObject is what is read of a PersistentVolume or VolumeSnapshotContent.
type clusterObject struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		// Of a PersistentVolume.
		CSI *struct {
			Driver       string `json:"driver"`
			VolumeHandle string `json:"volumeHandle"`
		} `json:"csi"`
		// Of a VolumeSnapshotContent.
		Driver string `json:"driver"`
		Source struct {
			SnapshotHandle string `json:"snapshotHandle"`
		} `json:"source"`
		VolumeSnapshotRef struct {
			UID string `json:"uid"`
		} `json:"volumeSnapshotRef"`
	} `json:"spec"`
	Status struct {
		SnapshotHandle string `json:"snapshotHandle"`
	} `json:"status"`
}

// readClaims reads the cluster's list. One that is cut short must not read as a
// cluster that has less.
func (env *environment) readClaims(file string) (volume.Claims, error) {
	data, err := env.readList(file)
	if err != nil {
		return volume.Claims{}, fmt.Errorf("--pvs: %w", err)
	}
	var list struct {
		Kind  string           `json:"kind"`
		Items *[]clusterObject `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return volume.Claims{}, fmt.Errorf("--pvs: it is no JSON of a list: %w", err)
	}
	if list.Items == nil {
		return volume.Claims{}, errors.New("--pvs: it is no list: 'kubectl get pv,volumesnapshotcontent -o json' makes one")
	}
	c := volume.Claims{Volumes: map[string]bool{}, Snapshots: map[string]bool{}, VolumeNames: map[string]string{}, SnapshotNames: map[string]string{}}
	for _, o := range *list.Items {
		switch o.Kind {
		case "PersistentVolume":
			if o.Spec.CSI != nil && o.Spec.CSI.Driver == driver.Name {
				c.Volumes[o.Spec.CSI.VolumeHandle], c.VolumeNames[o.Metadata.Name] = true, o.Spec.CSI.VolumeHandle
			}
		case "VolumeSnapshotContent":
			if o.Spec.Driver == driver.Name {
				o.claim(&c)
			}
		default:
			return volume.Claims{}, fmt.Errorf("--pvs: there is a %q in the list: 'kubectl get pv,volumesnapshotcontent -o json' makes one without", o.Kind)
		}
	}
	return c, nil
}

// claim notes a snapshot. One that is just being taken has no id yet, and the
// name that csi-snapshotter gives it.
func (o clusterObject) claim(c *volume.Claims) {
	for _, id := range []string{o.Status.SnapshotHandle, o.Spec.Source.SnapshotHandle} {
		if id != "" {
			c.Snapshots[id] = true
		}
	}
	id := o.Status.SnapshotHandle
	if id == "" {
		id = o.Spec.Source.SnapshotHandle
	}
	c.SnapshotNames["snapshot-"+o.Spec.VolumeSnapshotRef.UID] = id
}

func (env *environment) readList(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(env.stdin)
	}
	return env.readFile(file)
}

// orphansView is `lvme orphans -o json`.
type orphansView struct {
	Store   string       `json:"store"`
	Orphans []orphanView `json:"orphans"`
}

type orphanView struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	VG      string    `json:"vg"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
	Young   bool      `json:"young"`
	InUse   bool      `json:"inUse"`
	Reason  string    `json:"reason"`
	Delete  string    `json:"delete,omitempty"`

	age string
}

func viewOrphans(store string, orphans []volume.Orphan, now time.Time) orphansView {
	v := orphansView{Store: store, Orphans: []orphanView{}}
	for _, o := range orphans {
		kind := "volume"
		if o.Snapshot {
			kind = "snapshot"
		}
		v.Orphans = append(v.Orphans, orphanView{
			ID: o.Key.String(), Kind: kind, Name: o.Name, VG: volume.VGName(o.Key.VG), Bytes: o.Bytes, Created: o.Created,
			Young: o.Young, InUse: o.Active, Reason: o.Reason, Delete: o.Delete, age: table.Age(now.Sub(o.Created)),
		})
	}
	return v
}

var orphanColumns = []column[orphanView]{
	{"KIND", false, func(o orphanView) string { return o.Kind }},
	{"NAME", false, func(o orphanView) string { return o.Name }},
	{"VG", false, func(o orphanView) string { return o.VG }},
	{"SIZE", false, func(o orphanView) string { return table.Bytes(o.Bytes) }},
	{"AGE", false, func(o orphanView) string { return o.age }},
	{"STATUS", false, orphanView.status},
	{"ID", true, func(o orphanView) string { return o.ID }},
	{"REASON", false, func(o orphanView) string { return o.Reason }},
	{"COMMAND", false, func(o orphanView) string { return o.Delete }},
}

func (o orphanView) status() string {
	switch {
	case o.InUse:
		return "in use"
	case o.Young:
		return "young"
	}
	return "orphan"
}

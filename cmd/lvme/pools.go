package main

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

const poolsHelp = `Show the pools of this node: each is an LVM volume group with a thin pool in it.

THIN is the size of the thin pool, USED what it holds, and COMMITTED what its
volumes and snapshots may come to hold; new volumes fit as long as COMMITTED
stays below THIN, or below what the class overcommits. META is how much of the
thin pool's metadata is used. THICK is the share for thick volumes. RESERVE is
what is left to extend the pool and its metadata with, LENT what they have had
of it. SYNC is how far the legs of a mirrored pool agree.`

func newPools(env *environment) *cobra.Command {
	var f storeFlags
	var out output
	cmd := &cobra.Command{
		Use: "pools", Aliases: []string{"pool"}, Short: "Show the pools and how full they are", Long: poolsHelp,
		Example: "  lvme pools\n  lvme pools -o json | jq '.pools[] | {vg, thinUsedBytes}'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.show(cmd, f, func(ctx context.Context, s *volume.Store) error {
				v := viewPools(s.Key(), s.Pools(ctx))
				return write(env.stdout, out, v, v.Pools, poolColumns)
			})
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	cmd.AddCommand(newRepair(env))
	return cmd
}

// poolsView is `lvme pools -o json`.
type poolsView struct {
	Store string     `json:"store"`
	Pools []poolView `json:"pools"`
}

type poolView struct {
	VG     string          `json:"vg"`
	Class  string          `json:"class"`
	Number int             `json:"number"`
	Layout string          `json:"layout"`
	Drives []poolDriveView `json:"drives"`
	Away   bool            `json:"away"`

	Bytes         int64 `json:"bytes"`
	ThinBytes     int64 `json:"thinBytes"`
	ThinUsed      int64 `json:"thinUsedBytes"`
	ThinCommitted int64 `json:"thinCommittedBytes"`
	MetadataBytes int64 `json:"metadataBytes"`
	MetadataUsed  int64 `json:"metadataUsedBytes"`
	ThickBytes    int64 `json:"thickBytes"`
	ThickUsed     int64 `json:"thickUsedBytes"`
	Wiping        int64 `json:"wipingBytes"`
	Reserve       int64 `json:"reserveBytes"` // left of it
	Lent          int64 `json:"lentBytes"`

	Mirror *mirrorView `json:"mirror,omitempty"` // of a mirrored pool

	Volumes   int      `json:"volumes"`
	Snapshots int      `json:"snapshots"`
	Strange   []string `json:"strange"` // logical volumes that are not lvme's
	Problem   string   `json:"problem,omitempty"`
	Warning   string   `json:"warning,omitempty"`
}

type poolDriveView struct {
	ID     string `json:"id"`
	Path   string `json:"path,omitempty"` // empty when it is away
	Model  string `json:"model"`
	Serial string `json:"serial"`
	Bytes  int64  `json:"bytes"`
}

// mirrorView tells of the mirrors of a pool that are active.
type mirrorView struct {
	Bytes  int64 `json:"bytes"`
	Synced int64 `json:"syncedBytes"` // alike on the legs that work
	Failed int   `json:"failed"`      // mirrors that work with one leg
}

func viewMirror(m volume.Mirror) *mirrorView {
	if m.Bytes == 0 {
		return nil
	}
	return &mirrorView{Bytes: m.Bytes, Synced: m.Synced, Failed: m.Failed}
}

func viewPools(store string, pools []volume.Pool) poolsView {
	v := poolsView{Store: store, Pools: []poolView{}}
	for _, p := range pools {
		one := poolView{
			VG: p.VG, Class: p.Class, Number: p.Number, Layout: p.Layout, Drives: []poolDriveView{}, Away: p.Away,
			Bytes: p.Bytes, ThinBytes: p.ThinBytes, ThinUsed: p.ThinUsed, ThinCommitted: p.ThinCommitted,
			MetadataBytes: p.MetadataBytes, MetadataUsed: p.MetadataUsed, ThickBytes: p.ThickBytes, ThickUsed: p.ThickUsed,
			Wiping: p.Wiping, Reserve: p.Reserve, Lent: p.Lent, Mirror: viewMirror(p.Mirror),
			Volumes: p.Volumes, Snapshots: p.Snapshots, Strange: list(p.Strange), Problem: p.Problem, Warning: p.Warning,
		}
		for _, d := range p.Drives {
			one.Drives = append(one.Drives, poolDriveView(d))
		}
		v.Pools = append(v.Pools, one)
	}
	return v
}

var poolColumns = []column[poolView]{
	{"VG", false, func(p poolView) string { return p.VG }},
	{"CLASS", false, func(p poolView) string { return p.Class }},
	{"LAYOUT", false, func(p poolView) string { return p.Layout }},
	{"DRIVES", false, poolView.driveNames},
	{"SERIALS", true, poolView.serials},
	{"SIZE", false, func(p poolView) string { return size(p.Bytes) }},
	{"THIN", false, func(p poolView) string { return size(p.ThinBytes) }},
	{"USED", false, func(p poolView) string { return table.Percent(p.ThinUsed, p.ThinBytes) }},
	{"COMMITTED", false, func(p poolView) string { return table.Percent(p.ThinCommitted, p.ThinBytes) }},
	{"META", false, func(p poolView) string { return table.Percent(p.MetadataUsed, p.MetadataBytes) }},
	{"THICK", false, func(p poolView) string { return size(p.ThickBytes) }},
	{"THICK-USED", true, func(p poolView) string { return table.Percent(p.ThickUsed, p.ThickBytes) }},
	{"WIPING", true, func(p poolView) string { return size(p.Wiping) }},
	{"RESERVE", true, func(p poolView) string { return size(p.Reserve) }},
	{"LENT", true, func(p poolView) string { return size(p.Lent) }},
	{"SYNC", true, poolView.sync},
	{"VOLUMES", false, func(p poolView) string { return count(p, p.Volumes) }},
	{"SNAPSHOTS", false, func(p poolView) string { return count(p, p.Snapshots) }},
	{"STATUS", false, poolView.status},
}

func (p poolView) driveNames() string {
	var names []string
	for _, d := range p.Drives {
		if d.Path == "" {
			names = append(names, "("+strings.TrimSpace(d.Serial)+")")
		} else {
			names = append(names, path.Base(d.Path))
		}
	}
	return strings.Join(names, ",")
}

func (p poolView) serials() string {
	var serials []string
	for _, d := range p.Drives {
		serials = append(serials, strings.TrimSpace(d.Serial))
	}
	return strings.Join(serials, ",")
}

// sync is how far mirrors are with making their legs alike.
func (p poolView) sync() string {
	switch {
	case p.Mirror == nil:
		return ""
	case p.Mirror.Failed > 0:
		return "one leg"
	}
	return table.Percent(p.Mirror.Synced, p.Mirror.Bytes)
}

func (p poolView) status() string {
	switch {
	case p.Problem != "":
		return p.Problem
	case p.Warning != "":
		return p.Warning
	case p.Mirror != nil && p.Mirror.Failed > 0:
		return fmt.Sprintf("ok; %d of its mirrors work with one leg", p.Mirror.Failed)
	case len(p.Strange) > 0:
		return "ok; not lvme's: " + strings.Join(p.Strange, ", ")
	}
	return "ok"
}

// size is a size that is worth a cell.
func size(n int64) string {
	if n == 0 {
		return ""
	}
	return table.Bytes(n)
}

// count counts what is in a pool; of one that is away nobody knows.
func count(p poolView, n int) string {
	if p.Away {
		return ""
	}
	return strconv.Itoa(n)
}

package data

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// deed is one change of a volume or snapshot that was acknowledged.
type deed struct {
	what string
	// begun and done are moments of the drive's record.
	begun, done int
	// lv is its logical volume, and bytes its size afterwards: 0 for gone.
	lv    string
	bytes int64
}

// TestNodeReplay records what a drive with a volatile write cache is told while
// volumes and snapshots are made, grown and deleted, and then cuts the power at
// one of seven of these moments (of three with LVME_DATA=full), three times: all that was written is left, or what was flushed, or that and the last
// write. Each time an agent that starts must list what had been acknowledged,
// nothing that had not been begun, and work.
func TestNodeReplay(t *testing.T) {
	n := startNodeWith(t, `classes:
  - {name: one, select: {serials: [R]}, layout: per-drive, thin: {share: 70}, thick: {share: 15}, reserve: 5}
`, bed.Drive{Serial: "R", Size: gib, Volatile: true})
	eventually(t, "the thick share is wiped", func() bool {
		bytes, err := n.agent.Available(t.Context(), "thick")
		return err == nil && bytes > 0
	})
	record, deeds := n.recorded(t)
	must(t, n.agent.Stop(t.Context()))
	vg := strings.TrimSpace(n.sh(t, `vgs --noheadings -o vg_name`))
	end := record.Moment()
	step := 7
	if os.Getenv("LVME_DATA") == "full" {
		step = 3
	}
	t.Logf("%d moments, every %d-th", end, step)
	for moment := 1; moment <= end; moment += step {
		cuts := map[string]bed.Left{"all": bed.LeftAll}
		if record.Writes(moment) {
			cuts["flushed"], cuts["flushed and the last"] = bed.LeftNone, bed.LeftLast
		}
		for left, how := range cuts {
			n.sh(t, `vgchange -an "$1" >/dev/null 2>&1 || true; for d in $(dmsetup ls | cut -f 1); do dmsetup remove --retry "$d" || true; done`, vg)
			must(t, n.RemoveDrive(t.Context(), "R"))
			must(t, record.Rewind(moment, how))
			must(t, n.ReplugDrive(t.Context(), "R"))
			n.replayed(t, fmt.Sprintf("moment %d, %s is left", moment, left), deeds, moment)
		}
	}
}

// recorded makes changes and says which, while the drive is recorded.
func (n *wholeNode) recorded(t *testing.T) (bed.Record, []deed) {
	t.Helper()
	record, err := n.RecordDrive("R")
	must(t, err)
	var deeds []deed
	do := func(what string, change func() (id string, bytes int64)) string {
		d := deed{what: what, begun: record.Moment()}
		id, bytes := change()
		d.done, d.lv, d.bytes = record.Moment(), id[strings.LastIndex(id, "/")+1:], bytes
		deeds = append(deeds, d)
		t.Logf("%s: moments %d to %d", what, d.begun, d.done)
		return id
	}
	create := func(name, kind string) *rig.Volume {
		var v *rig.Volume
		do("create "+name, func() (string, int64) {
			var err error
			v, err = n.agent.Create(t.Context(), rig.Spec{Name: name, Bytes: 16 * mib, Parameters: map[string]string{"type": kind}})
			must(t, err)
			return v.ID, v.Size
		})
		return v
	}
	grow := func(v *rig.Volume) {
		do("grow "+v.Name, func() (string, int64) {
			resp := ask(t, n.agent.ControllerExpandVolume, v.ExpandRequest(v.Size+8*mib))
			return v.ID, resp.GetCapacityBytes()
		})
	}
	remove := func(v *rig.Volume) {
		do("delete "+v.Name, func() (string, int64) {
			must(t, n.agent.Delete(t.Context(), v))
			return v.ID, 0
		})
	}
	thin, thick := create("thin", "thin"), create("thick", "thick")
	snapshot := do("snapshot", func() (string, int64) {
		id, err := n.agent.Snapshot(t.Context(), "snap", thin)
		must(t, err)
		return id, thin.Size
	})
	grow(thin)
	grow(thick)
	do("delete the snapshot", func() (string, int64) {
		ask(t, n.agent.DeleteSnapshot, &csi.DeleteSnapshotRequest{SnapshotId: snapshot})
		return snapshot, 0
	})
	remove(thick)
	remove(thin)
	return record, deeds
}

// replayed starts an agent on what a power cut at a moment has left.
func (n *wholeNode) replayed(t *testing.T, what string, deeds []deed, moment int) {
	t.Helper()
	n.serve(t)
	eventually(t, what+": the drive is served", func() bool { return n.metric(t, "lvme_pool_ok") == 1 })
	listed := map[string]int64{}
	for id, bytes := range n.listed(t) {
		listed[id[strings.LastIndex(id, "/")+1:]] = bytes
	}
	for _, lv := range []string{"v-thin", "v-thick", "s-snap"} {
		if may := sizesAt(deeds, lv, moment); !slices.Contains(may, listed[lv]) {
			t.Errorf("%s: %s has %d bytes, and may have %v", what, lv, listed[lv], may)
		}
	}
	var v *rig.Volume
	must(t, insistEver(t.Context(), func(ctx context.Context) (err error) {
		v, err = n.agent.Create(ctx, rig.Spec{Name: "works", FS: "ext4", Bytes: 16 * mib})
		return err
	}))
	must(t, n.agent.Delete(t.Context(), v))
	var said struct {
		Findings []struct{ Severity, Check, Meaning string }
	}
	must(t, json.Unmarshal([]byte(n.sh(t, `"$1" doctor -o json || [ $? = 3 ]`, rig.Binary)), &said))
	for _, f := range said.Findings {
		if f.Severity == "error" {
			t.Errorf("%s: the doctor finds %s: %s", what, f.Check, f.Meaning)
		}
	}
	must(t, n.agent.Stop(t.Context()))
}

// sizesAt are the sizes that an LV may have at a moment: that of the last change
// that was acknowledged by then, and of those that had begun.
func sizesAt(deeds []deed, lv string, moment int) []int64 {
	may := []int64{0}
	for _, d := range deeds {
		switch {
		case d.lv != lv || d.begun >= moment:
		case d.done <= moment:
			may = []int64{d.bytes}
		default:
			may = append(may, d.bytes)
		}
	}
	return may
}

package data

import (
	"fmt"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// TestNodePowerCutForgets cuts the power right after changes were acknowledged,
// of drives with a volatile write cache, which lose all that was not flushed.
// Each change is on a drive of its own: what is flushed for one saves no other.
func TestNodePowerCutForgets(t *testing.T) {
	var config strings.Builder
	var drives []bed.Drive
	config.WriteString("classes:\n")
	for _, name := range []string{"thin", "thick", "grown", "wider", "deleted", "snapped", "staged"} {
		drives = append(drives, bed.Drive{Serial: name, Size: gib, Volatile: true})
		fmt.Fprintf(&config, "  - {name: %s, select: {serials: [%s]}, layout: per-drive, thin: {share: 70}, thick: {share: 15}, reserve: 5}\n", name, name)
	}
	n := startNodeWith(t, config.String(), drives...)
	spec := func(class, kind string) rig.Spec {
		return rig.Spec{Name: class, FS: "ext4", Bytes: 32 * mib, Parameters: map[string]string{"driveClass": class, "type": kind}}
	}
	create := func(s rig.Spec) *rig.Volume {
		v, err := n.agent.Create(t.Context(), s)
		must(t, err)
		return v
	}
	eventually(t, "thick shares are wiped", func() bool {
		return n.sh(t, `lvs --noheadings --options lv_name | grep -c w- || true`) == "0"
	})
	grown, wider := create(spec("grown", "thin")), create(spec("wider", "thick"))
	deleted, snapped, staged := create(spec("deleted", "thick")), create(spec("snapped", "thin")), create(spec("staged", "thin"))
	must(t, n.agent.Publish(t.Context(), staged))
	// All that was done so far is safe: only what follows is at risk.
	n.sh(t, `for d in /dev/nvme?n1; do sync "$d"; done`)

	must(t, n.agent.Unpublish(t.Context(), staged))
	thin, thick := create(spec("thin", "thin")), create(spec("thick", "thick"))
	for _, v := range []*rig.Volume{grown, wider} {
		resp, err := n.agent.ControllerExpandVolume(t.Context(), v.ExpandRequest(48*mib))
		must(t, err)
		v.Size = resp.GetCapacityBytes()
	}
	must(t, n.agent.Delete(t.Context(), deleted))
	snapshot, err := n.agent.Snapshot(t.Context(), "snapped", snapped)
	must(t, err)
	n.HardPowerCut()
	n.agent.Kill()
	t.Logf("the drives forgot: %+v", n.Forgotten())

	must(t, n.Boot(t.Context()))
	n.serve(t)
	want := map[string]int64{snapshot: snapped.Size}
	for _, v := range []*rig.Volume{thin, thick, grown, wider, snapped, staged} {
		want[v.ID] = v.Size
	}
	listed := n.listed(t)
	for id, bytes := range want {
		if listed[id] != bytes {
			t.Errorf("%s with %d bytes was acknowledged, %d are listed", id, bytes, listed[id])
		}
	}
	for id := range listed {
		if want[id] == 0 {
			t.Errorf("%s was acknowledged to be deleted, and is listed", id)
		}
	}
	for _, v := range []*rig.Volume{thin, thick, grown, wider, snapped, staged} {
		must(t, n.agent.Publish(t.Context(), v))
		must(t, n.agent.Unpublish(t.Context(), v))
	}
	ask(t, n.agent.DeleteSnapshot, &csi.DeleteSnapshotRequest{SnapshotId: snapshot})
}

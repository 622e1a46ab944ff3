package data

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// testStaleThin: a pool knows a thin that LVM does not, with a tenant's blocks,
// under the number that LVM gives out next. LVM hands out those blocks; lvme
// does not.
func testStaleThin(t *testing.T, n *node) {
	for _, vg := range n.scan(t) {
		n.leaveStale(t, vg)
	}
	victim := n.create(t, spec{name: "next", bytes: 4 * mib})
	victim.mkdirs(t)
	if n.real { // The leak is there: LVM itself would show the secret.
		vg, lv := victim.lv()
		at := lvm.VG{Name: vg, Devices: n.drives(t)}
		must(t, n.lvm().Activate(t.Context(), at, lv))
		if !holdsSecret(t, lvm.DevicePath(vg, lv), 0) {
			t.Fatal("the leak that this test is about was not made")
		}
		must(t, n.lvm().Deactivate(t.Context(), at, lv))
	}
	for range 2 {
		_, err := n.NodeStageVolume(t.Context(), victim.stageRequest())
		refused(t, "stage", err, codes.FailedPrecondition, "quarantined", "delete it")
	}
	_, err := n.NodePublishVolume(t.Context(), victim.publishRequest())
	refused(t, "publish", err, codes.FailedPrecondition)
	_, err = n.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: victim.id})
	refused(t, "snapshot", err, codes.FailedPrecondition, "quarantined")
	_, err = n.CreateVolume(t.Context(), spec{name: "clone", source: victim.id}.request())
	refused(t, "clone", err, codes.FailedPrecondition, "quarantined")
	if n.real {
		vg, lv := victim.lv()
		if _, err := os.Stat(lvm.DevicePath(vg, lv)); err == nil {
			t.Error("the quarantined volume has a device")
		}
	}
	n.restart(t)
	_, err = n.NodeStageVolume(t.Context(), victim.stageRequest())
	refused(t, "stage after a restart", err, codes.FailedPrecondition, "quarantined")
	n.remove(t, victim.id)

	// One more may meet the other pool's; then all is clean.
	var clean []*vol
	for i := range 3 {
		v := n.create(t, spec{name: fmt.Sprintf("clean-%d", i), bytes: 4 * mib})
		v.mkdirs(t)
		err := insist(t.Context(), func(ctx context.Context) error {
			_, err := n.NodeStageVolume(ctx, v.stageRequest())
			return err
		})
		if err != nil {
			refused(t, "stage", err, codes.FailedPrecondition, "quarantined")
			n.remove(t, v.id)
			continue
		}
		n.publish(t, v)
		n.zero(t, v, 0, v.size)
		clean = append(clean, v)
	}
	if len(clean) < 2 {
		t.Errorf("only %d of 3 volumes can be used after the quarantined ones are gone", len(clean))
	}
	n.staleUnderSnapshot(t, clean[0])
	for _, v := range clean {
		n.unpublish(t, v)
		n.remove(t, v.id)
	}
}

// staleUnderSnapshot: a snapshot is never laid over a thin that LVM does not
// know. The next volume takes its number, is quarantined, and takes it along.
func (n *node) staleUnderSnapshot(t *testing.T, of *vol) {
	t.Helper()
	for _, vg := range n.scan(t) {
		if vg.Name == "lvme-"+of.vg() {
			n.leaveStale(t, vg)
		}
	}
	n.unchanged(t, func() {
		for range 2 {
			_, err := n.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "over", SourceVolumeId: of.id})
			refused(t, "snapshot over a stale thin", err, codes.FailedPrecondition, "LVM does not know", "lvme-"+of.vg())
		}
	})
	v := n.createIn(t, of.vg(), spec{name: "scapegoat", bytes: 4 * mib})
	v.mkdirs(t)
	_, err := n.NodeStageVolume(t.Context(), v.stageRequest())
	refused(t, "stage", err, codes.FailedPrecondition, "quarantined")
	n.remove(t, v.id)
	n.remove(t, n.snapshot(t, "over", of))
}

// leaveStale makes what a crash between the kernel's commit and LVM's leaves.
func (n *node) leaveStale(t *testing.T, vg lvm.VGReport) {
	t.Helper()
	if n.fake != nil {
		n.fake.host.LVM.StaleThin(vg.Name, "pool", 4*mib)
		return
	}
	next := int64(1)
	for _, lv := range vg.LVs {
		next = max(next, lv.ThinID+1)
	}
	pool := dm.DeviceName(vg.Name, "pool", "tpool")
	if _, err := os.Stat(dm.Path(pool)); err != nil {
		pool = dm.DeviceName(vg.Name, "pool")
	}
	tool(t, "dmsetup", "message", pool, "0", fmt.Sprintf("create_thin %d", next))
	tool(t, "dmsetup", "create", "stale", "--table", fmt.Sprintf("0 %d thin %s %d", 4*mib/512, dm.Path(pool), next))
	write(t, dm.Path("stale"), 4*mib, mib)
	tool(t, "dmsetup", "remove", "--retry", "stale")
}

// testIsolation: on drives that had an earlier life, and a pool that was
// removed, nobody reads what is not his: of new volumes, of volumes in the
// place of deleted ones, of what a volume grows by, and of either leg of a
// mirror.
func testIsolation(t *testing.T, n *node) {
	n.freeIsZero(t)
	_, most := n.available(t, "thick")
	if most < 32*mib {
		t.Fatalf("room for thick volumes: %d", most)
	}
	for round := range 2 {
		v := n.create(t, spec{name: "thick", bytes: most / 2, thick: true})
		n.publish(t, v)
		n.zero(t, v, 0, v.size)
		n.legs(t, v, false)
		n.defile(t, v, 2*mib)
		n.legs(t, v, true)
		before := v.size
		n.expand(t, v, most)
		n.zero(t, v, before, v.size)
		n.defile(t, v, 2*mib)
		n.unpublish(t, v)
		n.remove(t, v.id)
		n.wiped(t)
		eventually(t, "the room is back", func() bool { _, largest := n.available(t, "thick"); return largest == most })
		n.freeIsZero(t)
		t.Logf("round %d: %d bytes written, given up and wiped", round, v.size)
	}

	// A tenant fills chunks of the thin pool; the next writes a little into each.
	for round := range 2 {
		v := n.create(t, spec{name: "thin", bytes: 64 * mib})
		n.publish(t, v)
		n.zero(t, v, 0, v.size)
		if round == 0 {
			n.defile(t, v, mib)
		} else {
			n.partly(t, v)
		}
		n.unpublish(t, v)
		n.remove(t, v.id)
	}
}

// defile writes secrets all over a published volume.
func (n *node) defile(t *testing.T, v *vol, every int64) {
	t.Helper()
	if n.real {
		write(t, v.target(), v.size, every)
	}
}

// partly writes 4 KiB into each chunk of a published thin volume; the rest of
// each chunk must be zero.
func (n *node) partly(t *testing.T, v *vol) {
	t.Helper()
	if !n.real {
		return
	}
	const chunk, part = 512 << 10, 4096
	f, err := os.OpenFile(v.target(), os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for at := int64(0); at < v.size; at += chunk {
		_, err := f.WriteAt(secret[:part], at+chunk/2)
		must(t, err)
	}
	must(t, f.Sync())
	if have, want := nonZero(t, v.target(), 0, v.size), v.size/chunk*part; have != want {
		t.Errorf("%d bytes are not zero, %d were written", have, want)
	}
}

// legs looks at each leg of a mirrored volume by itself.
func (n *node) legs(t *testing.T, v *vol, secrets bool) {
	t.Helper()
	if !n.real || n.config.Classes[0].Layout != drive.Mirrored {
		return
	}
	vg, lv := v.lv()
	for leg := range 2 {
		path := lvm.DevicePath(vg, fmt.Sprintf("%s_rimage_%d", lv, leg))
		if secrets {
			if !holdsSecret(t, path, 0) {
				t.Errorf("leg %d does not hold what was written", leg)
			}
		} else if n := nonZero(t, path, 0, v.size); n != 0 {
			t.Errorf("leg %d of a new volume: %d bytes are not zero", leg, n)
		}
	}
}

// freeIsZero verifies on the drives themselves that every free extent is zero,
// and that the drives did have another life.
func (n *node) freeIsZero(t *testing.T) {
	t.Helper()
	if !n.real {
		return
	}
	for _, vg := range n.scan(t) {
		for _, pv := range vg.PVs {
			for _, s := range pv.Segments {
				if s.LV != "" {
					continue
				}
				from := pv.PEStart + s.Start*vg.ExtentSize
				if foreign := nonZero(t, pv.Device, from, from+s.Count*vg.ExtentSize); foreign != 0 {
					t.Errorf("%s: %d bytes of the free extents %d+%d are not zero (%s)", pv.Device, foreign, s.Start, s.Count, strings.Join(vg.Tags, " "))
				}
			}
		}
	}
}

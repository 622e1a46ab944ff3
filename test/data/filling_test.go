package data

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// Pools that fill up while their volumes are written to, and the agent that looks
// after them. What happens at the very end of a pool is full_test.go's.
var fillingCases = []testCase{
	{"extended/ext4", both, "", func(t *testing.T, n *node) { testExtended(t, n, "ext4") }},
	{"extended/xfs", both, "", func(t *testing.T, n *node) { testExtended(t, n, "xfs") }},
	// On real LVM the data of so small a pool fill up before its metadata do.
	{"metadata", onFake, "", testMetadata},
	{"fstrim", onReal, "", testTrim},
}

// fillingConfig promises small pools several times over. Chunks are small, so that
// metadata fill up too.
func fillingConfig() drive.Config {
	cfg := drive.DefaultConfig()
	c := &cfg.Classes[0]
	c.Name, c.Thin.Share, c.Thick.Share, c.Reserve, c.Thin.Overcommit, c.Thin.ChunkSize = class, 25, 0, 25, 100, 64<<10
	return cfg
}

func TestFakeFilling(t *testing.T) {
	for _, c := range fillingCases {
		if c.on&onFake == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			n := fakeNode(t, fillingConfig())
			c.run(t, n)
			n.empty(t)
		})
	}
}

// TestRealFilling gives each case a node of its own: a pool that was extended
// stays so.
func TestRealFilling(t *testing.T) {
	if os.Getenv("LVME_BED") != "1" {
		t.Skip("needs the bed: make test-real REAL=./test/data")
	}
	for _, c := range fillingCases {
		if c.on&onReal == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := &reals{last: realNode(t, fillingConfig(), false)}
			defer r.end(t)
			c.run(t, r.last)
			r.last.empty(t)
			r.good = !t.Failed()
		})
	}
}

// pool is how the kernel sees a volume's pool.
func (n *node) pool(t *testing.T, v *vol) lvm.PoolStatus {
	t.Helper()
	s, err := n.lvm().PoolStatus(t.Context(), "lvme-"+v.vg(), "pool")
	must(t, err)
	return s
}

// write writes to a part of a published block volume, all of which must succeed,
// and is slow enough for an agent to follow in a virtual machine.
func (n *node) write(t *testing.T, v *vol, from, to int64) {
	t.Helper()
	const step = 2 * mib
	if n.fake != nil {
		vg, lv := v.lv()
		step := (to-from)/100 + 1 // the drives in memory are large
		for at := from; at < to; at += step {
			if end := min(to, at+step); n.fake.host.LVM.Map(vg, lv, end) < end {
				t.Fatalf("the pool took %d bytes, and %d were wanted: %+v", at, to, n.pool(t, v))
			}
			time.Sleep(60 * time.Millisecond) // an agent looks four times a second, and extends by a few of these steps
		}
		return
	}
	f, err := os.OpenFile(v.target(), os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	began := time.Now()
	for at, b := from, bytes.Repeat([]byte("write"), int(step/5+1)); at < to; at += step {
		if _, err := f.WriteAt(b[:min(step, to-at)], at); err != nil {
			t.Fatalf("write at %d: %v; %+v", at, err, n.pool(t, v))
		}
		must(t, f.Sync())
	}
	t.Logf("%d MiB written to %s at %.1f MiB/s", (to-from)/mib, v.name, float64((to-from)/mib)/time.Since(began).Seconds())
}

// health is what is said of a volume's health, by reason.
func (n *node) health(t *testing.T, v *vol) map[string]csi.VolumeHealthErrorType {
	t.Helper()
	h := ask(t, n.NodeGetVolumeHealth, &csi.NodeGetVolumeHealthRequest{VolumeId: v.id}).GetVolumeHealth()
	all := map[string]csi.VolumeHealthErrorType{}
	for _, e := range h.GetHealthStatuses() {
		all[e.GetReason()] = e.GetStatus()
	}
	return all
}

// ails waits until the volume's health names the reason, and wants the storage's
// health to name it too.
func (n *node) ails(t *testing.T, v *vol, reason string) {
	t.Helper()
	eventually(t, v.name+" ails: "+reason, func() bool { return n.health(t, v)[reason] != 0 })
	all := ask(t, n.NodeGetStorageHealth, &csi.NodeGetStorageHealthRequest{}).GetBackendHealth()
	if !slices.ContainsFunc(all, func(h *csi.NodeGetStorageHealthResponse_StorageBackendHealth) bool {
		return h.GetReason() == reason && strings.Contains(h.GetMessage(), v.vg())
	}) {
		t.Errorf("the storage's health does not name %s of %s: %v", reason, v.vg(), all)
	}
}

// healthy waits until nothing is wrong with the volume.
func (n *node) healthy(t *testing.T, v *vol) {
	t.Helper()
	eventually(t, v.name+" is healthy", func() bool { return len(n.health(t, v)) == 0 })
}

// takesNone wants the volume's pool to refuse everything new, with the reason.
func (n *node) takesNone(t *testing.T, v *vol) {
	t.Helper()
	_, err := n.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "late", SourceVolumeId: v.id})
	refused(t, "snapshot", err, codes.ResourceExhausted, v.vg(), "delete")
	_, err = n.CreateVolume(t.Context(), spec{name: "late", fs: v.fs, source: v.id}.request())
	refused(t, "clone", err, codes.ResourceExhausted, v.vg(), "delete")
	_, err = n.ControllerExpandVolume(t.Context(), v.expandRequest(v.size+64*mib))
	refused(t, "expand", err, codes.ResourceExhausted, v.vg(), "delete")
	other := n.create(t, spec{name: "other", bytes: 4 * mib})
	if other.vg() == v.vg() {
		t.Error("a new volume was made in it")
	}
	n.remove(t, other.id)
}

// testExtended: a snapshot grows until it needs more than the pool has. The pool is
// extended before anybody is told that it is full, its other volumes notice
// nothing, and when the snapshot is gone all is as it was.
func testExtended(t *testing.T, n *node, fs string) {
	victim := n.create(t, spec{name: "victim", fs: fs, bytes: minBytes("xfs")})
	size := n.poolBytes(t, victim.vg())
	grows := n.createIn(t, victim.vg(), spec{name: "grows", bytes: size * 6 / 10 / (4 * mib) * (4 * mib)})
	n.publish(t, victim, grows)
	n.write(t, grows, 0, grows.size)
	n.healthy(t, victim)
	var w *writer
	if n.real {
		w = startWriter(victim.target())
		w.await(t, 5)
	}
	snapshot := n.snapshot(t, "s", grows)
	n.write(t, grows, 0, grows.size) // each chunk once more: nothing of it is shared now
	if w != nil {
		w.await(t, len(w.acknowledged())+5)
	}
	s := n.pool(t, grows)
	now := n.poolBytes(t, victim.vg())
	t.Logf("the pool had %d MiB, has %d MiB, holds %d MiB", size/mib, now/mib, s.DataUsed*64/1024)
	if s.Mode != lvm.PoolWritable || now <= size || s.DataUsed*(64<<10) <= size {
		t.Errorf("the pool: %+v, %d bytes", s, now)
	}
	n.ails(t, victim, "PoolNearlyFull")
	n.takesNone(t, victim)

	n.remove(t, snapshot)
	n.healthy(t, victim)
	again := n.snapshot(t, "again", victim)
	if w != nil {
		w.await(t, len(w.acknowledged())+5)
		w.stop(t)
		w.verify(t, victim.target())
	}
	n.unpublish(t, victim, grows)
	n.remove(t, again, victim.id, grows.id)
}

// verify reads all that was acknowledged.
func (w *writer) verify(t *testing.T, dir string) {
	t.Helper()
	all := w.acknowledged()
	for i, want := range all {
		if got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("record-%d", i))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("record %d was acknowledged: %v", i, err)
		}
	}
	t.Logf("%d records were acknowledged, and are there", len(all))
}

// maxSnapshots bounds how many it may take to fill the metadata of a small pool.
const maxSnapshots = 200

// testMetadata: snapshots fill the metadata of their pool. They are extended before
// LVM refuses the next snapshot.
func testMetadata(t *testing.T, n *node) {
	v := n.create(t, spec{name: "wide", bytes: 192 * mib})
	n.publish(t, v)
	n.write(t, v, 0, v.size)
	before := n.pool(t, v)
	vg, _ := v.lv()
	free := n.free(t, vg)
	var snapshots []string
	for n.pool(t, v).MetaTotal == before.MetaTotal {
		if len(snapshots) == maxSnapshots {
			t.Fatalf("%d snapshots do not fill the metadata: %+v", len(snapshots), n.pool(t, v))
		}
		snapshots = append(snapshots, n.snapshot(t, fmt.Sprintf("s-%d", len(snapshots)), v))
		n.fake.host.LVM.FillMetadata(vg, "pool", int64(len(snapshots))*before.MetaTotal/100)
		if len(snapshots) > 60 {
			time.Sleep(400 * time.Millisecond) // the agent looks, and extends at 70 %
		}
	}
	var after lvm.PoolStatus
	eventually(t, "the spare has grown too", func() bool {
		after = n.pool(t, v)
		return free-n.free(t, vg) >= 2*(after.MetaTotal-before.MetaTotal)*4096
	})
	t.Logf("after %d snapshots the metadata were extended from %d to %d blocks, %d of them used", len(snapshots), before.MetaTotal, after.MetaTotal, after.MetaUsed)
	if after.Mode != lvm.PoolWritable || after.NeedsCheck || after.MetaUsed*100 < 69*before.MetaTotal {
		t.Errorf("the pool: %+v", after)
	}
	snapshots = append(snapshots, n.snapshot(t, "one-more", v))
	n.fake.host.LVM.FillMetadata(vg, "pool", 0)
	n.unpublish(t, v)
	n.remove(t, snapshots...)
	n.remove(t, v.id)
}

// free is what is free of a VG.
func (n *node) free(t *testing.T, vg string) int64 {
	t.Helper()
	for _, r := range n.scan(t) {
		if r.Name == vg {
			return r.Free
		}
	}
	t.Fatalf("no VG %s", vg)
	return 0
}

// testTrim: the space comes back by fstrim, of which the agent is told nothing.
func testTrim(t *testing.T, n *node) {
	probe := n.create(t, spec{name: "probe", bytes: 4 * mib})
	size := n.poolBytes(t, probe.vg())
	const stopped = 92 // per cent: more than the pool takes promises at, and not full
	v := n.createIn(t, probe.vg(), spec{name: "trimmed", fs: "xfs", bytes: size * 3 / 2})
	n.remove(t, probe.id)
	n.publish(t, v)
	file := filepath.Join(v.target(), "file")
	f, err := os.Create(file)
	must(t, err)
	for b, s := make([]byte, 2*mib), n.pool(t, v); s.DataUsed*100 < s.DataTotal*stopped; s = n.pool(t, v) {
		_, err := f.Write(b)
		must(t, err)
		must(t, f.Sync())
	}
	must(t, f.Close())
	n.ails(t, v, "PoolNearlyFull")
	n.takesNone(t, v)
	must(t, os.Remove(file))
	tool(t, "sync", "-f", v.target())
	tool(t, "fstrim", v.target())
	n.healthy(t, v)
	snapshot := n.snapshot(t, "s", v)
	n.unpublish(t, v)
	n.remove(t, snapshot, v.id)
}

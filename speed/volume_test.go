package speed

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

// agentOn is an agent in memory with so many drives taken, and a bench on it.
func agentOn(t *testing.T, drives int) *bench {
	t.Helper()
	host := agenttest.NewHost(t, drives)
	o := agenttest.Options(t)
	cfg, err := drive.ParseConfig([]byte("classes:\n- {name: fast, select: {transport: [pcie]}, thin: {share: 60%}, thick: {share: 30%}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	o.Config = cfg
	s, err := volume.Open(t.Context(), host.Agent().StoreOptions(o.StateDir, cfg))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Init(t.Context(), s.Plan(nil), func(string) {}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	conn := agenttest.Start(t, o, host.Agent()).WaitOpen().Conn
	p := &programs{answers: map[string]string{"dmsetup info": "No devices found"}}
	h := ThisHost(p, conn, host.Mounts.Root, t.TempDir())
	h.Sys = testSys()
	h.number = func(string) ([2]uint32, error) { return [2]uint32{253, 5}, nil }
	return &bench{
		Options: Options{Bytes: 512 * mib, Say: func(string, ...any) {}}, host: h, kernel: kernel{h.Sys, p}, prefix: "lvme-bench-" + randomHex(), made: map[string]*made{},
	}
}

// listed are the LVs of all volumes and snapshots.
func (b *bench) listed(t *testing.T) []string {
	t.Helper()
	var names []string
	volumes, err := b.host.Controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range volumes.GetEntries() {
		names = append(names, lv(e.GetVolume().GetVolumeId()))
	}
	snapshots, err := b.host.Controller.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range snapshots.GetEntries() {
		names = append(names, lv(e.GetSnapshot().GetSnapshotId()))
	}
	slices.Sort(names)
	return names
}

// awaitThick waits until the thick share is wiped.
func (b *bench) awaitThick(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); b.room(t.Context(), true, b.Bytes) != nil; {
		if time.Now().After(deadline) {
			t.Fatal(b.room(t.Context(), true, b.Bytes))
		}
		if err := wait(t.Context(), 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVolumesOfARun: all lie in one VG, whichever the agent would have chosen, and nothing is left in the end, nor of a run
// that was killed at any point.
func TestVolumesOfARun(t *testing.T) {
	b := agentOn(t, 3)
	b.awaitThick(t)
	other, err := b.host.Controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "lvme-bench-of-somebody", VolumeCapabilities: []*csi.VolumeCapability{capability("")}, CapacityRange: &csi.CapacityRange{RequiredBytes: mib},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range volumes(Layers) {
		m, err := b.create(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		b.made[l.volume] = m
		if l.fs == "" || l.thick { // the others are left unpublished
			if err := b.publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if vg(m.id) != b.vg || m.bytes < b.Bytes {
			t.Errorf("%s: %s is not in %s, or smaller than %d", l.Name, m.id, b.vg, b.Bytes)
		}
	}
	if _, err := b.snapshot(t.Context(), b.made[onSnap]); err != nil {
		t.Fatal(err)
	}
	if n := len(b.listed(t)); n != len(b.made)+2 {
		t.Errorf("%d volumes and snapshots are there: %q", n, b.listed(t))
	}
	next := &bench{host: b.host} // of a process that knows nothing
	for range 2 {
		if err := next.clear(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := b.listed(t); !slices.Equal(left, []string{lv(other.GetVolume().GetVolumeId())}) {
		t.Errorf("left is %q", left)
	}
	if entries, err := os.ReadDir(filepath.Dir(b.host.dir("x"))); err != nil || len(entries) > 0 {
		t.Errorf("directories are left: %v, %v", entries, err)
	}
}

func TestOurs(t *testing.T) {
	for name, want := range map[string]bool{
		"v-lvme-bench-0123abcd-thick": true, "s-lvme-bench-0123abcd-of-snap": true, "v-lvme-bench-0123abcd-thin-3": true,
		"v-pvc-1": false, "v-lvme-bench-of-somebody": false, "w-lvme-bench-0123abcd-thick": false, "v-lvme-bench-0123abcd": false,
		"v-x-lvme-bench-0123abcd-thick": false, "v-lvme-bench-0123abcX-thick": false,
	} {
		if ours.MatchString(name) != want {
			t.Errorf("%s is ours: %t", name, !want)
		}
	}
}

// TestNothingIsDeletedUnderALinear: its sectors are a volume's, who ever has the device open.
func TestNothingIsDeletedUnderALinear(t *testing.T) {
	b := agentOn(t, 1)
	b.awaitThick(t)
	if _, err := b.create(t.Context(), Layers[0]); err != nil {
		t.Fatal(err)
	}
	b.host.Runner = &programs{answers: map[string]string{"dmsetup info": linearName + " " + linearUUID}} // cannot be removed
	if err := b.clear(t.Context()); err == nil || !strings.Contains(err.Error(), linearName) {
		t.Errorf("cleared with %v", err)
	}
	if left := b.listed(t); len(left) != 1 {
		t.Errorf("left is %q", left)
	}
}

// TestFit: what there is no room for is left out and said.
func TestFit(t *testing.T) {
	b := agentOn(t, 1)
	b.awaitThick(t)
	b.Layers, b.Bytes = Layers, 3<<30 // three thick ones do not fit into 30 % of 20 GiB
	if err := b.fit(t.Context()); err == nil {
		t.Error("nothing fits, and there is no error")
	}
	b.report.Missing, b.Layers, b.Bytes = nil, []Layer{Layers[0], Layers[2], Layers[3]}, 8<<30
	if err := b.fit(t.Context()); err != nil || len(b.Layers) != 1 || b.Layers[0].Name != "thin" || len(b.report.Missing) != 2 {
		t.Errorf("%v, %v, %v", b.Layers, b.report.Missing, err)
	}
}

// TestLocks: two runs do not meet, and nothing is taken away while a fio may still write.
func TestLocks(t *testing.T) {
	h := Host{runDir: filepath.Join(t.TempDir(), "run")}
	release, err := h.exclusive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.exclusive(); err == nil || !strings.Contains(err.Error(), "another lvme bench") {
		t.Errorf("a second run: %v", err)
	}
	release()
	if release, err = h.exclusive(); err != nil {
		t.Fatal(err)
	}
	release()

	fio, err := h.tryLock(ioLock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.idle(ctx); err == nil || !strings.Contains(err.Error(), ioLock) {
		t.Errorf("fio works, and it is idle: %v", err)
	}
	if err := fio.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.idle(t.Context()); err != nil {
		t.Error(err)
	}
}

package volume

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// TestSalvage: a start after a power cut that tore the metadata of a drive serves
// it again. A VG that this process has served, or of which something else is
// wrong, is left to a person, and no other pool notices.
func TestSalvage(t *testing.T) {
	r := fakeRig(t)
	fake := r.runner.(*lvmtest.Fake)
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	a := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	b := mustCreate(t, s, CreateSpec{Name: "b", Mode: Block, Size: size(64 * mib)})
	if a.Key.VG == b.Key.VG {
		t.Fatal("both are on one drive")
	}
	fake.Tear(VGName(a.Key.VG))
	r.calls.take()
	must(t, s.Refresh(t.Context()))
	if now := poolOf(t, s, a.Key); !now.Away || !strings.Contains(now.Problem, "without its volume group") {
		t.Errorf("a VG that was served: %+v", now)
	}
	if calls := r.calls.take(); strings.Contains(calls, "pvck") {
		t.Errorf("it was salvaged under who serves it: %s", calls)
	}
	_, err := s.Volume(t.Context(), a.Key)
	wantErr(t, "its volume", err, ErrAway)
	_, err = s.Activate(t.Context(), b.Key)
	must(t, err)
	must(t, s.Deactivate(t.Context(), b.Key))
	s.Close()

	again := r.open(t, s.Config)
	if calls := r.calls.take(); strings.Count(calls, "pvck") != 1 {
		t.Errorf("the start made the changes %s", calls)
	}
	if v, err := again.Volume(t.Context(), a.Key); err != nil || v.Name != "a" {
		t.Errorf("after the start: %+v, %v", v, err)
	}
	if copies, _ := filepath.Glob(filepath.Join(r.dir, backupDir, VGName(a.Key.VG), "*.vg")); len(copies) != 1 {
		t.Errorf("copies of what it was made of: %v", copies)
	}
	must(t, again.Delete(t.Context(), a.Key))
	matchesLVM(t, again)
	again.Close()

	fake.Wipe(poolOf(t, again, b.Key).Drives[0].Path)
	last := r.open(t, s.Config)
	if calls := r.calls.take(); strings.Contains(calls, "pvck") {
		t.Errorf("what is not torn was salvaged: %s", calls)
	}
	if now := poolOf(t, last, b.Key); !now.Away {
		t.Errorf("a wiped drive: %+v", now)
	}
}

// TestSuspendedDevicesGoOn: a command that was killed in its middle has left a
// volume in use suspended. It goes on at once, and at a start if the agent died too.
func TestSuspendedDevicesGoOn(t *testing.T) {
	r := fakeRig(t)
	fake := r.runner.(*lvmtest.Fake)
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	v, _ := r.staged(t, s, CreateSpec{Name: "used", Size: size(64 * mib)})
	vg := VGName(v.Key.VG)
	suspended := func() bool {
		names, err := fake.Names(t.Context())
		must(t, err)
		return slices.ContainsFunc(names, func(name string) bool {
			info, err := fake.Info(t.Context(), name)
			return err == nil && info.Suspended
		})
	}
	for _, lv := range []string{v.Key.LV, poolLV} {
		fake.Freeze(vg, lv)
		if !suspended() {
			t.Fatalf("%s is not suspended", lv)
		}
		fake.Inject(lvmtest.Fault{Verb: "lvcreate"})
		if _, err := s.CreateSnapshot(t.Context(), SnapshotSpec{Name: "cut", Source: v.Key}); err == nil {
			t.Fatal("the command was not cut")
		}
		if suspended() {
			t.Errorf("%s is suspended after the command that failed", lv)
		}
		fake.Freeze(vg, lv)
		s.Close()
		s = r.open(t, s.Config)
		if suspended() {
			t.Errorf("%s is suspended after a start", lv)
		}
	}
	must(t, s.Deactivate(t.Context(), v.Key))
	must(t, s.Delete(t.Context(), v.Key))
	matchesLVM(t, s)
}

// TestUnmadeSnapshotIsTakenBack: a command was killed after LVM had written a snapshot
// down and before the pool had made it. The next call makes one of its own time, and
// nothing is left without it.
func TestUnmadeSnapshotIsTakenBack(t *testing.T) {
	r := fakeRig(t)
	fake := r.kernel.(*lvmtest.Fake)
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	_, err := s.Activate(t.Context(), v.Key)
	must(t, err)
	spec := SnapshotSpec{Name: "b", Source: v.Key}
	cut := func() {
		fake.Inject(lvmtest.Fault{Verb: "lvcreate", After: true, Half: true})
		if _, err := s.CreateSnapshot(t.Context(), spec); err == nil {
			t.Error("a snapshot that was not made is acknowledged")
		}
	}
	cut()
	fake.Map(VGName(v.Key.VG), v.Key.LV, 8*mib)
	snapshot, err := s.CreateSnapshot(t.Context(), spec)
	must(t, err)
	must(t, s.DeleteSnapshot(t.Context(), snapshot.Key))
	matchesLVM(t, s)

	nothingLeft := func(when string) {
		t.Helper()
		matchesLVM(t, s)
		if all, err := s.Snapshots(t.Context()); err != nil || len(all) > 0 {
			t.Errorf("listed %s without having been made: %v, %v", when, all, err)
		}
	}
	cut()
	nothingLeft("after the failure")
	_, err = s.CreateSnapshot(t.Context(), spec)
	must(t, err)
	fake.CutBeforeChange(VGName(v.Key.VG), "s-b") // as if the agent had died with its command
	s.Close()
	s = r.open(t, s.Config)
	nothingLeft("after the start")
	must(t, s.Deactivate(t.Context(), v.Key))
	must(t, s.Delete(t.Context(), v.Key))
}

// TestUncountedChangeIsCompleted: the power was cut after the pool had made a change
// and before it counted it. LVM refuses each change of the pool until it has.
func TestUncountedChangeIsCompleted(t *testing.T) {
	r, fake := sickRig(t)
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	snapshot := func(name string) error {
		_, err := s.CreateSnapshot(t.Context(), SnapshotSpec{Name: name, Source: v.Key})
		return err
	}
	fake.CutInChange(VGName(v.Key.VG), poolLV)
	if err := snapshot("b"); err == nil {
		t.Error("the change that met it does not say so")
	}
	must(t, snapshot("b"))
	fake.CutInChange(VGName(v.Key.VG), poolLV)
	s.Close()
	s = r.open(t, s.Config)
	must(t, snapshot("c"))

	// Where the kernel has not made it, LVM makes up for it.
	fake.CutShort(VGName(v.Key.VG), poolLV)
	fake.LoseThin(VGName(v.Key.VG), "s-c")
	before, err := s.LVM.PoolStatus(t.Context(), VGName(v.Key.VG), poolLV)
	must(t, err)
	s.Close()
	s = r.open(t, s.Config)
	if after, err := s.LVM.PoolStatus(t.Context(), VGName(v.Key.VG), poolLV); err != nil || after.TransactionID != before.TransactionID {
		t.Errorf("a change that was not made is counted: %+v, %v; before %+v", after, err, before)
	}
}

package lvm_test

import (
	"testing"

	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

func TestFake(t *testing.T) {
	lvmtest.Suite(t, func(t *testing.T) lvmtest.Env {
		f := lvmtest.New()
		drives := []string{"/dev/nvme0n1", "/dev/nvme1n1", "/dev/nvme2n1"}
		for _, d := range drives {
			f.AddDrive(d, 1<<30)
		}
		t.Cleanup(func() { f.Check(t) })
		return lvmtest.Env{
			Runner: f, Kernel: f, Drives: drives,
			Write: func(_ *testing.T, vg, lv string, bytes int64) { f.Map(vg, lv, bytes) },
			Open:  func(_ *testing.T, vg, lv string) func() { return f.Open(vg, lv) },
			Stale: func(_ *testing.T, vg, pool string, _ int64) { f.StaleThin(vg, pool, 1<<20) },
			Pull: func(_ *testing.T, path string) func() string {
				f.Unplug(path)
				return func() string {
					f.Plug(path, path+"-again")
					return path + "-again"
				}
			},
			Freeze:  func(_ *testing.T, vg, lv string) { f.Freeze(vg, lv) },
			Uncount: func(_ *testing.T, vg lvm.VG, pool string) { f.CutInChange(vg.Name, pool) },
			Cut: func(t *testing.T, vg lvm.VG, origin, name string) {
				if err := lvm.New(f, f).Snapshot(t.Context(), vg, lvm.SnapshotSpec{Name: name, Origin: origin}); err != nil {
					t.Fatal(err)
				}
				f.CutBeforeChange(vg.Name, name)
			},
			Leak: func(_ *testing.T, vg lvm.VG, pool string) { f.Leak(vg.Name, pool) },
			Tear: func(_ *testing.T, vg lvm.VG) { f.Tear(vg.Name) },
			Sign: func(_ *testing.T, path string) { f.Sign(path, "ext4") },
		}
	})
}

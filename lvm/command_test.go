package lvm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
)

// kernel is a dm.Kernel with fixed devices; a path in away is not present.
type kernel struct {
	status map[string]string // device name: "type params"
	info   map[string]dm.Info
	away   []string
	// flushed, where set, gets the drives that were flushed.
	flushed *[]string
}

func (k kernel) Status(_ context.Context, name string) ([]dm.Target, error) {
	s, ok := k.status[name]
	if !ok {
		return nil, dm.ErrNotFound
	}
	kind, params, _ := strings.Cut(s, " ")
	return []dm.Target{{Type: kind, Params: params}}, nil
}

func (k kernel) Info(_ context.Context, name string) (dm.Info, error) {
	info, ok := k.info[name]
	if !ok {
		return dm.Info{}, dm.ErrNotFound
	}
	return info, nil
}

func (k kernel) Deps(context.Context, string) ([]dm.Dep, error) { return nil, nil }

func (k kernel) Names(context.Context) ([]string, error) { return nil, nil }

func (k kernel) Read(context.Context, string, int64, int) ([]byte, error) { return nil, dm.ErrNotFound }

func (k kernel) Flush(_ context.Context, path string) error {
	if k.flushed != nil {
		*k.flushed = append(*k.flushed, path)
	}
	return nil
}

func (k kernel) Present(path string) error {
	if slices.Contains(k.away, path) {
		return dm.ErrNotFound
	}
	return nil
}

var testVG = VG{Name: "lvme-x", Devices: []string{"/dev/nvme0n1", "/dev/nvme1n1"}}

// calls are all the calls that change something, with arguments that LVM takes.
var calls = map[string]func(context.Context, *LVM, VG) error{
	"SetZeroing": func(ctx context.Context, l *LVM, vg VG) error { return l.SetZeroing(ctx, vg, "pool") },
	"CreateVG": func(ctx context.Context, l *LVM, vg VG) error {
		return l.CreateVG(ctx, VGSpec{Name: vg.Name, Devices: vg.Devices})
	},
	"RemoveVG":     func(ctx context.Context, l *LVM, vg VG) error { return l.RemoveVG(ctx, vg) },
	"ChangeVGTags": func(ctx context.Context, l *LVM, vg VG) error { return l.ChangeVGTags(ctx, vg, []string{"a"}, nil) },
	"RenameVG": func(ctx context.Context, l *LVM, vg VG) error {
		return l.RenameVG(ctx, "0OGe9W-nSdC-d7JN-skvB-Euiq-x4jQ-hySus1", "y", vg.Devices)
	},
	"CreatePool": func(ctx context.Context, l *LVM, vg VG) error {
		return l.CreatePool(ctx, vg, PoolSpec{Name: "pool", Size: 1 << 30, MetadataSize: 1 << 26, ChunkSize: 1 << 19})
	},
	"SetErrorWhenFull":   func(ctx context.Context, l *LVM, vg VG) error { return l.SetErrorWhenFull(ctx, vg, "pool") },
	"ExtendPoolMetadata": func(ctx context.Context, l *LVM, vg VG) error { return l.ExtendPoolMetadata(ctx, vg, "pool", 1<<27) },
	"CreateThin": func(ctx context.Context, l *LVM, vg VG) error {
		return l.CreateThin(ctx, vg, ThinSpec{Name: "v-a", Pool: "pool", Size: 1 << 30})
	},
	"Snapshot": func(ctx context.Context, l *LVM, vg VG) error {
		return l.Snapshot(ctx, vg, SnapshotSpec{Name: "s-a", Origin: "v-a"})
	},
	"CreateThick": func(ctx context.Context, l *LVM, vg VG) error {
		return l.CreateThick(ctx, vg, ThickSpec{Name: "v-t", Size: 1 << 30})
	},
	"Extend":     func(ctx context.Context, l *LVM, vg VG) error { return l.Extend(ctx, vg, "v-a", 1<<31) },
	"Remove":     func(ctx context.Context, l *LVM, vg VG) error { return l.Remove(ctx, vg, "v-a") },
	"RemoveThin": func(ctx context.Context, l *LVM, vg VG) error { return l.RemoveThin(ctx, vg, "v-a") },
	"Rename":     func(ctx context.Context, l *LVM, vg VG) error { return l.Rename(ctx, vg, "v-a", "v-b") },
	"ChangeTags": func(ctx context.Context, l *LVM, vg VG) error {
		return l.ChangeTags(ctx, vg, "v-a", []string{"a"}, []string{"b"})
	},
	"Activate":         func(ctx context.Context, l *LVM, vg VG) error { return l.Activate(ctx, vg, "v-a") },
	"Deactivate":       func(ctx context.Context, l *LVM, vg VG) error { return l.Deactivate(ctx, vg, "v-a") },
	"ActivateDegraded": func(ctx context.Context, l *LVM, vg VG) error { return l.ActivateDegraded(ctx, vg, "v-a") },
	"Refresh":          func(ctx context.Context, l *LVM, vg VG) error { return l.Refresh(ctx, vg, "v-a") },
	"AddDrive":         func(ctx context.Context, l *LVM, vg VG) error { return l.AddDrive(ctx, vg, "/dev/nvme1n1", 1<<20) },
	"ReplaceLeg":       func(ctx context.Context, l *LVM, vg VG) error { return l.ReplaceLeg(ctx, vg, "v-a", "/dev/nvme1n1") },
	"RemoveSpare":      func(ctx context.Context, l *LVM, vg VG) error { return l.RemoveSpare(ctx, vg, "lvol0_pmspare") },
	"RemoveMissing":    func(ctx context.Context, l *LVM, vg VG) error { return l.RemoveMissing(ctx, vg) },
	"RestoreMissing":   func(ctx context.Context, l *LVM, vg VG) error { return l.RestoreMissing(ctx, vg, "/dev/nvme1n1") },
}

var active = kernel{info: map[string]dm.Info{"lvme--x-v--a": {Live: true, Node: "/dev/mapper/lvme--x-v--a"}}}

// toggles are the calls whose effect a power cut ends.
var toggles = []string{"Activate", "Deactivate", "ActivateDegraded", "Refresh"}

// TestEveryChange holds for each changing command that it is not killed, sees
// the VG's drives alone, is one command where one was promised, and is durable
// when it is answered.
func TestEveryChange(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			r := &runner{}
			var observed int
			var flushed []string
			k := active
			k.flushed = &flushed
			l := New(r, k, WithObserver(func(_ string, _ time.Duration, err error, changes bool) {
				if err == nil && changes {
					observed++
				}
			}))
			if err := call(context.Background(), l, testVG); err != nil {
				t.Fatal(err)
			}
			want := 1
			if name == "RemoveVG" {
				want = 2
			}
			if len(r.cmds) != want || observed != want {
				t.Errorf("%d commands, %d observed, want %d", len(r.cmds), observed, want)
			}
			if slices.Contains(toggles, name) {
				want = 0
			}
			if len(flushed) != want*len(testVG.Devices) {
				t.Errorf("flushed %v, %d times each", flushed, want)
			}
			for _, c := range r.cmds {
				if i := slices.Index(c.Args, "--devices"); !c.Changes || i < 0 || c.Args[i+1] != "/dev/nvme0n1,/dev/nvme1n1" {
					t.Errorf("command may be killed or sees other drives: %s", c)
				}
				for _, never := range []string{"--nolocking", "-f", "--force", "-ff"} {
					if slices.Contains(c.Args, never) {
						t.Errorf("%s in %s", never, c)
					}
				}
			}
		})
	}
}

// TestNoCommandWithoutDrives: with a drive away LVM would take it for lost.
func TestNoCommandWithoutDrives(t *testing.T) {
	for name, call := range calls {
		r := &runner{}
		k := active
		k.away = []string{"/dev/nvme1n1"}
		if err := call(context.Background(), New(r, k), testVG); !errors.Is(err, ErrMissingDevice) || len(r.cmds) != 0 {
			t.Errorf("%s with a drive away: %v after %d commands, want %v after none", name, err, len(r.cmds), ErrMissingDevice)
		}
		none := VG{Name: testVG.Name}
		if err := call(context.Background(), New(r, active), none); !errors.Is(err, ErrInvalid) || len(r.cmds) != 0 {
			t.Errorf("%s without drives: %v after %d commands, want %v after none", name, err, len(r.cmds), ErrInvalid)
		}
		hostile := VG{Name: testVG.Name, Devices: []string{"/dev/a,/dev/b"}}
		if err := call(context.Background(), New(r, active), hostile); !errors.Is(err, ErrInvalid) || len(r.cmds) != 0 {
			t.Errorf("%s with two drives in one: %v after %d commands, want %v after none", name, err, len(r.cmds), ErrInvalid)
		}
	}
}

// TestHostileNames: a name never becomes an option, another LV, or every LV.
func TestHostileNames(t *testing.T) {
	ctx := context.Background()
	for _, bad := range []string{"", "-f", "--yes", "a/b", "a b", ".", "..", "a\nb", "@tag", "*", strings.Repeat("x", 128), "ä"} {
		r := &runner{}
		l := New(r, active)
		for name, err := range map[string]error{
			"Remove":      l.Remove(ctx, testVG, bad),
			"RemoveThin":  l.RemoveThin(ctx, testVG, bad),
			"Extend":      l.Extend(ctx, testVG, bad, 4<<20),
			"Rename":      l.Rename(ctx, testVG, bad, "y"),
			"Rename to":   l.Rename(ctx, testVG, "y", bad),
			"ChangeTags":  l.ChangeTags(ctx, testVG, bad, []string{"x"}, nil),
			"Activate":    l.Activate(ctx, testVG, bad),
			"Deactivate":  l.Deactivate(ctx, testVG, bad),
			"CreateThin":  l.CreateThin(ctx, testVG, ThinSpec{Name: bad, Pool: "pool", Size: 4 << 20}),
			"in pool":     l.CreateThin(ctx, testVG, ThinSpec{Name: "v", Pool: bad, Size: 4 << 20}),
			"Snapshot":    l.Snapshot(ctx, testVG, SnapshotSpec{Name: bad, Origin: "v"}),
			"of origin":   l.Snapshot(ctx, testVG, SnapshotSpec{Name: "v", Origin: bad}),
			"CreateThick": l.CreateThick(ctx, testVG, ThickSpec{Name: bad, Size: 4 << 20}),
			"CreatePool":  l.CreatePool(ctx, testVG, PoolSpec{Name: bad, Size: 4 << 20, MetadataSize: 4 << 20, ChunkSize: 1 << 16}),
			"when full":   l.SetErrorWhenFull(ctx, testVG, bad),
			"in VG":       l.Remove(ctx, VG{Name: bad, Devices: testVG.Devices}, "v"),
			"RemoveVG":    l.RemoveVG(ctx, VG{Name: bad, Devices: testVG.Devices}),
			"RenameVG":    l.RenameVG(ctx, bad, "y", testVG.Devices),
			"CreateVG":    l.CreateVG(ctx, VGSpec{Name: bad, Devices: testVG.Devices}),
			"degraded":    l.ActivateDegraded(ctx, testVG, bad),
			"Refresh":     l.Refresh(ctx, testVG, bad),
			"ReplaceLeg":  l.ReplaceLeg(ctx, testVG, bad, "/dev/nvme1n1"),
			"a spare":     l.RemoveSpare(ctx, testVG, bad),
			"AddDrive":    l.AddDrive(ctx, VG{Name: bad, Devices: testVG.Devices}, "/dev/nvme1n1", 1<<20),
			"missing in":  l.RemoveMissing(ctx, VG{Name: bad, Devices: testVG.Devices}),
			"restore in":  l.RestoreMissing(ctx, VG{Name: bad, Devices: testVG.Devices}, "/dev/nvme1n1"),
		} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s of %q: %v, want %v", name, bad, err, ErrInvalid)
			}
		}
		if len(r.cmds) != 0 {
			t.Errorf("%q reached LVM: %v", bad, r.cmds)
		}
	}
}

func TestHostileSpecs(t *testing.T) {
	ctx := context.Background()
	r := &runner{}
	l := New(r, active)
	for name, err := range map[string]error{
		"odd size":      l.CreateThin(ctx, testVG, ThinSpec{Name: "v", Pool: "pool", Size: 1000}),
		"no size":       l.CreateThin(ctx, testVG, ThinSpec{Name: "v", Pool: "pool"}),
		"negative":      l.Extend(ctx, testVG, "v", -512),
		"tag":           l.CreateThin(ctx, testVG, ThinSpec{Name: "v", Pool: "pool", Size: 4 << 20, Tags: []string{"a b"}}),
		"changed tag":   l.ChangeTags(ctx, testVG, "v", nil, []string{"a,b"}),
		"VG tag":        l.ChangeVGTags(ctx, testVG, []string{"@"}, nil),
		"drive":         l.CreateThick(ctx, testVG, ThickSpec{Name: "v", Size: 4 << 20, PVs: []string{"--yes"}}),
		"one stripe":    l.CreateThick(ctx, testVG, ThickSpec{Name: "v", Size: 4 << 20, Layout: Striped, Stripes: 1, StripeSize: 65536}),
		"stripe size":   l.CreateThick(ctx, testVG, ThickSpec{Name: "v", Size: 4 << 20, Layout: Striped, Stripes: 2, StripeSize: 5000}),
		"chunk":         l.CreatePool(ctx, testVG, PoolSpec{Name: "p", Size: 4 << 20, MetadataSize: 4 << 20, ChunkSize: 1000}),
		"no metadata":   l.CreatePool(ctx, testVG, PoolSpec{Name: "p", Size: 4 << 20, ChunkSize: 65536}),
		"both":          l.CreateMirroredPool(ctx, testVG, PoolSpec{Name: "p", Size: 4 << 20, MetadataSize: 4 << 20, ChunkSize: 65536, Stripes: 2}),
		"leg's drive":   l.ReplaceLeg(ctx, testVG, "v", "--force"),
		"added drive":   l.AddDrive(ctx, testVG, "-ff", 1<<20),
		"restored":      l.RestoreMissing(ctx, testVG, "x"),
		"no spare":      l.RemoveSpare(ctx, testVG, "v-a"),
		"metadata area": l.CreateVG(ctx, VGSpec{Name: "v", Devices: testVG.Devices, MetadataSize: 1000}),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, err, ErrInvalid)
		}
	}
	if len(r.cmds) != 0 {
		t.Errorf("reached LVM: %v", r.cmds)
	}
}

func TestActivateBelievesTheDevice(t *testing.T) {
	failed := run.Result{Code: 5, Stderr: []byte("  something")}
	gone := run.Result{Code: 5, Stderr: []byte(`  Failed to find logical volume "lvme-x/v-a"`)}
	for name, tc := range map[string]struct {
		res  run.Result
		info dm.Info
		want error
	}{
		"said yes, is there":     {run.Result{}, dm.Info{Live: true, Node: "/n"}, nil},
		"said no, is there":      {failed, dm.Info{Live: true, Node: "/n"}, nil},
		"said yes, no node":      {run.Result{}, dm.Info{Live: true}, ErrInactive},
		"said yes, no table":     {run.Result{}, dm.Info{Node: "/n"}, ErrInactive},
		"said yes, suspended":    {run.Result{}, dm.Info{Live: true, Suspended: true, Node: "/n"}, ErrInactive},
		"not found, stale there": {gone, dm.Info{Live: true, Node: "/n"}, ErrNotFound},
	} {
		k := kernel{info: map[string]dm.Info{"lvme--x-v--a": tc.info}}
		if err := New(&runner{res: tc.res}, k).Activate(context.Background(), testVG, "v-a"); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if err := New(&runner{}, kernel{}).Activate(context.Background(), testVG, "v-a"); !errors.Is(err, ErrInactive) {
		t.Errorf("said yes, no device: %v, want %v", err, ErrInactive)
	}
}

func TestNothingToChangeIsNoError(t *testing.T) {
	ctx := context.Background()
	same := New(&runner{res: run.Result{Code: 5, Stderr: []byte("  No size change.\n")}}, active)
	if err := same.Extend(ctx, testVG, "v-a", 4<<20); err != nil {
		t.Errorf("Extend to the same size: %v", err)
	}
	noLabel := New(&runner{res: run.Result{Code: 5, Stderr: []byte("  No PV found on device /dev/nvme0n1.\n  No PV found on device /dev/nvme1n1.\n")}}, active)
	if err := noLabel.removeLabels(ctx, testVG); err != nil {
		t.Errorf("removing labels that are gone: %v", err)
	}
	if err := same.ChangeTags(ctx, testVG, "v-a", nil, nil); err != nil {
		t.Errorf("changing no tags: %v", err)
	}
}

func TestVersion(t *testing.T) {
	r := &runner{res: run.Result{Stdout: []byte("  LVM version:     2.03.31(2) (2025-02-27)\n  Library version: 1.02.205 (2025-02-27)\n")}}
	v, err := New(r, kernel{}).Version(context.Background())
	if want := (Version{2, 3, 31}); err != nil || v != want || v.String() != "2.03.31" {
		t.Errorf("got %v, %v; want %v", v, err, want)
	}
	if !(Version{2, 3, 16}).Less(v) || v.Less(v) || v.Less(Version{2, 2, 99}) {
		t.Error("versions are out of order")
	}
	r.res.Stdout = []byte("hello")
	if _, err := New(r, kernel{}).Version(context.Background()); !errors.Is(err, ErrReport) {
		t.Errorf("got %v, want %v", err, ErrReport)
	}
}

func TestRoundUp(t *testing.T) {
	for _, tc := range []struct{ size, unit, want int64 }{
		{1, 4, 4}, {4, 4, 4}, {5, 4, 8}, {0, 4, 0}, {7, 0, 7},
	} {
		if got := RoundUp(tc.size, tc.unit); got != tc.want {
			t.Errorf("RoundUp(%d, %d) = %d, want %d", tc.size, tc.unit, got, tc.want)
		}
	}
	striped := ThickSpec{Size: 25 * 4, Layout: Striped, Stripes: 2}
	if got := striped.Rounded(4); got != 26*4 {
		t.Errorf("25 extents on 2 stripes become %d bytes, want %d", got, 26*4)
	}
}

package lvmtest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
)

// Env is a host on which Suite may do as it likes.
type Env struct {
	Runner run.Runner
	Kernel dm.Kernel
	// Drives are the paths of at least three blank drives of 1 GiB or more.
	Drives []string
	// Write fills the first bytes of an active LV, as far as they fit.
	Write func(t *testing.T, vg, lv string, bytes int64)
	// Open holds an active LV open until release.
	Open func(t *testing.T, vg, lv string) (release func())
	// Stale leaves a volume with mapped bytes in an active pool, unknown to
	// LVM, under the number that LVM gives out next.
	Stale func(t *testing.T, vg, pool string, number int64)
	// Pull takes a drive out, in use or not; replug brings it back, perhaps under
	// another path, which it says. It is back at the end of the test.
	Pull func(t *testing.T, path string) (replug func() string)
	// Tear spoils the text of the last change of a VG on one drive, and leaves the
	// header that points to it.
	Tear func(t *testing.T, vg lvm.VG)
	// Freeze leaves the device of an active LV suspended, for a pool the one that
	// is the pool.
	Freeze func(t *testing.T, vg, lv string)
	// Uncount has the kernel's pool, which is active, count one change less than it
	// has made.
	Uncount func(t *testing.T, vg lvm.VG, pool string)
	// Cut has LVM make a snapshot of an active thin, and ends that after it is written
	// down and before the pool has made it.
	Cut func(t *testing.T, vg lvm.VG, origin, name string)
	// Leak cuts the power in the middle of a write to a new chunk of an active
	// pool's thin: the pool is off then.
	Leak func(t *testing.T, vg lvm.VG, pool string)
	// Sign puts a filesystem's signature on a drive.
	Sign func(t *testing.T, path string)
}

const (
	mib = 1 << 20
	// extent is the size used by the suite; the sizes below are multiples of it.
	extent = 4 * mib
)

// Suite holds what package lvm promises. It is run against Fake and against
// real LVM, so that both answer alike. Each test gets a host of its own.
func Suite(t *testing.T, newEnv func(t *testing.T) Env) {
	for _, test := range []struct {
		name string
		run  func(h *host)
	}{
		{"Version", testVersion},
		{"VG", testVG},
		{"VGOfTheSameName", testSameName},
		{"DriveNotBlank", testNotBlank},
		{"DriveMissing", testMissing},
		{"DriveBack", testDriveBack},
		{"MirrorLegBack", testMirrorLegBack},
		{"MirrorReplaced", testMirrorReplaced},
		{"Pool", testPool},
		{"PoolStriped", testStripedPool},
		{"PoolMirrored", testMirroredPool},
		{"PoolFull", testPoolFull},
		{"PoolExtended", testPoolExtended},
		{"PoolExtendedStriped", testStripedPoolExtended},
		{"PoolExtendedMirrored", testMirroredPoolExtended},
		{"PoolOff", testPoolOff},
		{"PoolOfTwoMinds", testThinDevices},
		{"PoolSettings", testSettings},
		{"Backup", testBackup},
		{"Salvage", testSalvage},
		{"Frozen", testFrozen},
		{"ChangeUncounted", testUncounted},
		{"ChangeUnmade", testUnmade},
		{"PoolLeaks", testLeaks},
		{"Thin", testThin},
		{"ThinStale", testStale},
		{"Snapshot", testSnapshot},
		{"ThickLinear", testLinear},
		{"ThickStriped", testStriped},
		{"ThickMirrored", testMirrored},
		{"InUse", testInUse},
		{"RemoveThin", testRemoveThin},
		{"NotFound", testNotFound},
		{"Exists", testExists},
		{"NoSpace", testNoSpace},
		{"Names", testNames},
		{"Tags", testTags},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newEnv(t)
			rec := &Recorder{Next: env.Runner}
			test.run(&host{T: t, Env: env, rec: rec, lvm: lvm.New(rec, env.Kernel), ctx: context.Background()})
		})
	}
}

// host is one test's view of its Env.
type host struct {
	*testing.T
	Env
	rec *Recorder
	lvm *lvm.LVM
	ctx context.Context
}

func (h *host) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// is wants exactly that kind of error.
func (h *host) is(what string, err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// vg makes a VG over the first n drives.
func (h *host) vg(n int) lvm.VG {
	h.Helper()
	vg := lvm.VG{Name: "lvme-suite", Devices: h.Drives[:n]}
	h.ok(h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: vg.Name, Devices: vg.Devices, MetadataSize: 2 * mib, ExtentSize: extent, Tags: []string{"lvme.test"}}))
	vg.UUID = h.report(vg).UUID
	return vg
}

// pool makes a small pool called "pool".
func (h *host) pool(vg lvm.VG, size int64) lvm.PoolSpec {
	h.Helper()
	spec := lvm.PoolSpec{Name: "pool", Size: size, MetadataSize: 8 * mib, ChunkSize: 64 << 10, Tags: []string{"lvme.pool"}}
	h.ok(h.lvm.CreatePool(h.ctx, vg, spec))
	return spec
}

func (h *host) thin(vg lvm.VG, name string, size int64) {
	h.Helper()
	h.ok(h.lvm.CreateThin(h.ctx, vg, lvm.ThinSpec{Name: name, Pool: "pool", Size: size, Tags: []string{"fresh"}}))
}

func (h *host) report(vg lvm.VG) lvm.VGReport {
	h.Helper()
	report, err := h.lvm.Report(h.ctx, vg)
	h.ok(err)
	return report
}

// sees wants the VG to have an LV exactly as the caller of a change would have
// predicted it, and gives what LVM says. UUID, date and number are LVM's to choose.
func (h *host) sees(vg lvm.VG, want lvm.LV) lvm.LV {
	h.Helper()
	got, found := h.report(vg).LV(want.Name)
	if !found {
		h.Fatalf("no LV %s", want.Name)
	}
	if got.UUID == "" || time.Since(got.Created).Abs() > time.Hour {
		h.Errorf("%s: UUID %q, made %v", want.Name, got.UUID, got.Created)
	}
	stripped := got
	stripped.UUID, stripped.Created, stripped.ThinID, stripped.TransactionID = "", time.Time{}, 0, 0
	if !equal(stripped, want) {
		h.Errorf("LVM says  %+v\npredicted %+v", stripped, want)
	}
	return got
}

// equal compares LVs; the percentages of want count only if they are Unknown.
func equal(got, want lvm.LV) bool {
	for _, p := range []struct{ got, want *float64 }{
		{&got.DataPercent, &want.DataPercent}, {&got.MetadataPercent, &want.MetadataPercent}, {&got.SyncPercent, &want.SyncPercent},
	} {
		if *p.want != lvm.Unknown && *p.got >= 0 {
			*p.got, *p.want = 0, 0
		}
	}
	tags := slices.Equal(got.Tags, want.Tags)
	got.Tags, want.Tags = nil, nil
	return tags && reflect.DeepEqual(got, want)
}

// thick is a thick LV as it is reported while it is inactive.
func thick(name, segType string, size int64) lvm.LV {
	return lvm.LV{Name: name, SegType: segType, Size: size, Stripes: 1,
		DataPercent: lvm.Unknown, MetadataPercent: lvm.Unknown, SyncPercent: lvm.Unknown}
}

// thinLV is an inactive thin in "pool".
func thinLV(name string, size int64, tags ...string) lvm.LV {
	v := thick(name, "thin", size)
	v.Pool, v.Stripes, v.Tags = "pool", 0, tags
	return v
}

// changes wants the commands since the last call to be one change and no reads.
func (h *host) oneChange(what string) {
	h.Helper()
	if cmds := h.rec.Take(); cmds.Changes() != 1 || cmds.Reads() != 0 {
		h.Errorf("%s took %v, want one command that changes something", what, cmds.Verbs())
	}
}

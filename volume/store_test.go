package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// scenarios are what a store must do on any LVM.
var scenarios = []struct {
	name string
	run  func(t *testing.T, r *rig)
}{
	{"take drives", testTakeDrives},
	{"one command a verb", testOneCommand},
	{"create compares", testCreateCompares},
	{"copies", testCopies},
	{"sizes and room", testSizesAndRoom},
	{"overcommit", testOvercommit},
	{"fills up", testFillsUp},
	{"fills up, striped", testFillsUpStriped},
	{"fills up, mirrored", testFillsUpMirrored},
	{"states", testStates},
	{"deletes", testDeletes},
	{"thick", testThick},
	{"striped", testStriped},
	{"mirrored", testMirrored},
	{"restart", testRestart},
	{"many at once", testManyAtOnce},
	{"identity", testIdentity},
	{"adopt", testAdopt},
	{"half a mirror", testHalfMirror},
	{"copies of the metadata", testBackup},
	{"drive back", testDriveBack},
	{"drive back while it is in use", testDriveBackInUse},
	{"leg back", testLegBack},
	{"degraded after a reboot", testDegradedStart},
}

func TestFake(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) { sc.run(t, fakeRig(t)) })
	}
}

func TestReal(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) { sc.run(t, realRig(t)) })
	}
}

const mib = 1 << 20

func mustCreate(t *testing.T, s *Store, spec CreateSpec) Volume {
	t.Helper()
	if spec.Mode == "" {
		spec.Mode = Filesystem
	}
	v, err := s.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create %q: %v", spec.Name, err)
	}
	return v
}

func size(n int64) Range { return Range{Required: n} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// matchesLVM compares what the store knows with a new report of every pool.
func matchesLVM(t *testing.T, s *Store) {
	t.Helper()
	s.mu.RLock()
	var pools []*pool
	for _, p := range s.pools {
		pools = append(pools, p)
	}
	s.mu.RUnlock()
	for _, p := range pools { // in the middle of a change LVM knows more than the store
		must(t, p.exclusively(t.Context(), func() error { return nil }))
	}
	known := describeAll(s)
	for _, p := range pools {
		must(t, p.exclusively(t.Context(), func() error { return s.reload(t.Context(), p) }))
	}
	if found := describeAll(s); found != known {
		t.Errorf("the store knew\n%sLVM has\n%s", known, found)
	}
}

func describeAll(s *Store) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var lines []string
	for id, p := range s.pools {
		lines = append(lines, fmt.Sprintf("%s free=%d thin=%d active=%t wiping=%d strange=%v clean=%t", id, p.free, p.thinBytes, p.thinActive, len(p.wiping), p.strange, p.tags.clean))
		for e := range p.entries.all() {
			e.mapped = 0
			lines = append(lines, fmt.Sprintf("  %s/%s %+v", id, e.lv, e))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func testTakeDrives(t *testing.T, r *rig) {
	cfg := fastClass(drive.PerDrive, 60, 30)
	idle := r.options(cfg)
	idle.Background = false
	s, err := Open(t.Context(), idle)
	must(t, err)
	if len(s.Key()) != 8 {
		t.Errorf("store key %q", s.Key())
	}
	if c, err := s.Capacity(t.Context(), "", Thin); err != nil || c.Available != 0 {
		t.Errorf("capacity without drives: %+v, %v", c, err)
	}
	plan := s.Plan(nil)
	drives, _ := r.drives(t.Context())
	if len(plan.Groups) != len(drives) || len(s.Pools(t.Context())) != 0 {
		t.Fatalf("plan %+v", plan)
	}
	must(t, s.Init(t.Context(), plan, func(string) {}))
	if c, err := s.Capacity(t.Context(), "", Thick); err != nil || c.Available != 0 {
		t.Errorf("thick capacity before the wipe: %+v, %v", c, err)
	}
	s.Close()
	s = r.open(t, cfg)
	waitWiped(t, s)
	pools := s.Pools(t.Context())
	for i, p := range pools {
		g := plan.Groups[i]
		if p.Problem != "" || p.Number != i || p.ThinBytes != g.ThinBytes || p.Bytes < g.Bytes || len(p.Drives) != 1 || p.Drives[0].ID == "" {
			t.Errorf("planned %+v\ngot %+v", g, p)
		}
	}
	for _, typ := range []Type{Thin, Thick} {
		c, err := s.Capacity(t.Context(), "", typ)
		if err != nil || c.MaxVolume < 256*mib || c.Available < c.MaxVolume || c.MinVolume != extentBytes {
			t.Errorf("%s capacity %+v, %v", typ, c, err)
		}
	}
	r.calls.take()
	again := s.Plan(nil)
	must(t, s.Init(t.Context(), again, func(string) {}))
	if ran := r.calls.take(); len(again.Groups) != 0 || strings.HasPrefix(ran, "vg") || strings.HasPrefix(ran, "lv") {
		t.Errorf("the second time planned %+v and ran %q", again.Groups, ran)
	}
	matchesLVM(t, s)
}

func testOneCommand(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	ctx := t.Context()
	step := func(name, want string, err error) {
		t.Helper()
		must(t, err)
		if got := r.calls.take(); got != want {
			t.Errorf("%s ran %q, want %q", name, got, want)
		}
	}
	v := mustCreate(t, s, CreateSpec{Name: "a", Size: size(128 * mib)})
	step("create thin", "lvcreate", nil)
	_, err := s.Create(ctx, CreateSpec{Name: "a", Mode: Filesystem, Size: size(128 * mib)})
	step("create again", "", err)
	_, err = s.Activate(ctx, v.Key)
	step("first activation", "lvchange", err)
	_, err = s.SetState(ctx, v.Key, Formatting, "ext4")
	step("begin to format", "lvchange", err)
	_, err = s.SetState(ctx, v.Key, Formatted, "ext4")
	step("formatted", "lvchange", err)
	_, err = s.SetState(ctx, v.Key, Formatted, "ext4")
	step("formatted again", "", err)
	snap, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "a", Source: v.Key})
	step("snapshot", "lvcreate", err)
	restored, err := s.Create(ctx, CreateSpec{Name: "r", Mode: Filesystem, Source: snap.Key})
	step("restore", "lvcreate", err)
	_, err = s.Create(ctx, CreateSpec{Name: "l", Mode: Filesystem, Source: snap.Key, Size: size(160 * mib)})
	step("restore larger", "lvcreate lvextend", err)
	clone, err := s.Create(ctx, CreateSpec{Name: "c", Mode: Filesystem, Source: v.Key})
	step("clone", "lvcreate", err)
	_, err = s.Expand(ctx, v.Key, size(200*mib))
	step("expand", "lvextend", err)
	step("delete snapshot", "lvremove", s.DeleteSnapshot(ctx, snap.Key))
	step("delete clone, giving blocks back", "lvchange lvremove", s.Delete(ctx, clone.Key))
	step("delete again", "", s.Delete(ctx, clone.Key))
	step("delete restored", "lvchange lvremove", s.Delete(ctx, restored.Key))
	step("deactivate", "lvchange", s.Deactivate(ctx, v.Key))
	fresh := mustCreate(t, s, CreateSpec{Name: "f", Size: size(64 * mib)})
	r.calls.take()
	step("delete what nobody wrote to", "lvremove", s.Delete(ctx, fresh.Key))
	_, _ = s.Capacity(ctx, "", Thin)
	_, _ = s.Volumes(ctx)
	_ = s.Pools(ctx)
	step("look", "", nil)
	matchesLVM(t, s)
}

func testCreateCompares(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	base := CreateSpec{Name: "a", Mode: Filesystem, FSType: "ext4", Size: Range{Required: 100 * mib, Limit: 200 * mib}}
	first := mustCreate(t, s, base)
	change := func(f func(*CreateSpec)) CreateSpec { spec := base; f(&spec); return spec }
	for name, spec := range map[string]CreateSpec{
		"same":               base,
		"smaller but enough": change(func(c *CreateSpec) { c.Size = Range{Required: 50 * mib} }),
		"no size":            change(func(c *CreateSpec) { c.Size = Range{} }),
		"the class by name":  change(func(c *CreateSpec) { c.Class = "fast" }),
	} {
		if v, err := s.Create(t.Context(), spec); err != nil || v.Key != first.Key || !v.Created.Equal(first.Created) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	for name, spec := range map[string]CreateSpec{
		"larger":      change(func(c *CreateSpec) { c.Size = Range{Required: 300 * mib} }),
		"limited":     change(func(c *CreateSpec) { c.Size = Range{Limit: 50 * mib} }),
		"block":       change(func(c *CreateSpec) { c.Mode, c.FSType = Block, "" }),
		"xfs":         change(func(c *CreateSpec) { c.FSType, c.Size = "xfs", Range{} }),
		"thick":       change(func(c *CreateSpec) { c.Type = Thick }),
		"with source": change(func(c *CreateSpec) { c.Source = first.Key }),
	} {
		_, err := s.Create(t.Context(), spec)
		wantErr(t, name, err, ErrConflict)
	}
	for name, spec := range map[string]CreateSpec{
		"unknown class":   change(func(c *CreateSpec) { c.Class = "slow" }),
		"unknown profile": change(func(c *CreateSpec) { c.Profile = "turbo" }),
		"unknown type":    change(func(c *CreateSpec) { c.Type = "fluid" }),
		"unknown fs":      change(func(c *CreateSpec) { c.FSType = "vfat" }),
		"negative":        change(func(c *CreateSpec) { c.Size.Required = -1 }),
		"no name":         change(func(c *CreateSpec) { c.Name = "" }),
		"long name":       change(func(c *CreateSpec) { c.Name = strings.Repeat("x", 129) }),
	} {
		_, err := s.Create(t.Context(), spec)
		wantErr(t, name, err, ErrInvalid)
	}
	all, err := s.Volumes(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("refusals changed the store: %+v, %v", all, err)
	}
}

func testCopies(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	ctx := t.Context()
	v := mustCreate(t, s, CreateSpec{Name: "origin", Mode: Block, Size: size(64 * mib)})
	d, err := s.Activate(ctx, v.Key)
	must(t, err)
	_, err = s.SetState(ctx, v.Key, Raw, "")
	must(t, err)
	old := bytes.Repeat([]byte("old "), 256<<10)
	r.write(t, d.Path, 0, old)

	snap, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "snap", Source: v.Key})
	must(t, err)
	if snap.Reserved != mib || snap.Bytes != v.Bytes || snap.Mode != Block || snap.State != Raw {
		t.Errorf("snapshot of a volume with 1 MiB written: %+v", snap)
	}
	r.write(t, d.Path, 0, bytes.Repeat([]byte("new "), 256<<10))

	same := mustCreate(t, s, CreateSpec{Name: "same", Mode: Block, Source: snap.Key})
	larger := mustCreate(t, s, CreateSpec{Name: "larger", Mode: Block, Source: snap.Key, Size: size(100 * mib)})
	clone := mustCreate(t, s, CreateSpec{Name: "clone", Mode: Block, Source: v.Key})
	if same.Bytes != v.Bytes || larger.Bytes != 100*mib || same.Source != snap.Key || clone.Source != v.Key || same.State != Raw {
		t.Errorf("copies %+v %+v %+v", same, larger, clone)
	}
	matchesLVM(t, s)

	// A copy outlives what it was made from, in any order.
	must(t, s.DeleteSnapshot(ctx, snap.Key))
	must(t, s.Deactivate(ctx, v.Key))
	must(t, s.Delete(ctx, v.Key))
	for _, c := range []struct {
		v    Volume
		want string
	}{{same, "old "}, {larger, "old "}, {clone, "new "}} {
		d, err := s.Activate(ctx, c.v.Key)
		must(t, err)
		if r.real {
			if got := readDevice(t, d.Path, 0, mib); !bytes.Equal(got, bytes.Repeat([]byte(c.want), 256<<10)) {
				t.Errorf("%s holds %.8q, want %q", c.v.Name, got, c.want)
			}
		}
		r.write(t, d.Path, 0, []byte("writable"))
	}
	if _, err := s.Snapshot(ctx, snap.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("the deleted snapshot: %v", err)
	}

	for name, spec := range map[string]CreateSpec{
		"mode change": {Mode: Filesystem, Source: same.Key},
		"thick":       {Mode: Block, Source: same.Key, Type: Thick},
		"other class": {Mode: Block, Source: same.Key, Class: "slow"},
	} {
		spec.Name = "refused"
		_, err := s.Create(ctx, spec)
		wantErr(t, name, err, ErrInvalid)
	}
	_, err = s.Create(ctx, CreateSpec{Name: "refused", Mode: Block, Source: same.Key, Size: Range{Limit: 32 * mib}})
	wantErr(t, "smaller than its source", err, ErrRange)
	_, err = s.Create(ctx, CreateSpec{Name: "refused", Mode: Block, Source: snap.Key})
	wantErr(t, "deleted source", err, ErrNotFound)
	converted := mustCreate(t, s, CreateSpec{Name: "converted", Mode: Filesystem, FSType: "ext4", Source: same.Key, AllowModeChange: true})
	if converted.State != Raw || converted.FSType != "ext4" {
		t.Errorf("a raw volume as a filesystem must never be formatted: %+v", converted)
	}
	matchesLVM(t, s)
}

func testSizesAndRoom(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	ctx := t.Context()
	before, err := s.Capacity(ctx, "", Thin)
	must(t, err)
	v := mustCreate(t, s, CreateSpec{Name: "odd", Mode: Block, Size: size(10*mib + 1)})
	if v.Bytes != 12*mib {
		t.Errorf("10 MiB and a byte became %d", v.Bytes)
	}
	after, err := s.Capacity(ctx, "", Thin)
	if err != nil || before.Available-after.Available != 12*mib {
		t.Errorf("capacity %d then %d, %v", before.Available, after.Available, err)
	}
	_, err = s.Create(ctx, CreateSpec{Name: "exact", Mode: Block, Size: Range{Required: 10*mib + 1, Limit: 10*mib + 1}})
	wantErr(t, "a size between extents", err, ErrRange)
	_, err = s.Create(ctx, CreateSpec{Name: "big", Mode: Block, Size: size(after.MaxVolume + 1)})
	wantErr(t, "one byte more than fits", err, ErrNoSpace)
	_, err = s.Create(ctx, CreateSpec{Name: "huge", Mode: Block, Size: size(math.MaxInt64)})
	wantErr(t, "huge", err, ErrRange)
	full := mustCreate(t, s, CreateSpec{Name: "full", Mode: Block, Size: size(after.MaxVolume)})
	_, err = s.Expand(ctx, full.Key, size(full.Bytes+1))
	wantErr(t, "expand in a full pool", err, ErrNoSpace)
	_, err = s.Expand(ctx, v.Key, Range{Required: 20 * mib, Limit: 10 * mib})
	wantErr(t, "limit below required", err, ErrInvalid)
	_, err = s.Expand(ctx, v.Key, Range{Limit: 4 * mib})
	wantErr(t, "limit below its size", err, ErrRange)
	if again, err := s.Expand(ctx, v.Key, size(5*mib)); err != nil || again.Bytes != v.Bytes {
		t.Errorf("expand to less: %+v, %v", again, err)
	}
	must(t, s.Delete(ctx, full.Key))
	must(t, s.Delete(ctx, v.Key))
	if end, err := s.Capacity(ctx, "", Thin); err != nil || end != before {
		t.Errorf("capacity %+v at the end, %+v at the start, %v", end, before, err)
	}
	if none, err := s.Capacity(ctx, "slow", Thin); err != nil || none != (Capacity{}) {
		t.Errorf("capacity of an unknown class: %+v, %v", none, err)
	}
	matchesLVM(t, s)
}

func testStates(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	ctx := t.Context()
	v := mustCreate(t, s, CreateSpec{Name: "a", Size: size(64 * mib)})
	if v.State != Fresh || v.Active {
		t.Errorf("a new volume is %+v", v)
	}
	_, err := s.SetState(ctx, v.Key, Formatted, "ext4")
	wantErr(t, "fresh to formatted", err, ErrPrecondition)
	d, err := s.Activate(ctx, v.Key)
	must(t, err)
	if !d.Volume.Active || d.Volume.State != Fresh {
		t.Errorf("activated %+v", d.Volume)
	}
	if _, err := s.Activate(ctx, v.Key); err != nil {
		t.Errorf("activate again: %v", err)
	}
	must(t, s.Deactivate(ctx, v.Key))
	must(t, s.Deactivate(ctx, v.Key))
	_, err = s.SetState(ctx, v.Key, Formatting, "xfs")
	must(t, err)
	_, err = s.SetState(ctx, v.Key, Fresh, "xfs")
	wantErr(t, "back to fresh", err, ErrPrecondition)
	got, err := s.SetState(ctx, v.Key, Formatted, "xfs")
	if err != nil || got.State != Formatted || got.FSType != "xfs" {
		t.Errorf("formatted: %+v, %v", got, err)
	}
	_, err = s.SetState(ctx, v.Key, Formatting, "xfs")
	wantErr(t, "format again", err, ErrPrecondition)
	matchesLVM(t, s)

	// A fresh volume that maps blocks holds somebody else's.
	stale := mustCreate(t, s, CreateSpec{Name: "stale", Mode: Block, Size: size(64 * mib)})
	d, err = s.Activate(ctx, stale.Key)
	must(t, err)
	r.write(t, d.Path, 0, bytes.Repeat([]byte("secret"), 1000))
	must(t, s.Deactivate(ctx, stale.Key))
	_, err = s.Activate(ctx, stale.Key)
	wantErr(t, "activate what maps blocks before its first use", err, ErrQuarantined)
	if v, err := s.Volume(ctx, stale.Key); err != nil || v.State != Quarantined || v.Active {
		t.Errorf("quarantined: %+v, %v", v, err)
	}
	_, err = s.Activate(ctx, stale.Key)
	wantErr(t, "activate what is quarantined", err, ErrQuarantined)
	_, err = s.CreateSnapshot(ctx, SnapshotSpec{Name: "no", Source: stale.Key})
	wantErr(t, "snapshot of what is quarantined", err, ErrQuarantined)
	must(t, s.Delete(ctx, stale.Key))
	matchesLVM(t, s)
}

func testDeletes(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	ctx := t.Context()
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	none := v.Key
	none.LV = "v-none"
	must(t, s.Delete(ctx, none))
	must(t, s.DeleteSnapshot(ctx, Key{s.Key(), v.Key.VG, "s-none"}))
	must(t, s.Delete(ctx, Key{s.Key(), "zzzzzzzz", "v-a"}))
	must(t, s.Delete(ctx, Key{s.Key(), v.Key.VG, "s-a"})) // no volume has such an id
	must(t, s.DeleteSnapshot(ctx, v.Key))                 // nor a snapshot this one
	if _, err := s.Volume(ctx, v.Key); err != nil {
		t.Errorf("deleted by another's key: %v", err)
	}
	wantErr(t, "delete of another store's", s.Delete(ctx, Key{"zzzzzzzz", v.Key.VG, "v-a"}), ErrForeign)

	d, err := s.Activate(ctx, v.Key)
	must(t, err)
	release := r.holdOpen(t, s, v)
	r.calls.take()
	wantErr(t, "delete of what is open", s.Delete(ctx, v.Key), ErrInUse)
	if commands := r.calls.take(); commands != "" {
		t.Errorf("commands to say that a volume is in use: %s", commands)
	}
	release()
	if r.real {
		_, err = s.SetState(ctx, v.Key, Raw, "")
		must(t, err)
		r.write(t, d.Path, 0, bytes.Repeat([]byte{1}, 32*mib))
		r.tool(t, "mkfs.ext4", "-q", "-F", d.Path)
		dir := t.TempDir()
		r.tool(t, "mount", d.Path, dir)
		wantErr(t, "delete of what is mounted", s.Delete(ctx, v.Key), ErrInUse)
		wantErr(t, "deactivate what is mounted", s.Deactivate(ctx, v.Key), ErrInUse)
		r.tool(t, "umount", dir)
		used := s.Pools(ctx)[0].ThinUsed + s.Pools(ctx)[len(s.Pools(ctx))-1].ThinUsed
		if used == 0 {
			t.Error("nothing used after 32 MiB were written")
		}
	}
	must(t, s.Delete(ctx, v.Key))
	for _, p := range s.Pools(ctx) {
		if p.Volumes != 0 || p.ThinUsed != 0 || p.ThinCommitted != 0 {
			t.Errorf("after the last delete: %+v", p)
		}
	}
	matchesLVM(t, s)
}

func testThick(t *testing.T, r *rig) {
	r.dirty(t)
	s := r.furnished(t, fastClass(drive.PerDrive, 30, 8))
	testThickLife(t, r, s)
}

func testStriped(t *testing.T, r *rig) {
	r.dirty(t)
	s := r.furnished(t, fastClass(drive.Striped, 30, 8))
	if pools := s.Pools(t.Context()); len(pools) != 1 || len(pools[0].Drives) < 2 {
		t.Fatalf("pools %+v", pools)
	}
	mustCreate(t, s, CreateSpec{Name: "thin", Size: size(64 * mib)})
	testThickLife(t, r, s)
}

func testMirrored(t *testing.T, r *rig) {
	r.dirty(t)
	s := r.furnished(t, fastClass(drive.Mirrored, 40, 16))
	drives, _ := r.drives(t.Context())
	if pools := s.Pools(t.Context()); len(pools) != len(drives)/2 || len(pools[0].Drives) != 2 {
		t.Fatalf("pools %+v", pools)
	}
	v := mustCreate(t, s, CreateSpec{Name: "thin", Size: size(64 * mib)})
	_, err := s.Activate(t.Context(), v.Key)
	must(t, err)
	testThickLife(t, r, s)
}

// dirty fills the drives with an earlier life.
func (r *rig) dirty(t *testing.T) {
	t.Helper()
	if !r.real {
		return
	}
	drives, err := r.drives(t.Context())
	must(t, err)
	for _, d := range drives {
		for offset := int64(16 * mib); offset < d.Bytes-16*mib; offset += 64 * mib {
			writeDevice(t, d.Path, offset, bytes.Repeat([]byte("former "), 300000))
		}
	}
}

// testThickLife uses up the thick share three times over: nobody ever sees a
// byte that is not its own.
func testThickLife(t *testing.T, r *rig, s *Store) {
	ctx := t.Context()
	full, err := s.Capacity(ctx, "", Thick)
	must(t, err)
	if full.MaxVolume == 0 {
		t.Fatalf("no thick room: %+v", s.Pools(ctx))
	}
	for round := range 3 {
		v := mustCreate(t, s, CreateSpec{Name: "t", Type: Thick, Mode: Block, Size: size(full.MaxVolume / 2)})
		if v.Type != Thick {
			t.Fatalf("made %+v", v)
		}
		matchesLVM(t, s)
		d, err := s.Activate(ctx, v.Key)
		must(t, err)
		v, err = s.Expand(ctx, v.Key, size(full.MaxVolume))
		must(t, err)
		if r.real {
			if n := nonZero(t, d.Path); n != 0 {
				t.Errorf("round %d: %d bytes of somebody else", round, n)
			}
			for offset := int64(0); offset < v.Bytes; offset += 16 * mib {
				r.write(t, d.Path, offset, bytes.Repeat([]byte("secret "), 200))
			}
		}
		_, err = s.CreateSnapshot(ctx, SnapshotSpec{Name: "no", Source: v.Key})
		wantErr(t, "snapshot of a thick volume", err, ErrInvalid)
		must(t, s.Deactivate(ctx, v.Key))
		r.calls.take()
		must(t, s.Delete(ctx, v.Key))
		if _, err := s.Volume(ctx, v.Key); !errors.Is(err, ErrNotFound) {
			t.Errorf("after delete: %v", err)
		}
		waitWiped(t, s)
		t.Logf("round %d: a thick delete ran %q", round, r.calls.take())
		matchesLVM(t, s)
	}
	if end, err := s.Capacity(ctx, "", Thick); err != nil || end != full {
		t.Errorf("capacity %+v at the end, %+v at the start, %v", end, full, err)
	}
}

func testRestart(t *testing.T, r *rig) {
	cfg := fastClass(drive.PerDrive, 30, 8)
	s := r.furnished(t, cfg)
	ctx := t.Context()
	v := mustCreate(t, s, CreateSpec{Name: "a", Size: size(64 * mib), Profile: "general", MkfsOptions: []string{"-m", "1"}})
	snap, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "a", Source: v.Key})
	must(t, err)
	thick := mustCreate(t, s, CreateSpec{Name: "t", Type: Thick, Mode: Block, Size: size(64 * mib)})
	known := describeAll(s)
	key := s.Key()
	s.Close()
	if _, err := s.Create(ctx, CreateSpec{Name: "late", Mode: Block}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("create after the end: %v", err)
	}

	r.calls.take()
	again := r.open(t, cfg)
	if ran := r.calls.take(); ran != " + 1 reports" {
		t.Errorf("a start with nothing to mend ran %q", ran)
	}
	if found := describeAll(again); again.Key() != key || found != known {
		t.Errorf("before the restart\n%safter it\n%s", known, found)
	}
	if got, err := again.Volume(ctx, v.Key); err != nil || fmt.Sprint(got) != fmt.Sprint(v) {
		t.Errorf("volume %+v, %v; was %+v", got, err, v)
	}
	if got, err := again.Snapshot(ctx, snap.Key); err != nil || got != snap {
		t.Errorf("snapshot %+v, %v; was %+v", got, err, snap)
	}

	// What a crash leaves: a larger restore without its second command, a
	// thick volume that is renamed and not yet wiped.
	half := entry{lv: "v-half", record: record{name: "half", state: Fresh, mode: Filesystem, fsType: "ext4", profile: "general", source: snap.Key.LV, target: 128 * mib, created: again.now()}}
	vg := again.pools[v.Key.VG].vg
	must(t, again.LVM.Snapshot(ctx, vg, lvm.SnapshotSpec{Name: half.lv, Origin: snap.Key.LV, Tags: half.tags()}))
	must(t, again.LVM.Rename(ctx, again.pools[thick.Key.VG].vg, thick.Key.LV, "w-crashed0"))
	p := again.pools[v.Key.VG]
	must(t, p.exclusively(ctx, func() error { return again.reload(ctx, p) }))
	_, err = again.Activate(ctx, Key{key, v.Key.VG, half.lv})
	wantErr(t, "activate what is half-made", err, ErrPrecondition)
	again.Close()
	mended := r.open(t, cfg)
	if got, err := mended.Volume(ctx, Key{key, v.Key.VG, half.lv}); err != nil || got.Bytes != 128*mib {
		t.Errorf("a start makes of a half-made restore %+v, %v", got, err)
	}
	whole := mustCreate(t, mended, CreateSpec{Name: "half", Source: snap.Key, Size: size(128 * mib)})
	if whole.Bytes != 128*mib {
		t.Errorf("a half-made restore became %+v", whole)
	}
	waitWiped(t, mended)
	must(t, mended.Delete(ctx, thick.Key))
	matchesLVM(t, mended)
}

func testManyAtOnce(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 30))
	ctx := t.Context()
	n := 20
	var wg sync.WaitGroup
	fail := make(chan error, 4*n)
	for i := range n {
		name := fmt.Sprintf("pvc-%d", i)
		spec := CreateSpec{Name: name, Mode: Block, Size: size(16 * mib)}
		for range 2 { // each call twice at once: one volume
			wg.Go(func() {
				v, err := s.Create(ctx, spec)
				if err == nil {
					_, err = s.CreateSnapshot(ctx, SnapshotSpec{Name: name, Source: v.Key})
				}
				fail <- err
			})
		}
	}
	wg.Wait()
	for range 2 * n {
		must(t, <-fail)
	}
	volumes, _ := s.Volumes(ctx)
	snapshots, _ := s.Snapshots(ctx)
	if len(volumes) != n || len(snapshots) != n {
		t.Errorf("%d volumes and %d snapshots, want %d each", len(volumes), len(snapshots), n)
	}
	perPool := map[string]int{}
	for _, v := range volumes {
		perPool[v.Key.VG]++
	}
	for vg, k := range perPool {
		if want := n / len(s.Pools(ctx)); k < want-2 || k > want+2 {
			t.Errorf("%d volumes in %s, want about %d: the class spreads", k, vg, want)
		}
	}
	matchesLVM(t, s)
	for _, v := range volumes {
		wg.Go(func() { fail <- s.Delete(ctx, v.Key) })
	}
	for _, snap := range snapshots {
		wg.Go(func() { fail <- s.DeleteSnapshot(ctx, snap.Key) })
	}
	wg.Wait()
	for range 2 * n {
		must(t, <-fail)
	}
	for _, p := range s.Pools(ctx) {
		if p.Volumes+p.Snapshots != 0 || p.ThinCommitted != 0 {
			t.Errorf("left: %+v", p)
		}
	}
	matchesLVM(t, s)
}

// testIdentity pulls a drive out of the store's sight.
func testIdentity(t *testing.T, r *rig) {
	cfg := fastClass(drive.PerDrive, 60, 30)
	s := r.furnished(t, cfg)
	ctx := t.Context()
	v := mustCreate(t, s, CreateSpec{Name: "a", Size: size(64 * mib)})
	_, err := s.Volume(ctx, Key{"zzzzzzzz", v.Key.VG, v.Key.LV})
	wantErr(t, "another store", err, ErrForeign)
	_, err = s.Volume(ctx, Key{s.Key(), "zzzzzzzz", v.Key.LV})
	wantErr(t, "a VG that never was", err, ErrNotFound)

	all := r.drives
	away := s.Pools(ctx)[slices.IndexFunc(s.Pools(ctx), func(p Pool) bool { return p.ID == v.Key.VG })].Drives[0]
	s.Options.Drives = func(ctx context.Context) ([]drive.Drive, error) {
		drives, err := all(ctx)
		return slices.DeleteFunc(drives, func(d drive.Drive) bool { return d.ID == away.ID }), err
	}
	must(t, s.Refresh(ctx))
	_, err = s.Volume(ctx, v.Key)
	wantErr(t, "its drive is away", err, ErrAway)
	if !strings.Contains(err.Error(), away.Serial) {
		t.Errorf("the error does not name the drive: %v", err)
	}
	wantErr(t, "delete while its drive is away", s.Delete(ctx, v.Key), ErrAway)
	if volumes, err := s.Volumes(ctx); err != nil || len(volumes) != 0 {
		t.Errorf("list without the drive: %v, %v", volumes, err)
	}

	s.Options.Drives = all
	must(t, s.Refresh(ctx))
	if got, err := s.Volume(ctx, v.Key); err != nil || got.Bytes != v.Bytes {
		t.Errorf("the drive is back: %+v, %v", got, err)
	}
	_, err = s.Forget(ctx, func(d PoolDrive) bool { return d.ID == away.ID })
	wantErr(t, "forget a drive that is here", err, ErrPrecondition)
	s.Options.Drives = func(ctx context.Context) ([]drive.Drive, error) {
		drives, err := all(ctx)
		return slices.DeleteFunc(drives, func(d drive.Drive) bool { return d.ID == away.ID }), err
	}
	must(t, s.Refresh(ctx))
	gone, err := s.Forget(ctx, func(d PoolDrive) bool { return d.ID == away.ID })
	if err != nil || len(gone) != 1 {
		t.Fatalf("forget: %+v, %v", gone, err)
	}
	must(t, s.Delete(ctx, v.Key))
	_, err = s.Volume(ctx, v.Key)
	wantErr(t, "after forget", err, ErrNotFound)
}

func testAdopt(t *testing.T, r *rig) {
	cfg := fastClass(drive.PerDrive, 60, 30)
	s := r.furnished(t, cfg)
	v := mustCreate(t, s, CreateSpec{Name: "a", Size: size(64 * mib)})
	s.Close()

	r.dir = t.TempDir() // the drives in another chassis
	_, err := Open(t.Context(), r.options(cfg))
	wantErr(t, "start without a record", err, ErrAdopt)
	key, err := Adopt(t.Context(), r.options(cfg))
	if err != nil || key != s.Key() {
		t.Fatalf("adopt: %q, %v", key, err)
	}
	adopted := r.open(t, cfg)
	if got, err := adopted.Volume(t.Context(), v.Key); err != nil || got.Bytes != v.Bytes {
		t.Errorf("after adopt: %+v, %v", got, err)
	}
}

// testHalfMirror takes one of two mirrored drives out of the store's sight.
func testHalfMirror(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.Mirrored, 40, 0))
	ctx := t.Context()
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	all := r.drives
	s.Options.Drives = func(ctx context.Context) ([]drive.Drive, error) {
		drives, err := all(ctx)
		return drives[:1], err
	}
	must(t, s.Refresh(ctx))
	if p := s.Pools(ctx); len(p) != 1 || !strings.Contains(p[0].Problem, "missing") {
		t.Errorf("pools %+v", p)
	}
	if _, err := s.Volume(ctx, v.Key); err != nil {
		t.Errorf("the volume is still there: %v", err)
	}
	r.calls.take()
	_, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "a", Source: v.Key})
	wantErr(t, "snapshot", err, ErrAway)
	_, err = s.Create(ctx, CreateSpec{Name: "b", Mode: Block})
	wantErr(t, "create", err, ErrNoSpace)
	wantErr(t, "delete", s.Delete(ctx, v.Key), ErrAway)
	if ran := r.calls.take(); ran != "" {
		t.Errorf("a VG without one of its drives was changed: %q", ran)
	}
	s.Options.Drives = all
	must(t, s.Refresh(ctx))
	must(t, s.Delete(ctx, v.Key))
	matchesLVM(t, s)
}

// testOvercommit writes to a pool that may be promised four times over.
func testOvercommit(t *testing.T, r *rig) {
	cfg := fastClass(drive.Striped, 20, 0)
	cfg.Classes[0].Thin.Overcommit = 4
	s := r.furnished(t, cfg)
	ctx := t.Context()
	empty, err := s.Capacity(ctx, "", Thin)
	must(t, err)
	pool := s.Pools(ctx)[0]
	if empty.Available < 3*pool.ThinBytes || empty.Available > 4*pool.ThinBytes {
		t.Errorf("capacity %+v of a pool of %d", empty, pool.ThinBytes)
	}
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(pool.ThinBytes)})
	d, err := s.Activate(ctx, v.Key)
	must(t, err)
	_, err = s.SetState(ctx, v.Key, Raw, "")
	must(t, err)
	half := pool.ThinBytes / 2
	for offset := int64(0); offset < half; offset += 64 * mib {
		r.write(t, d.Path, offset, bytes.Repeat([]byte("x"), int(min(64*mib, half-offset))))
	}
	filled, err := s.Capacity(ctx, "", Thin)
	if want := 2 * pool.ThinBytes; err != nil || filled.Available > want || filled.Available < want-64*mib {
		t.Errorf("capacity %+v, %v of a pool that is half full; want about %d", filled, err, want)
	}
	must(t, s.Deactivate(ctx, v.Key))
	must(t, s.Delete(ctx, v.Key))
	if end, err := s.Capacity(ctx, "", Thin); err != nil || end != empty {
		t.Errorf("capacity %+v at the end, %+v at the start, %v", end, empty, err)
	}
}

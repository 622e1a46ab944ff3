package volume

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm/lvmtest"
)

func testFillsUp(t *testing.T, r *rig)         { testFilling(t, r, drive.PerDrive, 12) }
func testFillsUpStriped(t *testing.T, r *rig)  { testFilling(t, r, drive.Striped, 6) }
func testFillsUpMirrored(t *testing.T, r *rig) { testFilling(t, r, drive.Mirrored, 12) }

// testFilling writes to a pool that is promised several times over until its group
// has no reserve left, and gives the space back.
func testFilling(t *testing.T, r *rig, layout drive.Layout, thin int) {
	cfg := fastClass(layout, thin, 0)
	cfg.Classes[0].Reserve, cfg.Classes[0].Thin.Overcommit = 8, 4
	s := r.furnished(t, cfg)
	ctx := t.Context()
	start := s.Pools(ctx)[0]
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(3 * start.ThinBytes)})
	now := func() Pool { return poolNow(t, s, v.Key.VG) }
	start = now()
	d, err := s.Activate(ctx, v.Key)
	must(t, err)
	_, err = s.SetState(ctx, v.Key, Raw, "")
	must(t, err)

	var warned, stopped bool
	steps := []int64{start.ThinBytes}
	for offset := int64(0); ; offset += 4 * mib {
		if offset >= v.Bytes {
			t.Fatalf("all of %d bytes are written, and the pool is not at its end: %+v", v.Bytes, now())
		}
		r.write(t, d.Path, offset, bytes.Repeat([]byte("x"), 4*mib))
		p := now()
		warned, stopped = warned || p.Warning != "", stopped || p.Problem != ""
		if p.ThinUsed < p.ThinBytes/100*dataEdge {
			continue
		}
		if p.Reserve < start.Reserve/100*(metaKept+1)+16*mib {
			break // what is left is for metadata
		}
		eventually(t, "the pool is extended", func() bool { return now().ThinBytes > p.ThinBytes })
		steps = append(steps, now().ThinBytes)
	}
	t.Logf("%s: extended in steps %d, reserve %d to %d", layout, steps, start.Reserve, now().Reserve)
	if !warned || !stopped || len(steps) < dataSteps {
		t.Errorf("warned %t, stopped %t, steps %d", warned, stopped, steps)
	}
	if p := now(); p.Lent+p.Reserve != start.Reserve || p.Lent == 0 || p.MetadataBytes != start.MetadataBytes {
		t.Errorf("%d lent and %d left of %d; metadata %d, were %d", p.Lent, p.Reserve, start.Reserve, p.MetadataBytes, start.MetadataBytes)
	}
	nothingMore(t, s, v)
	matchesLVM(t, s)

	// As soon as there is space again the pool takes what it took at the start, and
	// no more: what it was lent is not sold.
	must(t, s.Deactivate(ctx, v.Key))
	must(t, s.Delete(ctx, v.Key))
	w := mustCreate(t, s, CreateSpec{Name: "b", Mode: Block, Size: size(4 * start.ThinBytes)})
	if layout != drive.PerDrive {
		_, err = s.Create(ctx, CreateSpec{Name: "c", Mode: Block, Size: size(4 * mib)})
		wantErr(t, "more than is for sale", err, ErrNoSpace)
	}
	if all, err := s.VolumeHealth(ctx, w.Key); err != nil || len(all) != 0 {
		t.Errorf("health %+v, %v", all, err)
	}
	must(t, s.Delete(ctx, w.Key))

	// A new start knows what was lent from the tags alone.
	before := now()
	s.Close()
	s = r.open(t, cfg)
	if p := now(); p.Lent != before.Lent || p.Reserve != before.Reserve || p.ThinBytes != before.ThinBytes {
		t.Errorf("after a start: %+v, before: %+v", p, before)
	}
	matchesLVM(t, s)
}

// nothingMore wants every new promise in the volume's pool to be refused, with the
// reason and the next step, and the volume's health to say so.
func nothingMore(t *testing.T, s *Store, v Volume) {
	t.Helper()
	ctx := t.Context()
	refused := func(what string, err error) {
		t.Helper()
		wantErr(t, what, err, ErrNoSpace)
		if err != nil && !strings.Contains(err.Error(), "delete") {
			t.Errorf("%s: %v names no next step", what, err)
		}
	}
	eventually(t, "the volume's health says that the pool is full", func() bool {
		all, err := s.VolumeHealth(ctx, v.Key)
		return err == nil && slices.ContainsFunc(all, func(a Ailment) bool { return a.Reason == "PoolNearlyFull" && a.Effect == Degraded })
	})
	_, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "s", Source: v.Key})
	refused("snapshot", err)
	_, err = s.Create(ctx, CreateSpec{Name: "clone", Mode: Block, Source: v.Key})
	refused("clone", err)
	_, err = s.Expand(ctx, v.Key, size(v.Bytes+64*mib))
	refused("expand", err)
	made, err := s.Create(ctx, CreateSpec{Name: "another", Mode: Block, Size: size(4 * mib)})
	if err == nil && made.Key.VG != v.Key.VG {
		must(t, s.Delete(ctx, made.Key)) // there is another pool
	} else {
		refused("create", err)
	}
}

func poolNow(t *testing.T, s *Store, id string) Pool {
	t.Helper()
	for _, p := range s.Pools(t.Context()) {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("no pool %s", id)
	return Pool{}
}

// fakePools is a store on a host in memory with one pool a drive, and its LVM.
func fakePools(t *testing.T, change func(*drive.Class)) (*Store, *lvmtest.Fake) {
	t.Helper()
	cfg := fastClass(drive.PerDrive, 60, 0)
	cfg.Classes[0].Reserve, cfg.Classes[0].Thin.Overcommit = 20, 4
	if change != nil {
		change(&cfg.Classes[0])
	}
	r := fakeRig(t)
	return r.furnished(t, cfg), r.runner.(*lvmtest.Fake)
}

// TestMetadataFillsUp: metadata are extended before LVM refuses new volumes, and
// their spare with them.
func TestMetadataFillsUp(t *testing.T) {
	s, fake := fakePools(t, nil)
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(16 * mib)})
	now := func() Pool { return poolNow(t, s, v.Key.VG) }
	start := now()
	blocks := start.MetadataBytes / metaBlock
	fake.FillMetadata(start.VG, poolLV, blocks*45/100)
	eventually(t, "the pool says that its metadata fill up", func() bool { return strings.Contains(now().Warning, "metadata") })
	fake.FillMetadata(start.VG, poolLV, blocks*62/100)
	eventually(t, "the metadata are extended", func() bool { return now().Lent > 0 })
	p := now()
	if took := 2 * (p.MetadataBytes - start.MetadataBytes); p.Lent != took || p.Reserve != start.Reserve-took || p.ThinBytes != start.ThinBytes {
		t.Errorf("from %+v to %+v", start, p)
	}
	// Past what one step gives.
	fake.FillMetadata(start.VG, poolLV, blocks)
	eventually(t, "and once more", func() bool { p := now(); return p.MetadataUsed < p.MetadataBytes/100*metaEdge })
	mustCreate(t, s, CreateSpec{Name: "b", Mode: Block, Size: size(16 * mib)})
	matchesLVM(t, s)
}

// TestFullWithoutReserve: with nothing to extend it from, a pool stops, says so
// once, and goes on when there is space.
func TestFullWithoutReserve(t *testing.T) {
	s, fake := fakePools(t, func(c *drive.Class) { c.Thin.Share, c.Reserve = 100, 0 })
	ctx := t.Context()
	start := s.Pools(ctx)[0]
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(3 * start.ThinBytes)})
	snap, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "s", Source: v.Key})
	must(t, err)
	_, err = s.Activate(ctx, v.Key)
	must(t, err)
	_, err = s.SetState(ctx, v.Key, Raw, "")
	must(t, err)
	vg := VGName(v.Key.VG)
	if n := fake.Map(vg, v.Key.LV, 2*start.ThinBytes); n >= 2*start.ThinBytes {
		t.Fatalf("a pool of %d took %d", start.ThinBytes, n)
	}
	health := func() []Ailment {
		all, err := s.VolumeHealth(ctx, v.Key)
		must(t, err)
		return all
	}
	eventually(t, "its health says that it is full", func() bool {
		return slices.ContainsFunc(health(), func(a Ailment) bool { return a.Reason == "PoolFull" })
	})
	if p := poolNow(t, s, v.Key.VG); !strings.Contains(p.Problem, "out_of_data_space") || p.Lent != 0 || p.ThinBytes != start.ThinBytes {
		t.Errorf("%+v", p)
	}
	must(t, s.DeleteSnapshot(ctx, snap.Key))
	_, err = s.CreateSnapshot(ctx, SnapshotSpec{Name: "s", Source: v.Key})
	wantErr(t, "snapshot in a full pool", err, ErrNoSpace)

	// Its user runs fstrim: lvme is told nothing.
	fake.Unmap(vg, v.Key.LV)
	eventually(t, "the pool has space again", func() bool { return len(health()) == 0 })
	_, err = s.CreateSnapshot(ctx, SnapshotSpec{Name: "s", Source: v.Key})
	must(t, err)
}

// TestExtendFails: a pool that cannot be extended is tried again later, not at once,
// and what failed half-way is seen.
func TestExtendFails(t *testing.T) {
	s, fake := fakePools(t, nil)
	ctx := t.Context()
	start := s.Pools(ctx)[0]
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(3 * start.ThinBytes)})
	_, err := s.Activate(ctx, v.Key)
	must(t, err)
	s.mu.RLock()
	p := s.pools[v.Key.VG]
	s.mu.RUnlock()
	fake.Inject(lvmtest.Fault{Verb: "lvextend"})
	fake.Map(VGName(v.Key.VG), v.Key.LV, start.ThinBytes/100*97)
	tried := func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return !p.watched.extendAfter.IsZero()
	}
	eventually(t, "extending has failed", tried)
	if now := poolNow(t, s, v.Key.VG); now.ThinBytes != start.ThinBytes {
		t.Errorf("%+v", now)
	}
	s.mu.Lock()
	p.watched.extendAfter = time.Time{}
	s.mu.Unlock()
	eventually(t, "it is extended after all", func() bool { return poolNow(t, s, v.Key.VG).ThinBytes > start.ThinBytes })
	matchesLVM(t, s)
}

// TestSmallerStep: what is free does not fit the step.
func TestSmallerStep(t *testing.T) {
	s, fake := fakePools(t, nil)
	ctx := t.Context()
	start := s.Pools(ctx)[0]
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(3 * start.ThinBytes)})
	_, err := s.Activate(ctx, v.Key)
	must(t, err)
	const no = "  Insufficient suitable allocatable extents for logical volume pool: 12 more required\n"
	fake.Inject(lvmtest.Fault{Verb: "lvextend", Stderr: no})
	fake.Inject(lvmtest.Fault{Verb: "lvextend", Nth: 1, Stderr: no})
	fake.Map(VGName(v.Key.VG), v.Key.LV, start.ThinBytes/1000*955)
	eventually(t, "it is extended by less", func() bool { return poolNow(t, s, v.Key.VG).ThinBytes > start.ThinBytes })
	if step := poolNow(t, s, v.Key.VG).ThinBytes - start.ThinBytes; step > start.Reserve/4*3/dataSteps/2 {
		t.Errorf("it was extended by %d", step)
	}
	matchesLVM(t, s)
}

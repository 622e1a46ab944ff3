package lvmtest

import (
	"errors"
	"slices"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// poolLV is an active pool as it is reported.
func poolLV(spec lvm.PoolSpec) lvm.LV {
	return lvm.LV{Name: spec.Name, SegType: "thin-pool", Size: spec.Rounded(extent), Tags: spec.Tags, Active: true,
		WhenFull: "error", ChunkSize: spec.ChunkSize, MetadataSize: spec.MetadataSize, Zero: true,
		Stripes: max(spec.Stripes, 1), StripeSize: spec.StripeSize, SyncPercent: lvm.Unknown}
}

func testPool(h *host) {
	vg := h.vg(1)
	h.rec.Take()
	spec := h.pool(vg, 256*mib)
	h.oneChange("CreatePool")
	h.sees(vg, poolLV(spec))
	st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	if st.Mode != lvm.PoolWritable || !st.NoSpaceError || st.NeedsCheck || st.HeldRoot || st.DataUsed != 0 ||
		st.DataTotal != 256*mib/spec.ChunkSize || st.MetaTotal != 8*mib/4096 || st.MetaUsed <= 0 || st.TransactionID != 0 {
		h.Errorf("new pool: %+v", st)
	}
	r := h.report(vg)
	if free := r.Size - 256*mib - 2*8*mib; r.Free != free {
		h.Errorf("the pool leaves %d bytes, predicted %d", r.Free, free)
	}
	h.hidden(r, "pool_tdata", "pool_tmeta", "lvol0_pmspare")
	h.segments(r)
	h.is("CreatePool again", h.lvm.CreatePool(h.ctx, vg, spec), lvm.ErrExists)
	h.ok(h.lvm.SetErrorWhenFull(h.ctx, vg, "pool"))
	h.rec.Take()
	h.ok(h.lvm.Extend(h.ctx, vg, "pool", 320*mib))
	h.oneChange("Extend")
	h.ok(h.lvm.ExtendPoolMetadata(h.ctx, vg, "pool", 16*mib))
	h.ok(h.lvm.ExtendPoolMetadata(h.ctx, vg, "pool", 16*mib))
	spec.Size, spec.MetadataSize = 320*mib, 16*mib
	h.sees(vg, poolLV(spec))
	h.is("Remove of an active pool", h.lvm.Remove(h.ctx, vg, "pool"), lvm.ErrInUse)
	h.ok(h.lvm.Deactivate(h.ctx, vg, "pool"))
	h.ok(h.lvm.Remove(h.ctx, vg, "pool"))
	if r := h.report(vg); r.Free != r.Size || len(r.LVs) != 0 {
		h.Errorf("after the pool: %+v", r)
	}
}

// hidden wants these LVs to be there and hidden.
func (h *host) hidden(r lvm.VGReport, names ...string) {
	h.Helper()
	for _, name := range names {
		if v, found := r.LV(name); !found || !v.Hidden {
			h.Errorf("hidden LV %s: %t %+v", name, found, v)
		}
	}
}

// segments wants the runs of extents to tell all of every drive.
func (h *host) segments(r lvm.VGReport) {
	h.Helper()
	for _, pv := range r.PVs {
		var end, free int64
		for _, s := range pv.Segments {
			if s.Start != end || s.Count <= 0 {
				h.Errorf("%s: %+v follows on extent %d", pv.Device, s, end)
			}
			if end += s.Count; s.LV == "" {
				free += s.Count
			} else if _, found := r.LV(s.LV); !found {
				h.Errorf("%s: extents of %s, which is not reported", pv.Device, s.LV)
			}
		}
		if end*r.ExtentSize != pv.Size || free*r.ExtentSize != pv.Free {
			h.Errorf("%s: %d extents, %d free; it has %d and %d bytes", pv.Device, end, free, pv.Size, pv.Free)
		}
	}
}

func testStripedPool(h *host) {
	vg := h.vg(2)
	spec := lvm.PoolSpec{Name: "pool", Size: 25 * extent, MetadataSize: 8 * mib, ChunkSize: 128 << 10, Stripes: 2, StripeSize: 64 << 10}
	h.ok(h.lvm.CreatePool(h.ctx, vg, spec))
	h.sees(vg, poolLV(spec))
	for _, pv := range h.report(vg).PVs {
		if n := extentsOf(pv, "pool_tdata"); n != 13 {
			h.Errorf("%s has %d extents of the pool, want 13", pv.Device, n)
		}
	}
	three := spec
	three.Name, three.Stripes = "pool3", 3
	h.is("three stripes on two drives", h.lvm.CreatePool(h.ctx, vg, three), lvm.ErrInvalid)
}

func extentsOf(pv lvm.PV, lv string) (n int64) {
	for _, s := range pv.Segments {
		if s.LV == lv {
			n += s.Count
		}
	}
	return n
}

// testMirroredPool begins with nothing, and where a crash has left half of it.
func testMirroredPool(h *host) {
	vg := h.vg(2)
	spec := lvm.PoolSpec{Name: "pool", Size: 64 * mib, MetadataSize: 8 * mib, ChunkSize: 64 << 10, Tags: []string{"lvme.pool"}}
	data := lvm.ThickSpec{Name: "pool", Size: spec.Size, Layout: lvm.Mirrored, Tags: spec.Tags}
	for name, before := range map[string][]lvm.ThickSpec{"nothing": nil, "data": {data}} {
		for _, s := range before {
			h.ok(h.lvm.CreateThick(h.ctx, vg, s))
		}
		h.ok(h.lvm.CreateMirroredPool(h.ctx, vg, spec))
		want := poolLV(spec)
		want.Stripes, want.SyncPercent = 2, 0
		h.sees(vg, want)
		h.rec.Take()
		h.ok(h.lvm.CreateMirroredPool(h.ctx, vg, spec))
		if cmds := h.rec.Take(); !slices.Equal(cmds.Verbs(), []string{"fullreport", "lvchange"}) {
			h.Errorf("after %s, again: %v", name, cmds.Verbs())
		}
		r := h.report(vg)
		h.hidden(r, "pool_tdata", "pool_tdata_rimage_0", "pool_tdata_rmeta_1", "pool_tmeta", "pool_tmeta_rimage_1")
		h.segments(r)
		h.thin(vg, "v-a", 16*mib)
		h.ok(h.lvm.Remove(h.ctx, vg, "v-a"))
		h.ok(h.lvm.Deactivate(h.ctx, vg, "pool"))
		h.ok(h.lvm.Remove(h.ctx, vg, "pool"))
		if r := h.report(vg); len(r.LVs) != 0 {
			h.Fatalf("after %s: %+v", name, r.LVs)
		}
	}
	data.Size *= 2
	h.ok(h.lvm.CreateThick(h.ctx, vg, data))
	h.is("over an LV of another size", h.lvm.CreateMirroredPool(h.ctx, vg, spec), lvm.ErrExists)
}

func testPoolFull(h *host) {
	vg := h.vg(1)
	h.pool(vg, 32*mib)
	h.thin(vg, "v-a", 64*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Write(h.T, vg.Name, "v-a", 64*mib)
	st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	if st.Mode != lvm.PoolOutOfData || st.DataUsed != st.DataTotal {
		h.Errorf("full pool: %+v", st)
	}
	if p, _ := h.report(vg).LV("pool"); p.Health != "out_of_data" || p.DataPercent != 100 {
		h.Errorf("full pool: %+v", p)
	}
	h.is("CreateThin", h.lvm.CreateThin(h.ctx, vg, lvm.ThinSpec{Name: "v-b", Pool: "pool", Size: extent}), lvm.ErrNoSpace)
	h.is("Snapshot", h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-a"}), lvm.ErrNoSpace)
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Remove(h.ctx, vg, "v-a"))
	h.thin(vg, "v-b", extent)
	if st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil || st.Mode != lvm.PoolWritable || st.DataUsed != 0 {
		h.Errorf("pool after the volume has gone: %+v, %v", st, err)
	}
}

// testPoolOff: commands work with the pool off too, and leave it off.
func testPoolOff(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.ok(h.lvm.Deactivate(h.ctx, vg, "pool"))
	h.ok(h.lvm.Deactivate(h.ctx, vg, "pool"))
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-a"}))
	h.ok(h.lvm.Extend(h.ctx, vg, "v-a", 32*mib))
	h.sees(vg, thinLV("v-a", 32*mib, "fresh"))
	if _, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); !errors.Is(err, dm.ErrNotFound) {
		h.Errorf("status of a pool that is off: %v", err)
	}
	if p, _ := h.report(vg).LV("pool"); p.Active || p.DataPercent != lvm.Unknown {
		h.Errorf("pool that is off: %+v", p)
	}
	h.ok(h.lvm.Activate(h.ctx, vg, "pool"))
	if _, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil {
		h.Error(err)
	}
}

package lvmtest

import "github.com/lvme/lvme/lvm"

// testPoolExtended: a pool that is full and gets more space is at work again at
// once, while its volumes are in use.
func testPoolExtended(h *host) {
	vg := h.vg(1)
	spec := h.pool(vg, 32*mib)
	h.thin(vg, "v-a", 64*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	release := h.Open(h.T, vg.Name, "v-a")
	defer release()
	h.Write(h.T, vg.Name, "v-a", 64*mib)
	before := h.report(vg)
	h.rec.Take()
	h.ok(h.lvm.Extend(h.ctx, vg, "pool", 96*mib))
	h.oneChange("Extend of a full pool")
	st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	if st.Mode != lvm.PoolWritable || st.NeedsCheck || !st.NoSpaceError || st.DataTotal != 96*mib/spec.ChunkSize {
		h.Errorf("after it was extended: %+v", st)
	}
	h.Write(h.T, vg.Name, "v-a", 64*mib)
	h.mapped(vg, "v-a", 64*mib)
	if free := h.report(vg).Free; free != before.Free-64*mib {
		h.Errorf("64 MiB of data took %d bytes", before.Free-free)
	}
	h.ok(h.lvm.ExtendPoolMetadata(h.ctx, vg, "pool", 12*mib))
	r := h.report(vg)
	if free := before.Free - 64*mib - 2*4*mib; r.Free != free {
		h.Errorf("4 MiB of metadata and of its spare leave %d bytes, want %d", r.Free, free)
	}
	spare, _ := r.LV("lvol0_pmspare")
	if st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil || st.MetaTotal != 12*mib/4096 || spare.Size != 12*mib {
		h.Errorf("after its metadata were extended: %+v, %v, spare %d", st, err, spare.Size)
	}
	h.is("Extend beyond the group", h.lvm.Extend(h.ctx, vg, "pool", 96*mib+r.Free+extent), lvm.ErrNoSpace)
	h.thin(vg, "v-b", extent)
}

func testStripedPoolExtended(h *host) {
	vg := h.vg(2)
	spec := lvm.PoolSpec{Name: "pool", Size: 24 * extent, MetadataSize: 8 * mib, ChunkSize: 128 << 10, Stripes: 2, StripeSize: 64 << 10}
	h.ok(h.lvm.CreatePool(h.ctx, vg, spec))
	h.ok(h.lvm.Extend(h.ctx, vg, "pool", 32*extent))
	spec.Size = 32 * extent
	h.sees(vg, poolLV(spec))
	for _, pv := range h.report(vg).PVs {
		if n := extentsOf(pv, "pool_tdata"); n != 16 {
			h.Errorf("%s has %d extents of the pool, want 16", pv.Device, n)
		}
	}
}

func testMirroredPoolExtended(h *host) {
	vg := h.vg(2)
	spec := lvm.PoolSpec{Name: "pool", Size: 64 * mib, MetadataSize: 8 * mib, ChunkSize: 64 << 10}
	h.ok(h.lvm.CreateMirroredPool(h.ctx, vg, spec))
	before := h.report(vg)
	h.ok(h.lvm.Extend(h.ctx, vg, "pool", 80*mib))
	h.ok(h.lvm.ExtendPoolMetadata(h.ctx, vg, "pool", 12*mib))
	spec.Size, spec.MetadataSize = 80*mib, 12*mib
	want := poolLV(spec)
	want.Stripes, want.SyncPercent = 2, 0
	h.sees(vg, want)
	r := h.report(vg)
	h.segments(r)
	if free := before.Free - 2*16*mib - 3*4*mib; r.Free != free {
		h.Errorf("%d bytes are free, want %d", r.Free, free)
	}
	for leg, bytes := range map[string]int64{"pool_tdata_rimage_0": 80 * mib, "pool_tdata_rimage_1": 80 * mib, "pool_tmeta_rimage_0": 12 * mib, "pool_tmeta_rimage_1": 12 * mib} {
		if v, found := r.LV(leg); !found || v.Size != bytes {
			h.Errorf("%s: %t, %d bytes, want %d", leg, found, v.Size, bytes)
		}
	}
}

package lvmtest

import (
	"errors"
	"math"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

func testThin(h *host) {
	vg := h.vg(1)
	h.pool(vg, 256*mib)
	h.rec.Take()
	h.ok(h.lvm.CreateThin(h.ctx, vg, lvm.ThinSpec{Name: "v-a", Pool: "pool", Size: 15*mib + 512, Tags: []string{"fresh", "name=a"}}))
	h.oneChange("CreateThin")
	h.sees(vg, thinLV("v-a", 16*mib, "fresh", "name=a"))
	if _, err := h.lvm.ThinMapped(h.ctx, vg.Name, "v-a"); !errors.Is(err, dm.ErrNotFound) {
		h.Errorf("mapped bytes of an inactive thin: %v", err)
	}
	h.rec.Take()
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.oneChange("Activate")
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.mapped(vg, "v-a", 0)
	h.Write(h.T, vg.Name, "v-a", mib)
	h.mapped(vg, "v-a", mib)
	active := thinLV("v-a", 16*mib, "fresh", "name=a")
	active.Active, active.DataPercent = true, 0
	h.sees(vg, active)
	h.rec.Take()
	h.ok(h.lvm.Extend(h.ctx, vg, "v-a", 40*mib))
	h.oneChange("Extend")
	h.ok(h.lvm.Extend(h.ctx, vg, "v-a", 40*mib))
	h.ok(h.lvm.Extend(h.ctx, vg, "v-a", 8*mib))
	active.Size = 40 * mib
	h.sees(vg, active)
	h.is("Remove of an active thin", h.lvm.Remove(h.ctx, vg, "v-a"), lvm.ErrInUse)
	h.is("Remove of its pool", h.lvm.Remove(h.ctx, vg, "pool"), lvm.ErrInUse)
	h.ok(h.lvm.Rename(h.ctx, vg, "v-a", "v-b"))
	if info, err := h.lvm.DeviceInfo(h.ctx, vg.Name, "v-b"); err != nil || info.Node != lvm.DevicePath(vg.Name, "v-b") || info.Suspended || !info.Live {
		h.Errorf("device after Rename: %+v, %v", info, err)
	}
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-b"))
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-b"))
	h.rec.Take()
	h.ok(h.lvm.Remove(h.ctx, vg, "v-b"))
	h.oneChange("Remove")
	if _, found := h.report(vg).LV("v-b"); found {
		h.Error("it is still there after Remove")
	}
	if st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil || st.DataUsed != 0 {
		h.Errorf("pool after Remove: %+v, %v", st, err)
	}
}

// mapped wants an active thin to have mapped so many bytes.
func (h *host) mapped(vg lvm.VG, lv string, want int64) {
	h.Helper()
	if got, err := h.lvm.ThinMapped(h.ctx, vg.Name, lv); err != nil || got != want {
		h.Errorf("%s has mapped %d bytes (%v), want %d", lv, got, err, want)
	}
}

// testStale: what LVM does not see, ThinMapped does.
func testStale(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.Stale(h.T, vg.Name, "pool", 2)
	h.thin(vg, "v-b", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-b"))
	h.mapped(vg, "v-b", mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Stale(h.T, vg.Name, "pool", 3)
	snap := lvm.SnapshotSpec{Name: "s-a", Origin: "v-a"}
	h.is("Snapshot of an active thin onto a stale number", h.lvm.Snapshot(h.ctx, vg, snap), lvm.ErrStaleThinID)
	h.is("again", h.lvm.Snapshot(h.ctx, vg, snap), lvm.ErrStaleThinID)
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-a"))
	h.is("Snapshot of an inactive one", h.lvm.Snapshot(h.ctx, vg, snap), lvm.ErrStaleThinID)
	if _, found := h.report(vg).LV("s-a"); found {
		h.Error("the snapshot that failed was left")
	}
	// By now LVM takes the stale volume for its own and deletes it.
	h.ok(h.lvm.Snapshot(h.ctx, vg, snap))
	h.thin(vg, "v-c", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-c"))
	h.mapped(vg, "v-c", 0)
}

func testSnapshot(h *host) {
	vg := h.vg(1)
	h.pool(vg, 128*mib)
	h.thin(vg, "v-a", 32*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Write(h.T, vg.Name, "v-a", 2*mib)
	h.rec.Take()
	h.ok(h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-1", Origin: "v-a", ReadOnly: true, Tags: []string{"kind=snap"}}))
	h.oneChange("Snapshot")
	snap := thinLV("s-1", 32*mib, "kind=snap")
	snap.Origin, snap.ReadOnly = "v-a", true
	h.sees(vg, snap)
	h.ok(h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "v-r", Origin: "s-1", Tags: []string{"kind=restore"}}))
	restore := thinLV("v-r", 32*mib, "kind=restore")
	restore.Origin = "s-1"
	h.sees(vg, restore)
	h.ok(h.lvm.Extend(h.ctx, vg, "v-r", 64*mib))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-r"))
	h.mapped(vg, "v-r", 2*mib)
	h.Write(h.T, vg.Name, "v-r", 4*mib)
	h.mapped(vg, "v-r", 4*mib)
	h.mapped(vg, "v-a", 2*mib)
	if st, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil || st.DataUsed*64<<10 != 6*mib {
		h.Errorf("pool with 2 MiB shared and 4 MiB of its own: %+v, %v", st, err)
	}
	h.ok(h.lvm.Activate(h.ctx, vg, "s-1"))
	if info, err := h.lvm.DeviceInfo(h.ctx, vg.Name, "s-1"); err != nil || !info.ReadOnly {
		h.Errorf("device of a read-only snapshot: %+v, %v", info, err)
	}
	h.ok(h.lvm.Deactivate(h.ctx, vg, "s-1"))
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Remove(h.ctx, vg, "v-a"))
	snap.Origin = ""
	h.sees(vg, snap)
	h.ok(h.lvm.Remove(h.ctx, vg, "s-1"))
	h.mapped(vg, "v-r", 4*mib)
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "t-a", Size: extent}))
	h.is("Snapshot of a thick LV", h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-t", Origin: "t-a"}), lvm.ErrInvalid)
}

func testLinear(h *host) {
	vg := h.vg(2)
	h.rec.Take()
	spec := lvm.ThickSpec{Name: "v-t", Size: 15*mib + 512, Tags: []string{"fresh"}, PVs: []string{h.Drives[1] + ":10-11:20-29"}}
	h.ok(h.lvm.CreateThick(h.ctx, vg, spec))
	h.oneChange("CreateThick")
	want := thick("v-t", "linear", spec.Rounded(extent))
	want.Tags = []string{"fresh"}
	h.sees(vg, want)
	r := h.report(vg)
	h.segments(r)
	for _, pv := range r.PVs {
		want := int64(0)
		if pv.Device == h.Drives[1] {
			want = 4
		}
		for _, s := range pv.Segments {
			if s.LV == "v-t" && s.Start != 10 && s.Start != 20 {
				h.Errorf("%+v lies outside of the extents named", s)
			}
		}
		if n := extentsOf(pv, "v-t"); n != want {
			h.Errorf("%s has %d extents of it, want %d", pv.Device, n, want)
		}
	}
	h.ok(h.lvm.Activate(h.ctx, vg, "v-t"))
	want.Active = true
	h.sees(vg, want)
	h.ok(h.lvm.Extend(h.ctx, vg, "v-t", 32*mib))
	h.ok(h.lvm.Extend(h.ctx, vg, "v-t", 32*mib))
	want.Size = 32 * mib
	h.sees(vg, want)
	if _, err := h.lvm.ThinMapped(h.ctx, vg.Name, "v-t"); !errors.Is(err, lvm.ErrReport) {
		h.Errorf("mapped bytes of a thick LV: %v, want %v", err, lvm.ErrReport)
	}
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-t"))
	h.ok(h.lvm.Rename(h.ctx, vg, "v-t", "del-t"))
	h.ok(h.lvm.Remove(h.ctx, vg, "del-t"))
	if r := h.report(vg); r.Free != r.Size {
		h.Errorf("extents are missing: %+v", r)
	}
	away := lvm.ThickSpec{Name: "v-u", Size: extent, PVs: h.Drives[2:3]}
	h.is("a drive of no VG", h.lvm.CreateThick(h.ctx, vg, away), lvm.ErrMissingDevice)
}

func testStriped(h *host) {
	vg := h.vg(2)
	spec := lvm.ThickSpec{Name: "v-t", Size: 5 * extent, Layout: lvm.Striped, Stripes: 2, StripeSize: 64 << 10}
	h.ok(h.lvm.CreateThick(h.ctx, vg, spec))
	want := thick("v-t", "striped", 6*extent)
	want.Stripes, want.StripeSize = 2, 64<<10
	h.sees(vg, want)
	for _, pv := range h.report(vg).PVs {
		if n := extentsOf(pv, "v-t"); n != 3 {
			h.Errorf("%s has %d extents of it, want 3", pv.Device, n)
		}
	}
	h.ok(h.lvm.Extend(h.ctx, vg, "v-t", 10*extent))
	want.Size = 10 * extent
	h.sees(vg, want)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-t"))
	spec.Name, spec.Stripes = "v-u", 3
	h.is("three stripes on two drives", h.lvm.CreateThick(h.ctx, vg, spec), lvm.ErrInvalid)
}

func testMirrored(h *host) {
	vg := h.vg(2)
	spec := lvm.ThickSpec{Name: "v-t", Size: 5 * extent, Layout: lvm.Mirrored, Tags: []string{"fresh"}}
	h.ok(h.lvm.CreateThick(h.ctx, vg, spec))
	want := thick("v-t", "raid1", 5*extent)
	want.Stripes, want.Tags = 2, []string{"fresh"}
	h.sees(vg, want)
	r := h.report(vg)
	h.segments(r)
	if cost := r.Size - r.Free; cost != 2*6*extent {
		h.Errorf("it takes %d bytes, predicted 2 legs of 5 extents and 2 of metadata", cost)
	}
	h.hidden(r, "v-t_rimage_0", "v-t_rimage_1", "v-t_rmeta_0", "v-t_rmeta_1")
	h.ok(h.lvm.Activate(h.ctx, vg, "v-t"))
	want.Active, want.SyncPercent = true, 0
	h.sees(vg, want)
	h.ok(h.lvm.Extend(h.ctx, vg, "v-t", 8*extent))
	want.Size = 8 * extent
	h.sees(vg, want)
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-t"))
	h.ok(h.lvm.Remove(h.ctx, vg, "v-t"))
	if r := h.report(vg); r.Free != r.Size || len(r.LVs) != 0 {
		h.Errorf("after Remove: %+v", r)
	}
}

func testInUse(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	release := h.Open(h.T, vg.Name, "v-a")
	defer release()
	if info, err := h.lvm.DeviceInfo(h.ctx, vg.Name, "v-a"); err != nil || info.Opened == 0 {
		h.Errorf("open device: %+v, %v", info, err)
	}
	h.is("Deactivate", h.lvm.Deactivate(h.ctx, vg, "v-a"), lvm.ErrInUse)
	h.is("Remove", h.lvm.Remove(h.ctx, vg, "v-a"), lvm.ErrInUse)
	h.is("RemoveThin", h.lvm.RemoveThin(h.ctx, vg, "v-a"), lvm.ErrInUse)
	h.ok(h.lvm.Extend(h.ctx, vg, "v-a", 32*mib))
	h.ok(h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-a"}))
	release()
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Remove(h.ctx, vg, "v-a"))
}

// testRemoveThin: active or not, in one command, and its snapshots live on.
func testRemoveThin(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "pool"))
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Write(h.T, vg.Name, "v-a", mib)
	h.ok(h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-a"}))
	h.thin(vg, "v-b", 16*mib)
	for _, lv := range []string{"v-a", "v-b"} {
		h.rec.Take()
		h.ok(h.lvm.RemoveThin(h.ctx, vg, lv))
		h.oneChange("RemoveThin of " + lv)
		if _, err := h.lvm.DeviceInfo(h.ctx, vg.Name, lv); !errors.Is(err, dm.ErrNotFound) {
			h.Errorf("device of %s after RemoveThin: %v, want %v", lv, err, dm.ErrNotFound)
		}
		h.is("again", h.lvm.RemoveThin(h.ctx, vg, lv), lvm.ErrNotFound)
	}
	h.ok(h.lvm.Activate(h.ctx, vg, "s-a"))
	h.mapped(vg, "s-a", mib)
	h.is("RemoveThin of a pool", h.lvm.RemoveThin(h.ctx, vg, "pool"), lvm.ErrInUse)
	h.mapped(vg, "s-a", mib)
}

func testNotFound(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	for what, err := range map[string]error{
		"Remove":     h.lvm.Remove(h.ctx, vg, "v-no"),
		"Extend":     h.lvm.Extend(h.ctx, vg, "v-no", extent),
		"Rename":     h.lvm.Rename(h.ctx, vg, "v-no", "v-yes"),
		"ChangeTags": h.lvm.ChangeTags(h.ctx, vg, "v-no", []string{"x"}, nil),
		"Activate":   h.lvm.Activate(h.ctx, vg, "v-no"),
		"Deactivate": h.lvm.Deactivate(h.ctx, vg, "v-no"),
		"CreateThin": h.lvm.CreateThin(h.ctx, vg, lvm.ThinSpec{Name: "v-a", Pool: "no", Size: extent}),
		"Snapshot":   h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-no"}),
	} {
		h.is(what, err, lvm.ErrNotFound)
		if errors.Is(err, lvm.ErrNoVG) {
			h.Errorf("%s: %v is taken for a VG that is away", what, err)
		}
	}
	other := lvm.VG{Name: "lvme-none", Devices: vg.Devices}
	for what, err := range map[string]error{
		"Remove":     h.lvm.Remove(h.ctx, other, "v-no"),
		"ChangeTags": h.lvm.ChangeTags(h.ctx, other, "v-no", []string{"x"}, nil),
		"CreateThin": h.lvm.CreateThin(h.ctx, other, lvm.ThinSpec{Name: "v-a", Pool: "pool", Size: extent}),
		"VG tags":    h.lvm.ChangeVGTags(h.ctx, other, []string{"x"}, nil),
	} {
		h.is(what+" in no VG", err, lvm.ErrNoVG)
		if errors.Is(err, lvm.ErrNotFound) {
			h.Errorf("%s: %v is taken for an LV that was deleted", what, err)
		}
	}
}

func testExists(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.thin(vg, "v-b", 16*mib)
	h.is("CreateThin", h.lvm.CreateThin(h.ctx, vg, lvm.ThinSpec{Name: "v-a", Pool: "pool", Size: extent}), lvm.ErrExists)
	h.is("CreateThick", h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-a", Size: extent}), lvm.ErrExists)
	h.is("Snapshot", h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: "v-a", Origin: "v-b"}), lvm.ErrExists)
	h.is("Rename", h.lvm.Rename(h.ctx, vg, "v-a", "v-b"), lvm.ErrExists)
	h.sees(vg, thinLV("v-a", 16*mib, "fresh"))
}

func testNoSpace(h *host) {
	vg := h.vg(1)
	r := h.report(vg)
	h.is("CreateThick", h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: r.Size + extent}), lvm.ErrNoSpace)
	h.is("CreatePool", h.lvm.CreatePool(h.ctx, vg, lvm.PoolSpec{Name: "pool", Size: r.Size, MetadataSize: 8 * mib, ChunkSize: 64 << 10}), lvm.ErrNoSpace)
	h.is("on named extents", h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: 4 * extent, PVs: []string{vg.Devices[0] + ":0-2"}}), lvm.ErrNoSpace)
	mirrored := lvm.ThickSpec{Name: "v-t", Size: extent, Layout: lvm.Mirrored}
	h.is("two legs on one drive", h.lvm.CreateThick(h.ctx, vg, mirrored), lvm.ErrNoSpace)
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: r.Size}))
	h.is("Extend", h.lvm.Extend(h.ctx, vg, "v-t", r.Size+extent), lvm.ErrNoSpace)
	h.is("a size beyond every drive", h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-u", Size: math.MaxInt64 - 511}), lvm.ErrInvalid)
	if v, found := h.report(vg).LV("v-t"); !found || v.Size != r.Size || len(h.report(vg).LVs) != 1 {
		h.Errorf("after all that: %+v", h.report(vg).LVs)
	}
}

package lvmtest

import (
	"slices"
	"time"

	"github.com/lvme/lvme/lvm"
)

// testDriveBack pulls a drive out under active LVs and plugs it in again.
func testDriveBack(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: extent}))
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-tx", Size: extent}))
	for _, lv := range []string{"v-a", "v-t", "v-tx"} {
		h.ok(h.lvm.Activate(h.ctx, vg, lv))
	}
	h.Write(h.T, vg.Name, "v-a", mib)
	h.lost(vg, nil, nil)
	replug := h.Pull(h.T, vg.Devices[0])

	all := []string{"lvme--suite-pool", "lvme--suite-pool-tpool", "lvme--suite-pool_tdata", "lvme--suite-pool_tmeta",
		"lvme--suite-v--a", "lvme--suite-v--t", "lvme--suite-v--tx"}
	h.lost(vg, all, nil)
	h.ok(h.lvm.Detach(h.ctx, vg, "v-t"))
	h.ok(h.lvm.Detach(h.ctx, vg, "v-t"))
	h.lost(vg, slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == "lvme--suite-v--t" }), nil)
	other := lvm.VG{Name: vg.Name, UUID: "0OGe9W-nSdC-d7JN-skvB-Euiq-x4jQ-hySus1"}
	h.ok(h.lvm.Detach(h.ctx, other, "v-tx"))
	h.ok(h.lvm.DetachDead(h.ctx, other))
	h.lost(other, nil, nil)

	vg.Devices = []string{replug()}
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a")) // LVM sees nothing amiss
	release := h.Open(h.T, vg.Name, "v-a")
	h.is("DetachDead with an LV open", h.lvm.DetachDead(h.ctx, vg), lvm.ErrInUse)
	h.lost(vg, all[1:5], nil)
	release()
	h.ok(h.lvm.DetachDead(h.ctx, vg))
	h.ok(h.lvm.DetachDead(h.ctx, vg))
	h.lost(vg, nil, nil)
	h.ok(h.lvm.Activate(h.ctx, vg, "pool"))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-t"))
	h.mapped(vg, "v-a", mib)
	h.lost(vg, nil, nil)
}

// lost wants these devices to be dead, and these degraded.
func (h *host) lost(vg lvm.VG, dead, degraded []string) {
	h.Helper()
	got, err := h.lvm.Lost(h.ctx, vg)
	h.ok(err)
	if !slices.Equal(got.Dead, dead) || !slices.Equal(got.Degraded, degraded) {
		h.Errorf("lost %+v, want dead %v and degraded %v", got, dead, degraded)
	}
}

// mirrors makes a mirrored pool with a thin and a mirrored LV, all in sync.
func (h *host) mirrors() lvm.VG {
	h.Helper()
	vg := h.vg(2)
	spec := lvm.PoolSpec{Name: "pool", Size: 64 * mib, MetadataSize: 8 * mib, ChunkSize: 64 << 10}
	h.ok(h.lvm.CreateMirroredPool(h.ctx, vg, spec))
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: 8 * mib, Layout: lvm.Mirrored}))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-t"))
	h.inSync(vg, 0)
	return vg
}

// inSync waits until the legs of all mirrors agree but for those that failed.
func (h *host) inSync(vg lvm.VG, failed int) {
	h.Helper()
	for _, lv := range append(lvm.MirroredPoolParts("pool"), "v-t") {
		end, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
		for synced := false; !synced; {
			s, err := h.lvm.MirrorStatus(h.ctx, vg.Name, lv)
			h.ok(err)
			synced = s.Legs == 2 && s.Failed == failed && s.Synced == s.Total && s.Total > 0
			select {
			case <-tick.C:
			case <-end:
				h.Fatalf("%s after a minute: %+v, want %d failed and the rest in sync", lv, s, failed)
			}
		}
		tick.Stop()
	}
}

// testMirrorLegBack pulls one drive of a mirror out and plugs it in again.
func testMirrorLegBack(h *host) {
	vg := h.mirrors()
	replug := h.Pull(h.T, vg.Devices[1])
	// The kernel notices at the first write.
	h.Write(h.T, vg.Name, "v-a", 8*mib)
	h.Write(h.T, vg.Name, "v-t", 8*mib)
	for _, lv := range []string{"pool_tdata", "v-t"} {
		if s, err := h.lvm.MirrorStatus(h.ctx, vg.Name, lv); err != nil || s.Failed != 1 {
			h.Errorf("%s without a leg: %+v, %v", lv, s, err)
		}
	}
	hurt := []string{"lvme--suite-pool", "lvme--suite-pool-tpool", "lvme--suite-pool_tdata", "lvme--suite-pool_tmeta", "lvme--suite-v--a", "lvme--suite-v--t"}
	h.lost(vg, nil, hurt)
	h.ok(h.lvm.DetachDead(h.ctx, vg)) // which is nothing
	h.lost(vg, nil, hurt)
	vg.Devices[1] = replug()
	h.rec.Take()
	h.ok(h.lvm.Refresh(h.ctx, vg, "v-t"))
	h.oneChange("Refresh")
	h.ok(h.lvm.Refresh(h.ctx, vg, "pool"))
	h.lost(vg, nil, nil)
	h.inSync(vg, 0)
	if r := h.report(vg); r.MissingPVs != 0 {
		h.Errorf("afterwards %d drives are missing", r.MissingPVs)
	}
}

// testMirrorReplaced loses a drive of a mirror for ever and gives it another,
// with nothing active to begin with, as after a reboot.
func testMirrorReplaced(h *host) {
	vg := h.mirrors()
	h.Write(h.T, vg.Name, "v-a", mib)
	for _, lv := range []string{"v-a", "v-t", "pool"} {
		h.ok(h.lvm.Deactivate(h.ctx, vg, lv))
	}
	// The drive with the spare, so that it is lost too.
	spare, _ := h.report(vg).Spare()
	gone := 0
	for i, pv := range h.report(vg).PVs {
		if slices.ContainsFunc(pv.Segments, func(s lvm.PVSegment) bool { return s.LV == spare.Name }) {
			gone = i
		}
	}
	pulled := h.report(vg).PVs[gone].Device
	h.Pull(h.T, pulled)
	half := lvm.VG{Name: vg.Name, UUID: vg.UUID, Devices: slices.DeleteFunc(slices.Clone(vg.Devices), func(d string) bool { return d == pulled })}

	h.is("Activate of the pool with a leg away", h.lvm.Activate(h.ctx, half, "pool"), lvm.ErrMissingDevice)
	h.is("Activate of a thin with a leg away", h.lvm.Activate(h.ctx, half, "v-a"), lvm.ErrMissingDevice)
	h.ok(h.lvm.ActivateDegraded(h.ctx, half, "pool"))
	h.ok(h.lvm.ActivateDegraded(h.ctx, half, "v-a"))
	h.mapped(vg, "v-a", mib)
	if s, err := h.lvm.MirrorStatus(h.ctx, vg.Name, "pool_tdata"); err != nil || s.Failed != 1 {
		h.Errorf("pool_tdata without a leg: %+v, %v", s, err)
	}

	whole := lvm.VG{Name: vg.Name, UUID: vg.UUID, Devices: []string{half.Devices[0], h.Drives[2]}}
	h.ok(h.lvm.AddDrive(h.ctx, whole, h.Drives[2], 2*mib))
	h.is("RemoveMissing while it is needed", h.lvm.RemoveMissing(h.ctx, whole), lvm.ErrMissingDevice)
	h.is("ReplaceLeg of an inactive LV", h.lvm.ReplaceLeg(h.ctx, whole, "v-t", h.Drives[2]), lvm.ErrMissingDevice)
	h.ok(h.lvm.ActivateDegraded(h.ctx, whole, "v-t"))
	for range 2 {
		for _, lv := range append(lvm.MirroredPoolParts("pool"), "v-t") {
			h.ok(h.lvm.ReplaceLeg(h.ctx, whole, lv, h.Drives[2]))
		}
	}
	h.ok(h.lvm.ChangeVGTags(h.ctx, whole, []string{"replaced"}, nil))
	h.ok(h.lvm.RemoveSpare(h.ctx, whole, spare.Name))
	h.ok(h.lvm.RemoveMissing(h.ctx, whole))
	h.ok(h.lvm.RemoveMissing(h.ctx, whole))
	h.ok(h.lvm.ExtendPoolMetadata(h.ctx, whole, "pool", 8*mib+extent))
	r := h.report(whole)
	if _, kept := r.Spare(); r.MissingPVs != 0 || len(r.PVs) != 2 || !kept || !slices.Contains(r.Tags, "replaced") {
		h.Errorf("afterwards: spare %t, %+v", kept, r)
	}
	h.inSync(whole, 0)
	h.mapped(whole, "v-a", mib)
	h.ok(h.lvm.DetachDead(h.ctx, whole)) // what stood for the lost drive
	h.lost(whole, nil, nil)
	h.ok(h.lvm.Deactivate(h.ctx, whole, "v-t"))
	h.ok(h.lvm.Remove(h.ctx, whole, "v-t"))
}

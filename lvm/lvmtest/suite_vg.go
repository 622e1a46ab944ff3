package lvmtest

import (
	"slices"

	"github.com/lvme/lvme/lvm"
)

func testVersion(h *host) {
	v, err := h.lvm.Version(h.ctx)
	h.ok(err)
	if v.Less(lvm.Version{Major: 2, Minor: 3, Patch: 11}) {
		h.Errorf("LVM %s is older than what lvme needs", v)
	}
}

func testVG(h *host) {
	vg := h.vg(2)
	r := h.report(vg)
	if r.Name != vg.Name || r.UUID == "" || !slices.Equal(r.Tags, []string{"lvme.test"}) || r.ExtentSize != extent || r.MissingPVs != 0 || len(r.LVs) != 0 {
		h.Errorf("new VG: %+v", r)
	}
	if r.Free != r.Size || r.Size != r.PVs[0].Size+r.PVs[1].Size || r.MetadataSize < 2*mib || r.MetadataFree <= 0 || r.MetadataFree >= r.MetadataSize {
		h.Errorf("sizes of the new VG: %+v", r)
	}
	for _, pv := range r.PVs {
		want := []lvm.PVSegment{{Start: 0, Count: pv.Size / extent}}
		if !slices.Equal(pv.Segments, want) || pv.VG != vg.Name || pv.Missing || pv.PEStart < 2*mib || pv.PEStart+pv.Size > pv.DeviceSize {
			h.Errorf("drive of the new VG: %+v", pv)
		}
	}
	if back := r.VG(); !slices.Equal(slices.Sorted(slices.Values(back.Devices)), slices.Sorted(slices.Values(vg.Devices))) || back.UUID != vg.UUID {
		h.Errorf("the report addresses %+v, not %+v", back, vg)
	}
	h.rec.Take()
	h.ok(h.lvm.ChangeVGTags(h.ctx, vg, []string{"b=2", "a/1"}, []string{"lvme.test"}))
	h.oneChange("ChangeVGTags")
	if after := h.report(vg); !slices.Equal(after.Tags, []string{"a/1", "b=2"}) || after.Seqno <= r.Seqno {
		h.Errorf("after the change of tags: %+v", after)
	}
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: extent}))
	h.is("RemoveVG with an LV in it", h.lvm.RemoveVG(h.ctx, vg), lvm.ErrInUse)
	h.ok(h.lvm.Remove(h.ctx, vg, "v-t"))
	h.ok(h.lvm.RemoveVG(h.ctx, vg))
	h.ok(h.lvm.RemoveVG(h.ctx, vg))
	_, err := h.lvm.Report(h.ctx, vg)
	h.is("Report of a VG that is gone", err, lvm.ErrNoVG)
	all, err := h.lvm.Scan(h.ctx, h.Drives)
	h.ok(err)
	if len(all.VGs) != 0 || len(all.Orphans) != 0 {
		h.Errorf("left on the drives: %+v", all)
	}
}

// testSameName: drives of another machine may bring a VG of the same name.
func testSameName(h *host) {
	var vgs []lvm.VG
	for _, d := range h.Drives[:2] {
		vg := lvm.VG{Name: "lvme-suite", Devices: []string{d}}
		h.ok(h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: vg.Name, Devices: vg.Devices}))
		vg.UUID = h.report(vg).UUID
		vgs = append(vgs, vg)
	}
	both := h.Drives[:2]
	all, err := h.lvm.Scan(h.ctx, both)
	h.ok(err)
	if len(all.VGs) != 2 {
		h.Fatalf("a scan of both drives sees %+v", all)
	}
	seen := h.report(lvm.VG{Name: "lvme-suite", UUID: vgs[1].UUID, Devices: both})
	if seen.UUID != vgs[1].UUID {
		h.Errorf("asked for %s, got %s", vgs[1].UUID, seen.UUID)
	}
	err = h.lvm.CreateThick(h.ctx, lvm.VG{Name: "lvme-suite", Devices: both}, lvm.ThickSpec{Name: "v", Size: extent})
	h.is("a change with both in sight", err, lvm.ErrDuplicate)
	h.ok(h.lvm.RenameVG(h.ctx, vgs[1].UUID, "lvme-other", both))
	h.ok(h.lvm.RenameVG(h.ctx, vgs[1].UUID, "lvme-other", both))
	h.is("RenameVG to a name in use", h.lvm.RenameVG(h.ctx, vgs[1].UUID, "lvme-suite", both), lvm.ErrExists)
	h.is("RenameVG of none", h.lvm.RenameVG(h.ctx, "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa", "lvme-none", both), lvm.ErrNoVG)
	_, err = h.lvm.Report(h.ctx, vgs[1])
	h.is("Report by the old name", err, lvm.ErrNoVG)
	renamed := h.report(lvm.VG{Name: "lvme-other", UUID: vgs[1].UUID, Devices: both})
	if len(renamed.PVs) != 1 || renamed.PVs[0].Device != h.Drives[1] {
		h.Errorf("renamed VG: %+v", renamed)
	}
}

func testNotBlank(h *host) {
	h.Sign(h.T, h.Drives[1])
	spec := lvm.VGSpec{Name: "lvme-suite", Devices: h.Drives[:2]}
	h.is("a drive with a filesystem", h.lvm.CreateVG(h.ctx, spec), lvm.ErrNotBlank)
	all, err := h.lvm.Scan(h.ctx, h.Drives)
	h.ok(err)
	if len(all.VGs) != 0 {
		h.Errorf("it made %+v", all.VGs)
	}
	h.is("again", h.lvm.CreateVG(h.ctx, spec), lvm.ErrNotBlank)
	h.ok(h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: "lvme-suite", Devices: h.Drives[:1]}))
	h.is("a drive of another VG", h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: "lvme-two", Devices: h.Drives[:1]}), lvm.ErrNotBlank)
	h.is("the same VG", h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: "lvme-suite", Devices: h.Drives[:1]}), lvm.ErrExists)
}

func testMissing(h *host) {
	vg := h.vg(2)
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: extent, PVs: h.Drives[1:2]}))
	gone := "/dev/lvme-no-such-drive"
	none := lvm.VG{Name: vg.Name, UUID: vg.UUID, Devices: []string{gone}}
	_, err := h.lvm.Report(h.ctx, none)
	h.is("Report with all drives away", err, lvm.ErrMissingDevice)
	h.rec.Take()
	part := lvm.VG{Name: vg.Name, UUID: vg.UUID, Devices: []string{h.Drives[0], gone}}
	h.is("ChangeTags with a drive away", h.lvm.ChangeTags(h.ctx, part, "v-t", []string{"x"}, nil), lvm.ErrMissingDevice)
	h.is("Remove with a drive away", h.lvm.Remove(h.ctx, part, "v-t"), lvm.ErrMissingDevice)
	if cmds := h.rec.Take(); len(cmds) != 0 {
		h.Errorf("with a drive away it ran %v", cmds.Verbs())
	}
	seen := h.report(part)
	i := slices.IndexFunc(seen.PVs, func(p lvm.PV) bool { return p.Missing })
	if v, _ := seen.LV("v-t"); seen.MissingPVs != 1 || i < 0 || len(seen.VG().Devices) != 1 || v.Health != "partial" {
		h.Errorf("report with a drive away: %+v", seen)
	}
	// Commands that LVM itself refuses when a drive is out of its sight.
	hidden := lvm.VG{Name: vg.Name, UUID: vg.UUID, Devices: h.Drives[:1]}
	h.is("CreateThick with a drive out of sight", h.lvm.CreateThick(h.ctx, hidden, lvm.ThickSpec{Name: "v-u", Size: extent}), lvm.ErrMissingDevice)
	h.is("CreateVG of a drive that is not there", h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: "lvme-two", Devices: []string{gone}}), lvm.ErrMissingDevice)
	whole := h.report(vg)
	if v, _ := whole.LV("v-t"); whole.MissingPVs != 0 || len(v.Tags) != 0 {
		h.Errorf("afterwards: %+v", whole)
	}
}

func testTags(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	before := h.sees(vg, thinLV("v-a", 16*mib, "fresh"))
	h.rec.Take()
	h.ok(h.lvm.ChangeTags(h.ctx, vg, "v-a", []string{"formatting", "size/1=2", "x:y!z&_+.-#"}, []string{"fresh"}))
	h.oneChange("ChangeTags")
	after := h.sees(vg, thinLV("v-a", 16*mib, "formatting", "size/1=2", "x:y!z&_+.-#"))
	if after.ThinID != before.ThinID || after.UUID != before.UUID {
		h.Errorf("another LV: %+v, was %+v", after, before)
	}
	h.ok(h.lvm.ChangeTags(h.ctx, vg, "v-a", []string{"formatting"}, []string{"fresh"}))
	long := make([]byte, lvm.MaxTag)
	for i := range long {
		long[i] = 'a'
	}
	h.ok(h.lvm.ChangeTags(h.ctx, vg, "v-a", []string{string(long)}, []string{"formatting", "size/1=2", "x:y!z&_+.-#"}))
	h.sees(vg, thinLV("v-a", 16*mib, string(long)))
}

// testNames: the longest name that ValidName takes can be used for every kind
// of LV, and what it refuses LVM refuses too.
func testNames(h *host) {
	vg := h.vg(2)
	longest := "v-"
	for lvm.ValidName(vg.Name, longest+"a") == nil {
		longest += "a"
	}
	h.ok(h.lvm.CreatePool(h.ctx, vg, lvm.PoolSpec{Name: longest[:len(longest)-1] + "p", Size: 64 * mib, MetadataSize: 8 * mib, ChunkSize: 64 << 10}))
	h.ok(h.lvm.CreateThin(h.ctx, vg, lvm.ThinSpec{Name: longest, Pool: longest[:len(longest)-1] + "p", Size: 16 * mib}))
	h.ok(h.lvm.Activate(h.ctx, vg, longest))
	snap := longest[:len(longest)-1] + "s"
	h.ok(h.lvm.Snapshot(h.ctx, vg, lvm.SnapshotSpec{Name: snap, Origin: longest}))
	h.ok(h.lvm.Activate(h.ctx, vg, snap))
	raid := longest[:len(longest)-1] + "r"
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: raid, Size: extent, Layout: lvm.Mirrored}))
	h.ok(h.lvm.Activate(h.ctx, vg, raid))
}

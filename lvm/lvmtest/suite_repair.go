package lvmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
)

// testBackup: a copy of the metadata says of what it is a copy, and is only
// read from the VG.
func testBackup(h *host) {
	vg := h.vg(2)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	before := h.report(vg)
	file := filepath.Join(h.TempDir(), "x.vg")
	h.rec.Take()
	saved, err := h.lvm.Backup(h.ctx, vg, file)
	h.ok(err)
	if cmds := h.rec.Take(); cmds.Changes() != 0 || cmds.Reads() != 1 {
		h.Errorf("Backup took %v", cmds.Verbs())
	}
	if saved.VG != vg.Name || saved.UUID != before.UUID || saved.Seqno != before.Seqno || len(saved.PVs) != 2 || h.report(vg).Seqno != before.Seqno {
		h.Errorf("saved %+v of %+v", saved, before)
	}
	again, err := lvm.ReadBackup(file)
	if err != nil || !reflect.DeepEqual(again, saved) {
		h.Errorf("read again: %+v, %v", again, err)
	}
	text, err := os.ReadFile(file)
	h.ok(err)
	h.ok(os.WriteFile(file, text[:len(text)-4], 0o600))
	_, err = lvm.ReadBackup(file)
	h.is("one that is cut short", err, lvm.ErrReport)
	other := vg
	other.UUID = "FakeID-0000-0000-0000-0000-0000-999999"
	_, err = h.lvm.Backup(h.ctx, other, file)
	h.is("another VG of that name", err, lvm.ErrNoVG)
	_, err = h.lvm.Backup(h.ctx, vg, filepath.Join(filepath.Dir(file), "none", "x.vg"))
	if err == nil {
		h.Error("Backup into a directory that is not there succeeds")
	}
	gone := lvm.VG{Name: vg.Name, UUID: vg.UUID, Devices: []string{h.Drives[0], "/dev/lvme-no-such-drive"}}
	_, err = h.lvm.Backup(h.ctx, gone, file)
	h.is("with a drive away", err, lvm.ErrMissingDevice)
}

// testSalvage: a VG whose last change was cut off is what it was before it. Other
// VGs are seen all the while.
func testSalvage(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	other := lvm.VG{Name: "lvme-other", Devices: h.Drives[1:2]}
	h.ok(h.lvm.CreateVG(h.ctx, lvm.VGSpec{Name: other.Name, Devices: other.Devices, MetadataSize: 2 * mib, ExtentSize: extent}))
	before := h.report(vg)
	file := filepath.Join(h.TempDir(), "x.vg")
	_, err := h.lvm.Salvage(h.ctx, vg, file)
	h.is("nothing is torn", err, lvm.ErrNotTorn)
	h.ok(h.lvm.ChangeVGTags(h.ctx, vg, []string{"cut"}, nil))
	h.Tear(h.T, vg)
	all, err := h.lvm.Scan(h.ctx, h.Drives[:2])
	h.ok(err)
	if len(all.VGs) != 1 || all.VGs[0].Name != other.Name || len(all.Orphans) != 1 || all.Orphans[0].Device != h.Drives[0] {
		h.Fatalf("while it is torn: %+v", all)
	}
	stranger := vg
	stranger.UUID = "FakeID-0000-0000-0000-0000-0000-999999"
	_, err = h.lvm.Salvage(h.ctx, stranger, file)
	h.is("another VG", err, lvm.ErrNoVG)
	h.rec.Take()
	saved, err := h.lvm.Salvage(h.ctx, vg, file)
	h.ok(err)
	if cmds := h.rec.Take(); cmds.Changes() != 1 || cmds.Reads() != 3 {
		h.Errorf("Salvage took %v", cmds.Verbs())
	}
	after := h.report(vg)
	if saved.Seqno != after.Seqno || saved.UUID != vg.UUID || len(after.LVs) != len(before.LVs) {
		h.Errorf("saved %+v: %+v, before the change %+v", saved, after, before)
	}
	h.ok(h.lvm.ChangeVGTags(h.ctx, vg, []string{"again"}, nil))
	if tags := h.report(vg).Tags; !slices.Contains(tags, "again") {
		h.Errorf("tags after it: %v", tags)
	}
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
}

// testFrozen: what a command that was killed has left suspended is seen and goes on.
func testFrozen(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.CreateThick(h.ctx, vg, lvm.ThickSpec{Name: "v-t", Size: 16 * mib}))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-t"))
	frozen := func() []string {
		lost, err := h.lvm.Lost(h.ctx, vg)
		h.ok(err)
		return lost.Frozen
	}
	if f := frozen(); len(f) > 0 {
		h.Fatalf("before: %v", f)
	}
	for _, lv := range []string{"v-a", "v-t", "pool"} {
		h.Freeze(h.T, vg.Name, lv)
		if f := frozen(); len(f) != 1 {
			h.Errorf("%s is suspended: %v", lv, f)
		}
		h.ok(h.lvm.Refresh(h.ctx, vg, lv))
		if f := frozen(); len(f) > 0 {
			h.Errorf("%s was refreshed: %v", lv, f)
		}
	}
	h.Write(h.T, vg.Name, "v-a", mib)
}

// testUncounted: a pool that has made a change and not counted it counts it.
func testUncounted(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.thin(vg, "v-b", 16*mib)
	h.Uncount(h.T, vg, "pool")
	status, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	if pool, _ := h.report(vg).LV("pool"); pool.TransactionID != status.TransactionID+1 {
		h.Fatalf("transaction %d in LVM, %d in the kernel", pool.TransactionID, status.TransactionID)
	}
	if err := h.lvm.CompleteChange(h.ctx, vg, "pool", status.TransactionID+7); err == nil {
		h.Error("another count is changed")
	}
	h.ok(h.lvm.CompleteChange(h.ctx, vg, "pool", status.TransactionID))
	h.thin(vg, "v-c", 16*mib)
	h.hasThins(vg, 3)
}

// hasThins wants the pool itself to know so many thins.
func (h *host) hasThins(vg lvm.VG, n int) {
	h.Helper()
	thins, err := h.lvm.ThinDevices(h.ctx, vg, "pool")
	h.ok(err)
	if len(thins) != n {
		h.Errorf("the pool has the thins %v, want %d", thins, n)
	}
}

// testUnmade: a snapshot that LVM has written down and the pool has not made cannot be
// activated, and can be removed.
func testUnmade(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Cut(h.T, vg, "v-a", "s-b")
	status, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	report := h.report(vg)
	pool, _ := report.LV("pool")
	if s, found := report.LV("s-b"); !found || s.TransactionID != status.TransactionID || pool.TransactionID != status.TransactionID+1 {
		h.Fatalf("%+v of pool %+v, which in the kernel is %+v", s, pool, status)
	}
	h.is("activate it", h.lvm.Activate(h.ctx, vg, "s-b"), lvm.ErrInactive)
	h.ok(h.lvm.Remove(h.ctx, vg, "s-b"))
	h.thin(vg, "v-c", 16*mib)
	h.hasThins(vg, 2)
}

// testLeaks: a pool that a power cut left with a chunk that nobody has is switched
// on and works.
func testLeaks(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Write(h.T, vg.Name, "v-a", mib)
	h.Leak(h.T, vg, "pool")
	if pool, _ := h.report(vg).LV("pool"); pool.Active {
		h.Fatal("the pool is on")
	}
	h.ok(h.lvm.Activate(h.ctx, vg, "pool"))
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Write(h.T, vg.Name, "v-a", 8*mib)
	status, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	// The check leaves what it takes back in the count.
	if want := int64(8*mib/(64<<10) + 1); status.DataUsed != want || status.Mode != lvm.PoolWritable || status.NeedsCheck {
		h.Errorf("the pool is %+v, and must use %d chunks", status, want)
	}
}

// testThinDevices: what the pool's own metadata say, with the pool up and off.
func testThinDevices(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	h.thin(vg, "v-a", 16*mib)
	h.ok(h.lvm.Activate(h.ctx, vg, "v-a"))
	h.Write(h.T, vg.Name, "v-a", mib)
	h.Stale(h.T, vg.Name, "pool", 2)
	thins, err := h.lvm.ThinDevices(h.ctx, vg, "pool")
	h.ok(err)
	if !slices.Equal(thins, []lvm.ThinDevice{{ID: 1, Mapped: mib}, {ID: 2, Mapped: mib}}) {
		h.Errorf("thins of the pool: %+v", thins)
	}
	status, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool")
	h.ok(err)
	pool, _ := h.report(vg).LV("pool")
	if status.HeldRoot || status.TransactionID != pool.TransactionID {
		h.Errorf("after it: %+v of %+v", status, pool)
	}
	h.held(vg)
	h.ok(h.message(vg, "delete 2"))
	h.ok(h.lvm.Deactivate(h.ctx, vg, "v-a"))
	h.ok(h.lvm.Deactivate(h.ctx, vg, "pool"))
	record, err := h.lvm.PoolRecord(h.ctx, h.report(vg), "pool")
	if want := (lvm.PoolRecord{TransactionID: pool.TransactionID}); err != nil || record != want {
		h.Errorf("record of a pool that is off: %+v, %v; want %+v", record, err, want)
	}
	_, err = h.lvm.ThinDevices(h.ctx, vg, "pool")
	h.is("thins of a pool that is off", err, dm.ErrNotFound)
	_, err = h.lvm.PoolRecord(h.ctx, h.report(vg), "other")
	h.is("record of no pool", err, lvm.ErrNotFound)
}

// held: of a snapshot of the metadata there is one only, and it stays until it
// is released.
func (h *host) held(vg lvm.VG) {
	h.Helper()
	h.ok(h.message(vg, "reserve_metadata_snap"))
	if status, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil || !status.HeldRoot {
		h.Errorf("held: %+v, %v", status, err)
	}
	_, err := h.lvm.ThinDevices(h.ctx, vg, "pool")
	h.is("while another holds one", err, lvm.ErrInUse)
	h.ok(h.lvm.ReleaseMetadata(h.ctx, vg, "pool"))
	if status, err := h.lvm.PoolStatus(h.ctx, vg.Name, "pool"); err != nil || status.HeldRoot {
		h.Errorf("released: %+v, %v", status, err)
	}
	if err := h.lvm.ReleaseMetadata(h.ctx, vg, "pool"); err == nil {
		h.Error("released twice")
	}
}

// message tells the kernel's pool something behind LVM's back.
func (h *host) message(vg lvm.VG, words string) error {
	name, err := h.lvm.PoolTarget(h.ctx, vg.Name, "pool")
	if err != nil {
		return err
	}
	res, err := h.Runner.Run(h.ctx, run.Cmd{Name: "dmsetup", Args: []string{"message", name, "0", words}, Changes: true})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("message %s: %s", words, res.Stderr)
	}
	return err
}

func testSettings(h *host) {
	vg := h.vg(1)
	h.pool(vg, 64*mib)
	s, err := h.lvm.Settings(h.ctx, vg, "pool")
	if want := (lvm.Settings{Discards: "passdown"}); err != nil || s != want {
		h.Errorf("settings %+v, %v; want %+v", s, err, want)
	}
	h.ok(h.lvm.SetZeroing(h.ctx, vg, "pool"))
	res, err := h.Runner.Run(h.ctx, run.Cmd{Name: "lvm", Changes: true, Args: []string{"lvchange", "--devices", vg.Devices[0], "--zero", "n", vg.Name + "/pool"}})
	if err != nil || res.Code != 0 {
		h.Fatalf("switch zeroing off: %v, %+v", err, res)
	}
	if p, _ := h.report(vg).LV("pool"); p.Zero {
		h.Errorf("zeroing is still on: %+v", p)
	}
	h.ok(h.lvm.SetZeroing(h.ctx, vg, "pool"))
	if p, _ := h.report(vg).LV("pool"); !p.Zero {
		h.Errorf("zeroing is still off: %+v", p)
	}
	_, err = h.lvm.Settings(h.ctx, vg, "none")
	h.is("settings of no pool", err, lvm.ErrNotFound)
}

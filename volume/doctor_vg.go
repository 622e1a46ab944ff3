package volume

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// patient is a VG that is looked at.
type patient struct {
	store *Store
	pool  *pool
	name  string
	vg    lvm.VG
	tags  vgRecord
	// adopted says that this host is the node of the store.
	adopted bool
	// report is what LVM said first; pool and has are the thin pool in it.
	report lvm.VGReport
	lv     lvm.LV
	has    bool
	// status is the kernel's view of the pool where it is active.
	status lvm.PoolStatus
	active bool

	found []Finding
}

func (pt *patient) add(severity Severity, check Check, on, mend, format string, args ...any) {
	pt.found = append(pt.found, Finding{severity, check, on, fmt.Sprintf(format, args...), mend})
}

// path is an LV of the VG as people and LVM name it.
func (pt *patient) path(lv string) string { return pt.name + "/" + lv }

// thin is the thin pool's.
func (pt *patient) thin() string { return pt.path(poolLV) }

func (pt *patient) byHand(verb string, args ...string) string { return pt.vg.ByHand(verb, args...) }

// unseen is what is said of what could not be looked at: that is never the same
// as nothing being wrong with it.
func (pt *patient) unseen(on string, err error) {
	pt.add(SeverityWarning, CheckLook, on, "", "it could not be looked at: %s", strings.TrimSuffix(err.Error(), "."))
}

// vgChecks look at a VG, one thing each.
var vgChecks = []func(*patient, context.Context){
	(*patient).lookDrives,
	(*patient).lookPool,
	(*patient).lookMode,
	(*patient).lookRoom,
	(*patient).lookTransaction,
	(*patient).lookSettings,
	(*patient).lookThins,
	(*patient).lookLVs,
	(*patient).lookVolumes,
	(*patient).lookDevices,
	(*patient).lookBackup,
}

// examine looks at one VG that is here.
func (d *diagnosis) examine(ctx context.Context, p *pool) []Finding {
	s := d.store
	s.mu.RLock()
	pt := &patient{store: s, pool: p, name: VGName(p.id), vg: p.vg, tags: p.tags, adopted: d.rec != nil}
	s.mu.RUnlock()
	var err error
	if pt.report, err = s.LVM.Report(ctx, pt.vg); err != nil {
		pt.add(SeverityError, CheckLook, pt.name, "", "it could not be looked at: %v", err)
		return pt.found
	}
	lv, found := pt.report.LV(poolLV)
	pt.lv, pt.has = lv, found && lv.SegType == "thin-pool"
	for _, look := range vgChecks {
		look(pt, ctx)
	}
	return pt.found
}

// lookDrives: a VG over several drives that lacks some.
func (pt *patient) lookDrives(context.Context) {
	n := pt.report.MissingPVs
	if n == 0 {
		return
	}
	if pt.tags.layout == "mirrored" {
		pt.add(SeverityError, CheckDriveGone, pt.name, "",
			"%d of its drives missing: its volumes work on the other leg, and nothing in it is changed. Bring the drive back; if it is dead, see \"A drive died\" in docs/operations.md", n)
		return
	}
	pt.add(SeverityError, CheckDriveGone, pt.name, "", "%d of its drives missing: what lies across it is not there until the drive is back", n)
}

// lookPool: there is a thin pool, and it is active.
func (pt *patient) lookPool(ctx context.Context) {
	if pt.tags.thin == 0 {
		return
	}
	if !pt.has {
		what := "it should have a thin pool and has none"
		if _, half := pt.report.LV(lvm.MirroredPoolMetadata(poolLV)); half || len(pt.report.LVs) > 0 && pt.halfPool() {
			what = "its mirrored thin pool is half-made"
		}
		pt.add(SeverityError, CheckPoolMissing, pt.name, "lvme init", "%s: taking the drive was interrupted. A start of the agent goes on with it too", what)
		return
	}
	status, err := pt.store.LVM.PoolStatus(ctx, pt.name, poolLV)
	switch {
	case err == nil:
		pt.status, pt.active = status, true
	case isGone(err):
		pt.add(SeverityError, CheckPoolOff, pt.thin(), pt.byHand("lvchange", "-ay", "-K", pt.thin()),
			"the thin pool is not active, and so no volume in it is served. The agent activates it at its start. If LVM says that its check failed, see \"Damaged pool metadata\" in docs/operations.md")
	default:
		pt.unseen(pt.thin(), err)
	}
}

// halfPool says that the pool's name is that of the LV that is to become its data.
func (pt *patient) halfPool() bool {
	_, made := pt.report.LV(poolLV)
	return made
}

// lookMode: what the kernel says of the pool.
func (pt *patient) lookMode(ctx context.Context) {
	if !pt.has {
		return
	}
	check := pt.status.NeedsCheck
	if !pt.active {
		record, err := pt.store.LVM.PoolRecord(ctx, pt.report, poolLV)
		if err != nil {
			pt.add(SeverityError, CheckPoolMode, pt.thin(), pt.repair(), "the pool's metadata cannot be read from the drive: %v", err)
			return
		}
		check = record.NeedsCheck
	}
	switch {
	case check:
		pt.add(SeverityError, CheckPoolMode, pt.thin(), pt.repair(), "the kernel wants the pool's metadata checked before they are used again. The agent has that done at its start and when the last volume of the pool is unstaged; should that fail, see \"Damaged pool metadata\" in docs/operations.md")
	case !pt.active || pt.status.Mode == lvm.PoolWritable:
	case pt.status.Mode == lvm.PoolOutOfData:
		pt.add(SeverityError, CheckPoolMode, pt.thin(), pt.byHand("lvextend", "-l", "+50%FREE", pt.thin()),
			"the pool is full, and writes to new blocks fail. Delete volumes or snapshots, run fstrim, or extend the pool from the VG's reserve: each puts it back to work")
	default:
		pt.add(SeverityError, CheckPoolMode, pt.thin(), pt.repair(), "the pool is in mode %q: nothing can be written to its volumes; see \"Damaged pool metadata\" in docs/operations.md", pt.status.Mode)
	}
}

// repair is how damaged metadata of a pool are made anew.
func (pt *patient) repair() string {
	return pt.byHand("vgchange", "-an", pt.name) + " && " + pt.byHand("lvconvert", "--yes", "--repair", pt.thin())
}

// Bounds of a pool's use. LVM makes no thins in a pool whose metadata have less
// free than a quarter or 4 MiB, whichever is smaller (lvm2,
// lib/metadata/thin_manip.c, thin_pool_metadata_min_threshold).
const (
	metadataWarning = 0.5
	metadataLeast   = 4 << 20
	dataWarning     = 0.9
)

// lookRoom: a pool that is nearly full.
func (pt *patient) lookRoom(context.Context) {
	st := pt.status
	if !pt.active || st.MetaTotal == 0 || st.DataTotal == 0 {
		return
	}
	grow := pt.byHand("lvextend", "--poolmetadatasize", fmt.Sprintf("+%db", lvm.RoundUp(st.MetaTotal*metaBlock/2, pt.report.ExtentSize)), pt.thin())
	used := float64(st.MetaUsed) / float64(st.MetaTotal)
	switch {
	case st.MetaTotal-st.MetaUsed <= min(st.MetaTotal/4, metadataLeast/metaBlock):
		pt.add(SeverityError, CheckPoolRoom, pt.thin(), grow, "%.0f %% of the pool's metadata are used: LVM makes no new volumes in it, and a pool without metadata must be repaired offline", 100*used)
	case used >= metadataWarning:
		pt.add(SeverityWarning, CheckPoolRoom, pt.thin(), grow, "%.0f %% of the pool's metadata are used; at the end LVM makes no new volumes in it", 100*used)
	}
	if data := float64(st.DataUsed) / float64(st.DataTotal); data >= dataWarning && st.Mode == lvm.PoolWritable {
		pt.add(SeverityWarning, CheckPoolRoom, pt.thin(), pt.byHand("lvextend", "-l", "+50%FREE", pt.thin()),
			"%.0f %% of the pool are used. With overcommit it can fill up, and then writes fail", 100*data)
	}
}

// backupAge and backupGap are when a copy of the metadata is too old: a VG that
// is always changed is copied every few minutes.
const (
	backupAge = time.Hour
	backupGap = 50
)

// lookBackup: the metadata have a copy that is nearly what they are now.
func (pt *patient) lookBackup(context.Context) {
	if !pt.adopted {
		return
	}
	dir := pt.store.backupDirOf(pt.pool)
	all, err := backups(dir)
	if err != nil {
		pt.unseen(dir, err)
		return
	}
	name := newBackup(pt.store.now(), pt.report.Seqno).name
	mend := "mkdir -p " + dir + " && " + pt.byHand("vgcfgbackup", "-f", filepath.Join(dir, name), pt.name)
	if len(all) == 0 {
		pt.add(SeverityWarning, CheckBackup, pt.name, mend, "there is no copy of the volume group's metadata. A running agent makes one within minutes")
		return
	}
	last := all[len(all)-1]
	gap := pt.report.Seqno - last.seqno
	switch {
	case gap == 0:
	case (gap > backupGap || gap < 0) && pt.store.now().Sub(last.at) > backupAge:
		pt.add(SeverityWarning, CheckBackup, pt.name, mend, "the newest copy of the volume group's metadata, %s, is %d changes old. A running agent makes one within minutes", last.name, gap)
	default:
		pt.add(SeverityInfo, CheckBackup, pt.name, "", "the newest copy of the volume group's metadata, %s, is %d changes old; the agent makes the next once the volume group has been left alone for a while", last.name, gap)
	}
}

// restoreCommand is how a VG that a drive has lost is made anew from its newest
// copy, as far as a copy and a single drive say so.
func (s *Store) restoreCommand(p *pool, device string) string {
	all, err := backups(s.backupDirOf(p))
	if err != nil || len(all) == 0 || len(p.drives) != 1 {
		return ""
	}
	file := filepath.Join(s.backupDirOf(p), all[len(all)-1].name)
	saved, err := lvm.ReadBackup(file)
	if err != nil || len(saved.PVs) != 1 {
		return ""
	}
	vg := lvm.VG{Devices: []string{device}}
	return vg.ByHand("pvcreate", "--uuid", saved.PVs[0], "--restorefile", file, device) + " && " +
		vg.ByHand("vgcfgrestore", "--force", "--file", file, VGName(p.id))
}

// lookDevices: of the kernel's devices of the VG, what lies on nothing any more.
func (pt *patient) lookDevices(ctx context.Context) {
	names, err := pt.store.LVM.DeviceNames(ctx, pt.name)
	if err != nil {
		pt.unseen("device-mapper", err)
		return
	}
	lost, err := pt.store.LVM.Lost(ctx, pt.vg)
	if err != nil {
		pt.unseen("device-mapper", err)
	}
	for _, name := range lost.Dead {
		pt.add(SeverityError, CheckDevice, name, "dmsetup remove --force "+name,
			"the drive below this device was pulled: it answers nothing but errors, also when the drive is back. A running agent takes it away once nobody uses it: end its pods")
	}
	for _, name := range lost.Degraded {
		if pt.report.MissingPVs == 0 {
			pt.add(SeverityError, CheckDevice, name, pt.byHand("lvchange", "--refresh", pt.thin()),
				"the drive below a leg of this mirror was pulled and is back, and the kernel does not use it: the mirror has one leg")
		}
	}
	known := pt.knownDevices(pt.report)
	left := slices.DeleteFunc(names, func(name string) bool { return known[name] })
	if len(left) == 0 {
		return
	}
	// What was made since the first report is in the second.
	again, err := pt.store.LVM.Report(ctx, pt.vg)
	if err != nil {
		pt.unseen(pt.name, err)
		return
	}
	known = pt.knownDevices(again)
	for _, name := range left {
		if !known[name] {
			pt.add(SeverityWarning, CheckDevice, name, "dmsetup remove "+name, "LVM has no logical volume for this device: a command that was cut short, or somebody else, has left it")
		}
	}
}

// knownDevices are the names that the VG's devices may have.
func (pt *patient) knownDevices(r lvm.VGReport) map[string]bool {
	known := map[string]bool{}
	for _, lv := range r.LVs {
		known[dm.DeviceName(r.Name, lv.Name)] = true
		if lv.SegType == "thin-pool" {
			known[dm.DeviceName(r.Name, lv.Name, "tpool")] = true
		}
	}
	return known
}

// leftDevices are those of VGs whose drives are away.
func (d *diagnosis) leftDevices(ctx context.Context, pools []*pool) {
	for _, p := range pools {
		d.store.mu.RLock()
		away := p.away
		d.store.mu.RUnlock()
		if !away {
			continue
		}
		names, err := d.store.LVM.DeviceNames(ctx, VGName(p.id))
		if err != nil {
			d.add(SeverityWarning, CheckLook, "device-mapper", "", "it could not be looked at: %v", err)
			return
		}
		for _, name := range names {
			d.add(SeverityWarning, CheckDevice, name, "dmsetup remove --force "+name,
				"its volume group is away and the device is still there: it answers nothing but errors, and is in the way when the drive comes back. Stop what uses it and remove it")
		}
	}
}

// lookTransaction: LVM and the pool tell the same history.
func (pt *patient) lookTransaction(ctx context.Context) {
	if !pt.has {
		return
	}
	kernel, held := pt.status.TransactionID, pt.status.HeldRoot
	if !pt.active {
		record, err := pt.store.LVM.PoolRecord(ctx, pt.report, poolLV)
		if err != nil {
			return // lookMode has told of it
		}
		kernel, held = record.TransactionID, record.HeldRoot
	}
	if held {
		pt.lookHeld(ctx)
	}
	if pt.status.Mode == lvm.PoolFailed {
		return
	}
	switch pt.lv.TransactionID - kernel {
	case 0:
	case 1:
		pt.add(SeverityInfo, CheckTransaction, pt.thin(), "",
			"LVM is one change ahead of the pool, as when a command is cut short; its next change of the pool, or its next activation, makes up for that")
	default:
		pt.add(SeverityError, CheckTransaction, pt.thin(), pt.fixTransaction(kernel),
			"LVM says that the pool is at transaction %d, and the pool says %d: one of them is older than the other, and LVM does not use such a pool. "+
				"Compare the two with \"Transaction id\" in docs/operations.md before you have LVM take the pool's", pt.lv.TransactionID, kernel)
	}
}

// fixTransaction has LVM believe the pool.
func (pt *patient) fixTransaction(kernel int64) string {
	file := "/root/" + pt.name + ".vg"
	return strings.Join([]string{
		pt.byHand("vgchange", "-an", pt.name),
		pt.byHand("vgcfgbackup", "-f", file, pt.name),
		fmt.Sprintf(`sed -i '/type = "thin-pool"/,/transaction_id/ s/transaction_id = .*/transaction_id = %d/' %s`, kernel, file),
		pt.byHand("vgcfgrestore", "--force", "-f", file, pt.name),
	}, " && ")
}

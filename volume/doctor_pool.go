package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// isGone says that the kernel has no such device.
func isGone(err error) bool { return errors.Is(err, dm.ErrNotFound) }

// lookHeld: a snapshot of the pool's metadata that somebody holds.
func (pt *patient) lookHeld(ctx context.Context) {
	mend := ""
	if name, err := pt.store.LVM.PoolTarget(ctx, pt.name, poolLV); err == nil {
		mend = "dmsetup message " + name + " 0 release_metadata_snap"
	}
	severity, who := SeverityWarning, "Nobody but you knows whether it is still read"
	if pt.store.markedHeld(pt.pool) {
		severity, who, mend = SeverityInfo, "It is lvme's own; a start of the agent releases it", ""
	}
	pt.add(severity, CheckHeld, pt.thin(), mend, "a snapshot of the pool's metadata is held: it keeps blocks of metadata from being used again. %s", who)
}

// unusualChunk is above what makes sense for volumes with snapshots.
const unusualChunk = 4 << 20

// lookSettings: what somebody, or LVM's defaults, may have made otherwise.
func (pt *patient) lookSettings(ctx context.Context) {
	if !pt.has {
		return
	}
	settings, err := pt.store.LVM.Settings(ctx, pt.vg, poolLV)
	if err != nil {
		pt.unseen(pt.thin(), err)
		return
	}
	if !pt.lv.Zero {
		pt.add(SeverityError, CheckPoolSetting, pt.thin(), pt.byHand("lvchange", "--zero", "y", pt.thin()),
			"new chunks are not zeroed: a volume shows what others have deleted. A start of the agent sets it right; what was read meanwhile was read")
	}
	if pt.lv.WhenFull != "error" {
		pt.add(SeverityWarning, CheckPoolSetting, pt.thin(), pt.byHand("lvchange", "--errorwhenfull", "y", pt.thin()),
			"writers wait for a minute when the pool is full, and hang whoever waits for them. A start of the agent sets it right")
	}
	if settings.Discards != "passdown" {
		pt.add(SeverityWarning, CheckPoolSetting, pt.thin(), pt.byHand("lvchange", "--discards", "passdown", pt.thin()),
			"discards are %q: the drive is not told of what was deleted", settings.Discards)
	}
	if settings.Autoactivation {
		pt.add(SeverityWarning, CheckPoolSetting, pt.name, pt.byHand("vgchange", "--setautoactivation", "n", pt.name),
			"the host activates its volumes when it boots: nobody has proved then that they are whole, and they are active beside the agent")
	}
	switch chunk := pt.lv.ChunkSize; {
	case chunk != pt.tags.chunk:
		pt.add(SeverityInfo, CheckPoolSetting, pt.thin(), "", "its chunks have %d bytes, and the volume group was to have %d: the pool was not made by lvme. It cannot be changed", chunk, pt.tags.chunk)
	case chunk > unusualChunk:
		pt.add(SeverityInfo, CheckPoolSetting, pt.thin(), "", "its chunks have %d bytes: the first small write after a snapshot copies a whole one. It cannot be changed", chunk)
	}
}

// lookThins compares the thins that the pool has with those that LVM knows. A
// report waits for the command of LVM that runs, so that what a report before
// and one after the look at the pool both lack nobody was just making; and what
// is found is looked for once more, since a person may act on it.
func (pt *patient) lookThins(ctx context.Context) {
	if !pt.adopted || !pt.active || pt.status.HeldRoot || pt.status.Mode != lvm.PoolWritable || pt.lv.TransactionID != pt.status.TransactionID {
		return
	}
	first, err := pt.compareThins(ctx)
	if err == nil && len(first.stale)+len(first.lost) > 0 {
		var again thinCompare
		again, err = pt.compareThins(ctx)
		first.stale = slices.DeleteFunc(first.stale, func(t lvm.ThinDevice) bool { return !slices.ContainsFunc(again.stale, sameThin(t)) })
		first.lost = slices.DeleteFunc(first.lost, func(lv string) bool { return !slices.Contains(again.lost, lv) })
	}
	if err != nil {
		pt.unseen(pt.thin(), err)
		return
	}
	target, err := pt.store.LVM.PoolTarget(ctx, pt.name, poolLV)
	if err != nil {
		pt.unseen(pt.thin(), err)
		return
	}
	for _, t := range first.stale {
		pt.add(SeverityError, CheckThinStale, pt.thin(), fmt.Sprintf("dmsetup message %s 0 \"delete %d\"", target, t.ID),
			"the pool holds thin %d with %d bytes that LVM does not know. LVM will give its number to a new volume, which then shows those bytes; the agent quarantines that one. "+
				"Stop the agent, look again, and only if it is still here delete it", t.ID, t.Mapped)
	}
	for _, lv := range first.lost {
		pt.add(SeverityError, CheckThinLost, pt.path(lv), "", "LVM has it and the pool does not: its blocks are gone, as after a repair, or after older metadata of the volume group were restored. Restore its content from elsewhere and delete it")
	}
}

func sameThin(t lvm.ThinDevice) func(lvm.ThinDevice) bool {
	return func(o lvm.ThinDevice) bool { return o.ID == t.ID }
}

// thinCompare is where LVM and the pool differ.
type thinCompare struct {
	stale []lvm.ThinDevice
	lost  []string
}

func (pt *patient) compareThins(ctx context.Context) (thinCompare, error) {
	s := pt.store
	before, err := s.LVM.Report(ctx, pt.vg)
	if err != nil {
		return thinCompare{}, err
	}
	thins, err := s.thinDevices(ctx, pt.pool, pt.vg)
	if err != nil {
		return thinCompare{}, err
	}
	after, err := s.LVM.Report(ctx, pt.vg)
	if err != nil {
		return thinCompare{}, err
	}
	old, now := thinIDs(before), thinIDs(after)
	var c thinCompare
	there := map[int64]bool{}
	for _, t := range thins {
		there[t.ID] = true
		if old[t.ID] == "" && now[t.ID] == "" {
			c.stale = append(c.stale, t)
		}
	}
	for id, lv := range old {
		if now[id] == lv && !there[id] {
			c.lost = append(c.lost, lv)
		}
	}
	slices.Sort(c.lost)
	return c, nil
}

// thinIDs are the thins of the pool by their numbers.
func thinIDs(r lvm.VGReport) map[int64]string {
	ids := map[int64]string{}
	for _, lv := range r.LVs {
		if lv.SegType == "thin" && lv.Pool == poolLV {
			ids[lv.ThinID] = lv.Name
		}
	}
	return ids
}

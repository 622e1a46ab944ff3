package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lvme/lvme/lvm"
)

// lookLVs: LVs that are none of lvme's, or cannot be read as such.
func (pt *patient) lookLVs(context.Context) {
	for _, lv := range pt.report.LVs {
		switch {
		case lv.Hidden, lv.Name == poolLV, lv.Name == lvm.MirroredPoolMetadata(poolLV), strings.HasPrefix(lv.Name, wipePrefix):
		case strings.HasPrefix(lv.Name, volumePrefix), strings.HasPrefix(lv.Name, snapshotPrefix):
			rec, err := parseRecord(lv.Tags)
			if err == nil && rec.snapshot != strings.HasPrefix(lv.Name, snapshotPrefix) {
				err = fmt.Errorf("it is called a %s and its tags say otherwise", lv.Name[:1])
			}
			if err != nil {
				pt.add(SeverityError, CheckStrange, pt.path(lv.Name), "grep -A 6 '"+lv.Name+" {' "+pt.store.backupDirOf(pt.pool)+"/*.vg",
					"its tags cannot be read (%v), so that it is left alone and not served. A copy of the metadata shows the tags that it had: give them back with lvchange --addtag and --deltag", err)
			}
		case strings.HasPrefix(lv.Name, poolLV+"_meta"):
			pt.add(SeverityWarning, CheckStrange, pt.path(lv.Name), pt.byHand("lvremove", pt.path(lv.Name)),
				"it holds the pool's metadata as they were before a repair. Remove it once the volumes were found to be whole")
		default:
			pt.add(SeverityWarning, CheckStrange, pt.path(lv.Name), pt.byHand("lvremove", pt.path(lv.Name)),
				"lvme did not make it: it is left alone, and its %d bytes are not handed out. Remove it if nobody needs it", lv.Size)
		}
	}
}

// lookVolumes: volumes that are not finished, neither in their making nor in
// their going.
func (pt *patient) lookVolumes(context.Context) {
	s := pt.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, lv := range pt.pool.entries.names() {
		e, _ := pt.pool.entries.get(lv)
		on := pt.path(lv)
		switch {
		case e.state == Quarantined:
			pt.add(SeverityWarning, CheckQuarantined, on, pt.byHand("lvremove", on),
				"it mapped blocks before anybody wrote to it and was never handed out. Delete its claim; if no PersistentVolume has the id %s, remove it by hand",
				Key{Store: s.key, VG: pt.pool.id, LV: lv})
		case e.bytes < e.target:
			pt.add(SeverityWarning, CheckHalfMade, on, pt.byHand("lvextend", "-L", fmt.Sprintf("%db", e.target), on),
				"it is a copy that was to become larger, to %d bytes, and was cut short at %d; it is not handed out. A start of the agent finishes it, and so does the create that is called again", e.target, e.bytes)
		case e.state == Formatting && !e.active:
			pt.add(SeverityInfo, CheckHalfMade, on, "", "its mkfs was cut short; nobody was ever given it, and its next use begins mkfs anew")
		}
	}
	for _, lv := range slices.Sorted(maps.Keys(pt.pool.wiping)) {
		what := "a deleted thick volume"
		if lv == initWipeLV {
			what = "the share for thick volumes of a new pool"
		}
		pt.add(SeverityInfo, CheckWiping, pt.path(lv), "", "it is %s that is not yet overwritten with zeros; a running agent goes on with it", what)
	}
}

package volume

import (
	"context"
	"slices"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
)

// setVerdicts judges every drive that was seen.
func (s *Store) setVerdicts(ctx context.Context, seen sight, rec *hostrecord.Record) {
	pvs := map[string]drive.PVInfo{}
	for _, pv := range seen.report.Orphans {
		pvs[pv.Device] = drive.PVInfo{}
	}
	for _, vg := range seen.report.VGs {
		info := drive.PVInfo{VG: vg.Name, StoreKey: storeOf(vg.Tags)}
		if tags, err := parseVGRecord(vg.Tags); err == nil {
			info.Class = tags.class
		}
		info.Forgotten = rec != nil && rec.IsForgotten(PoolID(vg.Name))
		for _, pv := range vg.PVs {
			pvs[pv.Device] = info
		}
	}
	verdicts := drive.Judge(seen.drives, s.Config, pvs, s.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts = verdicts
	s.noteDrives(ctx, seen.byPath)
}

// Verdicts says of each drive whether it is free, ours or refused, as of the
// last Refresh.
func (s *Store) Verdicts() []drive.Verdict {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.verdicts)
}

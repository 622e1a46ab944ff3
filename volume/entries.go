package volume

import (
	"iter"
	"maps"
	"slices"
)

// entry is one volume or snapshot of a pool. Entries are values: a change puts
// a new one in the place of the old.
type entry struct {
	record
	lv     string
	bytes  int64
	thick  bool
	active bool
	// mapped is the most that a thin which is not active can have mapped, in
	// bytes, or unknownMapped. It is remembered, not recorded.
	mapped int64
}

// committed is what a thin may come to hold, in bytes.
func (e entry) committed() int64 {
	switch {
	case e.thick:
		return 0
	case e.snapshot:
		return e.reserved
	}
	return max(e.bytes, e.target)
}

// entries are the volumes and snapshots of a pool by the names of their LVs. What
// they come to is kept beside them, since every creation, capacity and look at
// the pool asks for it: with thousands of volumes none of these counts them.
type entries struct {
	byLV map[string]entry
	sums sums
}

// sums are over all entries.
type sums struct {
	volumes, snapshots int
	// committed is what the thins may come to hold, thick what thick volumes
	// have, in bytes.
	committed, thick int64
}

// count adds an entry so many times.
func (s *sums) count(e entry, times int64) {
	s.committed += times * e.committed()
	if e.thick {
		s.thick += times * e.bytes
	}
	if e.snapshot {
		s.snapshots += int(times)
	} else {
		s.volumes += int(times)
	}
}

func (es *entries) get(lv string) (entry, bool) {
	e, ok := es.byLV[lv]
	return e, ok
}

// put enters e, in the place of the one of its name if there is one.
func (es *entries) put(e entry) {
	if es.byLV == nil {
		es.byLV = map[string]entry{}
	}
	es.remove(e.lv)
	es.byLV[e.lv] = e
	es.sums.count(e, 1)
}

// change has work done on the entry of that name; one that is gone stays so.
func (es *entries) change(lv string, work func(e *entry)) {
	if e, ok := es.byLV[lv]; ok {
		work(&e)
		es.put(e)
	}
}

func (es *entries) remove(lv string) {
	if e, ok := es.byLV[lv]; ok {
		es.sums.count(e, -1)
		delete(es.byLV, lv)
	}
}

func (es *entries) len() int { return len(es.byLV) }

// all are the entries in no order.
func (es *entries) all() iter.Seq[entry] { return maps.Values(es.byLV) }

// names are those of the LVs, in order.
func (es *entries) names() []string { return slices.Sorted(maps.Keys(es.byLV)) }

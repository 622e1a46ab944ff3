package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// sight is what one look at the host has seen.
type sight struct {
	drives []drive.Drive
	byPath map[string]drive.Drive
	report lvm.Report
}

// look lists the drives and what LVM has on them.
func (s *Store) look(ctx context.Context) (sight, error) {
	drives, err := s.Drives(ctx)
	if err != nil {
		return sight{}, fmt.Errorf("list drives: %w: %w", ErrUnavailable, err)
	}
	v := sight{drives: drives, byPath: map[string]drive.Drive{}}
	var paths []string
	for _, d := range drives {
		v.byPath[d.Path] = d
		if shown(d) {
			paths = append(paths, d.Path)
		}
	}
	if len(paths) == 0 {
		return v, nil
	}
	v.report, err = s.LVM.Scan(ctx, paths)
	if err != nil {
		return sight{}, fmt.Errorf("look at drives: %w", domainError(err))
	}
	return v, nil
}

// keys are the store keys on the drives.
func (v sight) keys() []string {
	var keys []string
	for _, vg := range v.report.VGs {
		if key := storeOf(vg.Tags); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// begin is the start: which store, which drives, what is on them.
func (s *Store) begin(ctx context.Context) error {
	return s.withHost(ctx, func(held *hostrecord.Held) error {
		seen, err := s.look(ctx)
		if err != nil {
			return err
		}
		if err := s.identify(ctx, held, seen); err != nil {
			return err
		}
		if err := s.absorb(ctx, held, seen); err != nil || held == nil {
			return err
		}
		s.repair(ctx)
		return nil
	})
}

// withHost runs work under the host's lock; a read-only store has none, and
// held is nil then. Whoever takes drives holds the lock too, so that a VG is
// seen before or after, never half-made.
func (s *Store) withHost(ctx context.Context, work func(held *hostrecord.Held) error) error {
	if s.ReadOnly {
		return work(nil)
	}
	held, err := hostrecord.Lock(ctx, s.Dir)
	if err != nil {
		return fmt.Errorf("lock the host record: %w", err)
	}
	defer held.Unlock()
	return work(held)
}

// identify finds the store key by the rules of hostrecord.Decide. Without the
// lock it makes none.
func (s *Store) identify(ctx context.Context, held *hostrecord.Held, seen sight) error {
	rec, err := s.loadRecord()
	if err != nil {
		return err
	}
	if silent := seen.silentDrives(); rec == nil && len(silent) > 0 {
		return fmt.Errorf("which store is this node: %w: no answer from %s, and this host has no record", ErrUnavailable, strings.Join(silent, ", "))
	}
	decision, err := hostrecord.Decide(rec, seen.keys())
	if err != nil {
		return fmt.Errorf("which store is this node: %w: %w", ErrAdopt, err)
	}
	if len(decision.Foreign) > 0 {
		klog.FromContext(ctx).Info("drives of other stores are left alone", "stores", decision.Foreign)
	}
	s.key = decision.Key
	if held == nil || decision.Action == hostrecord.Serve {
		return nil
	}
	if decision.Action == hostrecord.Adopt {
		return fmt.Errorf("%w: store %s; 'lvme adopt' makes this host its node", ErrAdopt, decision.Key)
	}
	made, err := held.Replace(s.Machine, hostrecord.Record{StoreKey: hostrecord.NewKey()})
	if err != nil {
		return fmt.Errorf("record the new store key: %w", err)
	}
	s.key = made.StoreKey
	klog.FromContext(ctx).Info("made a store key", "store", s.key)
	return nil
}

// loadRecord reads the host record, nil when this machine has none.
func (s *Store) loadRecord() (*hostrecord.Record, error) {
	rec, err := hostrecord.Load(s.Dir, s.Machine)
	switch {
	case err == nil:
		return &rec, nil
	case errors.Is(err, hostrecord.ErrNone):
		return nil, nil
	case errors.Is(err, hostrecord.ErrOtherMachine):
		klog.FromContext(s.life).Info("the host record is passed over", "why", err.Error())
		return nil, nil
	default:
		return nil, fmt.Errorf("host record in %s: %w", s.Dir, err)
	}
}

// Refresh looks at the drives and the host record again and takes in what came
// or went. What is known of pools that stayed is not reported again.
func (s *Store) Refresh(ctx context.Context) error {
	return s.withHost(ctx, func(held *hostrecord.Held) error { return s.refresh(ctx, held) })
}

// refresh is Refresh under the host's lock.
func (s *Store) refresh(ctx context.Context, held *hostrecord.Held) error {
	if err := s.lookAgain(ctx, held); err != nil || held == nil {
		return err
	}
	s.repair(ctx)
	return nil
}

// lookAgain is refresh without making anything ready.
func (s *Store) lookAgain(ctx context.Context, held *hostrecord.Held) error {
	seen, err := s.look(ctx)
	if err != nil {
		return err
	}
	return s.absorb(ctx, held, seen)
}

// absorb brings the store in line with what was seen.
func (s *Store) absorb(ctx context.Context, held *hostrecord.Held, seen sight) error {
	rec, err := s.loadRecord()
	if err != nil {
		return err
	}
	if held != nil && rec != nil {
		if seen, err = s.salvage(ctx, rec, seen); err != nil {
			return err
		}
	}
	here := s.ownVGs(ctx, seen, rec)
	for id, vg := range here {
		if err := s.takeIn(ctx, id, vg, seen.byPath); err != nil {
			// One bad drive must not keep the others from serving.
			klog.FromContext(ctx).Error(err, "a VG of this store is left out", "vg", vg.Name)
		}
	}
	s.settle(rec, here, seen)
	s.setVerdicts(ctx, seen, rec)
	if held == nil {
		return nil
	}
	return s.recordVGs(ctx, held)
}

// ownVGs are the VGs of this store among what was seen, by short id. A VG is
// ours by its tag and its name together, unless it was forgotten: its volumes
// were then said to be deleted.
func (s *Store) ownVGs(ctx context.Context, seen sight, rec *hostrecord.Record) map[string]lvm.VGReport {
	here := map[string]lvm.VGReport{}
	for _, vg := range seen.report.VGs {
		id := PoolID(vg.Name)
		if s.key == "" || storeOf(vg.Tags) != s.key || id == "" || rec != nil && rec.IsForgotten(id) {
			continue
		}
		if other, twice := here[id]; twice {
			klog.FromContext(ctx).Error(nil, "two VGs of one name on the drives of this node; the second is left alone",
				"vg", vg.Name, "first", other.UUID, "second", vg.UUID)
			continue
		}
		here[id] = vg
	}
	return here
}

// takeIn makes the pool of a VG known, or brings it up to date. A pool that is
// known is reported again under its writer lock: what was seen may be older
// than the last change.
func (s *Store) takeIn(ctx context.Context, id string, seen lvm.VGReport, drives map[string]drive.Drive) error {
	s.mu.Lock()
	p, known := s.pools[id]
	if !known {
		p = s.newPool(id)
	}
	current := known && !p.away && p.stale == "" && p.now.Load() == nil && p.missing == seen.MissingPVs && slices.Equal(p.vg.Devices, seen.VG().Devices)
	s.mu.Unlock()
	if current {
		return nil
	}
	p.now.Store(nil)
	unlock, err := p.lockSoon(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.takeInNow(ctx, p, known, seen, drives); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if known && !p.away {
			p.stale = err.Error()
			s.heal(p)
		}
		return err
	}
	return nil
}

// takeInNow is takeIn under the pool's writer lock.
func (s *Store) takeInNow(ctx context.Context, p *pool, known bool, seen lvm.VGReport, drives map[string]drive.Drive) (err error) {
	if known {
		if seen, err = s.LVM.Report(ctx, seen.VG()); err != nil {
			return fmt.Errorf("look at VG %s: %w", seen.Name, domainError(err))
		}
	}
	if err := s.settleReport(ctx, seen); err != nil {
		return fmt.Errorf("look at VG %s: %w", seen.Name, domainError(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := p.load(seen, drives); err != nil {
		return err
	}
	s.pools[p.id] = p
	s.changedByReport(p)
	klog.FromContext(ctx).Info("pool found", "vg", seen.Name, "class", p.tags.class, "volumes", p.entries.len(), "drives", p.driveNames())
	return nil
}

// settle brings the set of pools in line with the host record and with what
// was seen: not here is away, unless its drive is here and cannot be asked;
// neither here nor recorded is unknown.
func (s *Store) settle(rec *hostrecord.Record, here map[string]lvm.VGReport, seen sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	recorded := map[string]bool{}
	if rec != nil {
		for _, vg := range rec.VGs {
			recorded[vg.ID] = true
			s.enter(vg)
		}
	}
	for id, p := range s.pools {
		if _, ok := here[id]; ok {
			continue
		}
		why := seen.unheard(p.drives)
		switch {
		case why != nil:
			p.hush(why)
		case !p.away:
			p.leave()
		}
		p.bare = seen.bare(p.drives)
		if p.away && rec != nil && !recorded[id] {
			delete(s.pools, id)
		}
	}
}

// enter makes a pool of the host record known, and names the drives that one
// which is here lacks; s.mu is held.
func (s *Store) enter(vg hostrecord.VG) {
	p, known := s.pools[vg.ID]
	if !known {
		p = s.newPool(vg.ID)
		p.fromRecord(vg)
		s.pools[vg.ID] = p
	}
	p.lacks = nil
	for _, d := range vg.Drives {
		here := slices.ContainsFunc(p.drives, func(have PoolDrive) bool { return have.ID == d.ID })
		if p.missing > 0 && !here {
			p.lacks = append(p.lacks, strings.TrimSpace(d.Model+" "+d.Serial))
		}
	}
}

// newPool is a pool of this store.
func (s *Store) newPool(id string) *pool {
	p := newPool(id)
	p.patience = s.patience()
	return p
}

// recordVGs writes the VGs that are here into the host record where it does
// not know them; the host's lock is held.
func (s *Store) recordVGs(ctx context.Context, held *hostrecord.Held) error {
	rec, err := s.loadRecord()
	if err != nil || rec == nil {
		return err
	}
	changed := false
	s.mu.RLock()
	for _, p := range s.pools {
		if !p.away {
			changed = recordPool(rec, p) || changed
		}
	}
	s.mu.RUnlock()
	if changed {
		if _, err := held.Save(s.Machine, *rec); err != nil {
			return fmt.Errorf("record the store's VGs: %w", err)
		}
		klog.FromContext(ctx).Info("host record updated", "vgs", len(rec.VGs))
	}
	return nil
}

// recordPool enters the pool and says whether that changed the record.
func recordPool(rec *hostrecord.Record, p *pool) bool {
	vg := hostrecord.VG{ID: p.id, UUID: p.vg.UUID, Class: p.tags.class, Number: p.tags.number}
	for _, d := range p.drives {
		vg.Drives = append(vg.Drives, hostrecord.Drive{ID: d.ID, Model: d.Model, Serial: d.Serial, Bytes: d.Bytes})
	}
	i := slices.IndexFunc(rec.VGs, func(have hostrecord.VG) bool { return have.ID == p.id })
	if i < 0 {
		rec.VGs = append(rec.VGs, vg)
		return true
	}
	if len(vg.Drives) < len(rec.VGs[i].Drives) || sameVG(rec.VGs[i], vg) {
		return false
	}
	rec.VGs[i] = vg
	return true
}

func sameVG(a, b hostrecord.VG) bool {
	return a.UUID == b.UUID && a.Class == b.Class && a.Number == b.Number && slices.Equal(a.Drives, b.Drives)
}

// doubles are LV names that stand in more than one pool: an earlier attempt of
// a create was on a drive that was away. s.mu is held.
func (s *Store) doubles() []string {
	count := map[string]int{}
	for _, p := range s.pools {
		for e := range p.entries.all() {
			count[e.lv]++
		}
	}
	var twice []string
	for lv, n := range count {
		if n > 1 {
			twice = append(twice, strings.TrimPrefix(lv, volumePrefix))
		}
	}
	slices.Sort(twice)
	return twice
}

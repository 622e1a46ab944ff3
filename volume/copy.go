package volume

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// makeCopy makes a volume from a snapshot or another volume.
func (s *Store) makeCopy(ctx context.Context, w wanted) error {
	var made entry
	err := s.derive(ctx, w.Source, func(p *pool, src entry) (e entry, needs int64, err error) {
		made, err = s.copyEntry(w, p, src)
		return made, max(made.bytes, made.target), err
	})
	if err == nil {
		klog.FromContext(ctx).Info("volume copied", "volume", Key{s.key, w.Source.VG, made.lv}, "source", w.Source, "bytes", made.bytes, "target", made.target)
	}
	return err
}

// derive makes a thin LV that shares the blocks of source, in its pool: one
// command. plan says what is made of the source as it is at that moment, and
// how many bytes that may come to need.
func (s *Store) derive(ctx context.Context, source Key, plan func(p *pool, src entry) (e entry, needs int64, err error)) error {
	p, err := s.poolOf(source)
	if err != nil {
		return err
	}
	return p.exclusively(ctx, func() error {
		src, err := s.sourceEntry(source)
		if err != nil {
			return err
		}
		e, needs, err := plan(p, src)
		if err != nil {
			return err
		}
		release, err := s.reserve(p, source, needs)
		if err != nil {
			return err
		}
		defer release()
		return s.change(ctx, p, func(vg lvm.VG) error {
			return s.LVM.Snapshot(ctx, vg, lvm.SnapshotSpec{Name: e.lv, Origin: src.lv, ReadOnly: e.snapshot, Tags: e.tags()})
		}, func() { p.add(e) })
	})
}

// poolOf is the pool that holds the source of a copy.
func (s *Store) poolOf(source Key) (*pool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, _, err := s.find(source)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", source, err)
	}
	return p, nil
}

func (s *Store) sourceEntry(source Key) (entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, e, err := s.find(source)
	switch {
	case err != nil:
		return entry{}, fmt.Errorf("source %s: %w", source, err)
	case e.thick:
		return entry{}, fmt.Errorf("%w (for a copy, make the volume with type thin, or copy its files)",
			Invalid("source", source.String(), "a thin volume: thick volumes have no snapshots and no clones"))
	case e.state == Quarantined:
		return entry{}, fmt.Errorf("source %s: %w", source, ErrQuarantined)
	case e.bytes < e.target:
		return entry{}, fmt.Errorf("source %s: %w: it is itself still being made", source, ErrBusy)
	}
	return e, nil
}

// copyEntry is the record of a copy of src, whose pool's writer lock is held
// so that the state of src cannot move on.
func (s *Store) copyEntry(w wanted, p *pool, src entry) (entry, error) {
	if err := w.checkCopy(p, src); err != nil {
		return entry{}, err
	}
	bytes := p.rounded(max(w.bytes, src.bytes), Thin)
	if w.Size.Limit > 0 && bytes > w.Size.Limit {
		return entry{}, fmt.Errorf("capacity_range.limit_bytes %d: %w: a copy of %s has at least %d bytes", w.Size.Limit, ErrRange, w.Source, bytes)
	}
	e := entry{lv: w.lv, bytes: src.bytes, mapped: src.mapped, record: record{
		name: w.Name, state: src.state, mode: w.Mode, fsType: src.fsType, profile: w.Profile, mkfs: w.MkfsOptions,
		source: src.lv, created: s.now(),
	}}
	if src.active {
		e.mapped = unknownMapped
	}
	if src.snapshot {
		e.mapped = src.reserved
	}
	if w.CreateSpec.Profile == "" {
		e.profile = src.profile
	}
	if bytes > src.bytes {
		e.target = bytes
	}
	e.convertMode(w, src)
	return e, nil
}

// checkCopy says what of the wish a copy of src cannot have.
func (w wanted) checkCopy(p *pool, src entry) error {
	if w.Class != "" && w.Class != p.tags.class {
		return Invalid("parameters.driveClass", w.Class, fmt.Sprintf("%q, the class of its source: a copy shares its source's blocks", p.tags.class))
	}
	if w.Mode != src.mode && !w.AllowModeChange {
		return fmt.Errorf("%w (a tenant's blocks read as a filesystem may attack the kernel; allow it with the parameter allowModeChange)",
			Invalid("volume_capability", string(w.Mode), fmt.Sprintf("%s, the mode of its source", src.mode)))
	}
	if w.Mode == src.mode && w.FSType != "" && src.fsType != "" && w.FSType != src.fsType {
		return Invalid("fsType", w.FSType, fmt.Sprintf("%q, the filesystem of its source", src.fsType))
	}
	return nil
}

// convertMode gives the copy the state that its content has in another mode.
func (e *entry) convertMode(w wanted, src entry) {
	if w.Mode == Block {
		e.fsType = ""
	} else if e.fsType == "" {
		e.fsType = w.FSType
	}
	// A raw volume stays raw as a filesystem: what it holds is a filesystem or
	// is not mounted, and is never formatted over.
	if w.Mode != src.mode && src.state != Fresh {
		e.state = Raw
	}
}

// reserve keeps room for a copy in its source's pool.
func (s *Store) reserve(p *pool, source Key, bytes int64) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := p.trouble(); err != nil {
		return nil, err
	}
	if why := p.refusesMore(Thin); why != "" {
		return nil, fmt.Errorf("%w for a copy of %s in %s: %s", ErrNoSpace, source, VGName(p.id), why)
	}
	if room := p.thinRoom(s.classOf(p).Overcommit); room < bytes {
		return nil, fmt.Errorf("%w for a copy of %s: it needs %d bytes in %s, which has %d left to promise", ErrNoSpace, source, bytes, VGName(p.id), room)
	}
	return s.promise(p, Thin, bytes), nil
}

// growCopy brings a copy that was to be larger than its source to its size.
func (s *Store) growCopy(ctx context.Context, k Key) error {
	p, err := s.poolOf(k)
	if err != nil {
		return err
	}
	return p.exclusively(ctx, func() error {
		e := s.entry(p, k.LV)
		return s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Extend(ctx, vg, k.LV, e.target) }, func() {
			e.bytes = e.target
			p.entries.put(e)
		})
	})
}

// CreateSnapshot returns the snapshot called spec.Name, taking it if needed. A
// snapshot of that name of another volume is ErrConflict. It is taken at one
// instant; LVM freezes a mounted filesystem for it.
func (s *Store) CreateSnapshot(ctx context.Context, spec SnapshotSpec) (Snapshot, error) {
	if err := checkName(spec.Name); err != nil {
		return Snapshot{}, err
	}
	lv := snapshotLV(spec.Name)
	return fly(ctx, &s.flights, lv, fmt.Sprintf("snapshot %+v", spec), func(ctx context.Context) (Snapshot, error) {
		return s.createSnapshot(ctx, spec, lv)
	})
}

func (s *Store) createSnapshot(ctx context.Context, spec SnapshotSpec, lv string) (Snapshot, error) {
	for range 2 {
		if have, exists := s.lookUpSnapshot(lv); exists {
			if have.Source != spec.Source || have.Name != spec.Name {
				return Snapshot{}, fmt.Errorf("%w: it is of volume %s, not %s", ErrConflict, have.Source, spec.Source)
			}
			return have, nil
		}
		if err := s.takeSnapshot(ctx, spec, lv); err != nil && !errors.Is(err, ErrConflict) {
			return Snapshot{}, err
		}
	}
	return Snapshot{}, fmt.Errorf("LV %s: %w", lv, ErrConflict)
}

func (s *Store) lookUpSnapshot(lv string) (Snapshot, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, e, exists := s.findLV(lv)
	if !exists {
		return Snapshot{}, false
	}
	return p.snapshotOf(s.key, e), true
}

func (s *Store) takeSnapshot(ctx context.Context, spec SnapshotSpec, lv string) error {
	var made entry
	err := s.derive(ctx, spec.Source, func(p *pool, src entry) (e entry, needs int64, err error) {
		if src.snapshot {
			return entry{}, 0, Invalid("source_volume_id", spec.Source.String(), "the id of a volume, not of a snapshot")
		}
		mapped, err := s.mapped(ctx, p, src)
		made = entry{lv: lv, bytes: src.bytes, mapped: mapped, record: record{
			name: spec.Name, snapshot: true, state: src.state, mode: src.mode, fsType: src.fsType, profile: src.profile, mkfs: src.mkfs,
			source: src.lv, created: s.now(), reserved: mapped,
		}}
		return made, mapped, err
	})
	if err == nil {
		klog.FromContext(ctx).Info("snapshot taken", "snapshot", Key{s.key, spec.Source.VG, lv}, "source", spec.Source, "reserved", made.reserved)
	}
	return err
}

// mapped is the most that a thin has mapped of its pool: exact while it is
// active, what is remembered of it else, its size when nothing is.
func (s *Store) mapped(ctx context.Context, p *pool, e entry) (int64, error) {
	if e.state == Fresh {
		return 0, nil
	}
	mapped, err := s.LVM.ThinMapped(ctx, VGName(p.id), e.lv)
	switch {
	case err == nil:
		return mapped, nil
	case errors.Is(err, dm.ErrNotFound) && e.mapped != unknownMapped:
		return e.mapped, nil
	case errors.Is(err, dm.ErrNotFound):
		return e.bytes, nil
	default:
		return 0, fmt.Errorf("how much of %s is mapped: %w: %w", e.lv, ErrUnavailable, err)
	}
}

package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// Blocks gives back and overwrites blocks of devices; internal/blockdev does
// it on a host.
type Blocks interface {
	// Discard gives all blocks of a device back, where the device can.
	Discard(ctx context.Context, path string) error
	// Zero overwrites a range of a device that nobody else uses; length 0
	// means to its end.
	Zero(ctx context.Context, path string, offset, length int64) error
	// ZeroShared is Zero for a part of a device whose other parts are in use.
	ZeroShared(ctx context.Context, path string, offset, length int64) error
}

// Options are what a Store works on.
type Options struct {
	// Dir is where the host record lives.
	Dir     string
	Machine hostrecord.Machine
	Config  drive.Config
	LVM     *lvm.LVM
	Blocks  Blocks
	// Drives lists the NVMe drives of this node.
	Drives func(context.Context) ([]drive.Drive, error)
	// Stalled says of a drive's path whether it ends none of the work that it has
	// been given, so that whatever waits for it may hang; nil for nobody does.
	Stalled func(ctx context.Context, path string) bool
	// ReadOnly changes nothing: no key is made, no pool activated, nothing
	// repaired. For commands that only show.
	ReadOnly bool
	// Background: wipe what was deleted. One process a host does that, the
	// agent.
	Background bool
	// BackupAfter is how long a VG must be left alone before its metadata are
	// copied in the background, the usual time if 0.
	BackupAfter time.Duration
	// Patience is how long a pool is waited for by whoever has others to see to,
	// since its drive may hang; 0 means 30 s.
	Patience time.Duration
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Store is the set of this node's VGs and all that is in them. It keeps in
// memory what LVM has on disk: one report at start, its own changes applied as
// they succeed, a new report whenever something went otherwise.
//
// Its methods may be called from many goroutines. One command at a time
// changes a VG; different VGs do not wait for each other.
type Store struct {
	Options
	key string

	flights flights

	mu       sync.RWMutex
	pools    map[string]*pool // by short id
	verdicts []drive.Verdict

	// background counts what runs beside the calls, until life ends.
	background sync.WaitGroup
	life       context.Context //nolint:containedctx // the store's own life, not a call's
	stop       context.CancelFunc
}

// ErrAdopt: this host has no record of a store and its drives carry one.
var ErrAdopt = errors.New("drives carry a store that this host has no record of")

// Open finds out which store this node is, looks at its drives, and makes
// ready what it finds: pools are activated and half-made things finished. It
// fails with ErrAdopt when an operator must decide first.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{Options: o, pools: map[string]*pool{}}
	s.life, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.begin(ctx); err != nil {
		s.stop()
		return nil, err
	}
	if o.Background {
		s.background.Go(s.lookNowAndThen)
	}
	return s, nil
}

// Close refuses new changes, waits for those that run, and ends the work in
// the background. What was being wiped is wiped on at the next start.
func (s *Store) Close() {
	s.flights.close()
	s.stop()
	s.background.Wait()
}

// Key is the store key: the first part of every id, and the topology value.
// It is empty only for a read-only store on a host that has none.
func (s *Store) Key() string { return s.key }

// MaxVolumes is how many volumes this node publishes at most.
func (s *Store) MaxVolumes() int64 { return s.Config.MaxVolumes }

// HasThin says whether any class has thin volumes, and with them snapshots
// and clones.
func (s *Store) HasThin() bool {
	return slices.ContainsFunc(s.Config.Classes, func(c drive.Class) bool { return c.Thin.Share > 0 })
}

// Volume returns the volume of that key.
func (s *Store) Volume(_ context.Context, k Key) (Volume, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, e, err := s.find(k)
	if err != nil {
		return Volume{}, fmt.Errorf("volume %s: %w", k, err)
	}
	if e.snapshot {
		return Volume{}, fmt.Errorf("volume %s: %w: it is a snapshot", k, ErrNotFound)
	}
	return p.volume(s.key, e), nil
}

// Snapshot returns the snapshot of that key.
func (s *Store) Snapshot(_ context.Context, k Key) (Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, e, err := s.find(k)
	if err != nil {
		return Snapshot{}, fmt.Errorf("snapshot %s: %w", k, err)
	}
	if !e.snapshot {
		return Snapshot{}, fmt.Errorf("snapshot %s: %w: it is a volume", k, ErrNotFound)
	}
	return p.snapshotOf(s.key, e), nil
}

// Volumes lists the volumes on drives that are here, ordered by their keys.
func (s *Store) Volumes(context.Context) ([]Volume, error) {
	return list(s, func(p *pool, e entry) (Volume, bool) { return p.volume(s.key, e), !e.snapshot },
		func(a, b Volume) int { return a.Key.Compare(b.Key) })
}

// Snapshots lists the snapshots on drives that are here, ordered by their keys.
func (s *Store) Snapshots(context.Context) ([]Snapshot, error) {
	return list(s, func(p *pool, e entry) (Snapshot, bool) { return p.snapshotOf(s.key, e), e.snapshot },
		func(a, b Snapshot) int { return a.Key.Compare(b.Key) })
}

// list collects what pick takes of all entries. A pool that could not be
// looked at makes the list fail: an incomplete one reads as "deleted".
func list[T any](s *Store, pick func(*pool, entry) (T, bool), order func(a, b T) int) ([]T, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []T
	for _, p := range s.pools {
		all = slices.Grow(all, p.entries.len())
		if p.stale != "" {
			return nil, p.unseen()
		}
		for e := range p.entries.all() {
			if x, ok := pick(p, e); ok {
				all = append(all, x)
			}
		}
	}
	slices.SortFunc(all, order)
	return all, nil
}

// find looks a key up; s.mu is held. Not found, away and not to be known are
// three different errors.
func (s *Store) find(k Key) (*pool, entry, error) {
	if k.Store != s.key {
		return nil, entry{}, fmt.Errorf("%w %s; this node serves %s", ErrForeign, k.Store, s.key)
	}
	p, ok := s.pools[k.VG]
	switch {
	case !ok:
		return nil, entry{}, fmt.Errorf("%w: this store has no VG %s", ErrNotFound, VGName(k.VG))
	case p.away:
		return p, entry{}, fmt.Errorf("%w: %s (plug it in again, or give it up with 'lvme drives forget')", ErrAway, p.driveNames())
	case p.stale != "":
		return p, entry{}, p.unseen()
	}
	e, ok := p.entries.get(k.LV)
	if !ok {
		return p, entry{}, ErrNotFound
	}
	return p, e, nil
}

// findLV looks for an LV name in every pool; s.mu is held.
func (s *Store) findLV(lv string) (*pool, entry, bool) {
	for _, id := range slices.Sorted(maps.Keys(s.pools)) {
		if e, ok := s.pools[id].entries.get(lv); ok {
			return s.pools[id], e, true
		}
	}
	return nil, entry{}, false
}

// Pools lists the pools of the store, those away included, by class and number.
// The figures of use come from the kernel, without starting a program.
func (s *Store) Pools(ctx context.Context) []Pool {
	all := s.described()
	pools := make([]Pool, 0, len(all))
	for _, d := range all {
		switch {
		case d.active && !s.askable(ctx, d.pool, d.Drives):
			s.recall(d.pool, &d.Pool)
		case d.active:
			s.fillUse(ctx, &d.Pool, d.bounds)
			s.remember(d.pool, d.Pool)
			fallthrough
		default:
			d.Mirror = s.mirrorStatus(ctx, d.VG, d.mirrors)
		}
		pools = append(pools, d.Pool)
	}
	slices.SortFunc(pools, func(a, b Pool) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Number, b.Number), cmp.Compare(a.ID, b.ID))
	})
	return pools
}

// described is a pool by what is known of it, and what the kernel is still to be
// asked.
type described struct {
	Pool
	pool    *pool
	active  bool
	bounds  bounds
	mirrors []string
}

// described lists all pools.
func (s *Store) described() []described {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []described
	for _, p := range s.pools {
		all = append(all, described{p.describe(), p, p.thinActive, p.bounds(), p.mirrors()})
	}
	return all
}

// fillUse adds what the kernel says of the thin pool.
func (s *Store) fillUse(ctx context.Context, p *Pool, b bounds) {
	status, err := s.LVM.PoolStatus(ctx, p.VG, poolLV)
	if err != nil {
		p.Problem = cmp.Or(p.Problem, "thin pool could not be looked at: "+err.Error())
		return
	}
	p.ThinUsed = b.used(status)
	p.MetadataUsed, p.MetadataBytes = status.MetaUsed*metaBlock, status.MetaTotal*metaBlock
	for _, c := range b.conditions(status, nil) {
		if c.stage >= stopped {
			p.Problem = cmp.Or(p.Problem, c.text)
		} else {
			p.Warning = cmp.Or(p.Warning, c.text)
		}
	}
}

// metaBlock is the unit of a pool's metadata in bytes (kernel,
// Documentation/admin-guide/device-mapper/thin-provisioning.rst).
const metaBlock = 4096

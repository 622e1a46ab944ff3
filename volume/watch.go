package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// Thin pools are watched by the agent itself: LVM's own daemon would have to be
// installed, configured and trusted on each host, extends by the share of a pool
// rather than in time, and knows nothing of what is for sale. Each pool has a
// loop of its own, so that one whose drive hangs keeps none of the others from
// being looked at. A look asks the kernel and starts no program.

// watched is what is remembered of one look at a thin pool for the next.
type watched struct {
	runs bool
	// conditions are what was not as it should be.
	conditions []condition
	last       lvm.PoolStatus
	// extendAfter is when extending is tried again that has failed or found no
	// reserve; toldReserve that this was logged.
	extendAfter time.Time
	toldReserve bool
	// failures counts looks that failed, one after another.
	failures int
}

// extendPause is the wait after a pool could not be extended.
const extendPause = time.Minute

// startWatch has a thin pool watched until it is away or the store closes.
func (s *Store) startWatch(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Background || p.watched.runs || p.away || p.thinBytes == 0 || s.life.Err() != nil {
		return
	}
	p.watched.runs = true
	s.background.Go(func() { s.watch(s.life, p) })
}

func (s *Store) watch(ctx context.Context, p *pool) {
	pause := time.Duration(0)
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		s.mu.Lock()
		if p.away || ctx.Err() != nil {
			p.watched.runs = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		pause = s.watchOnce(ctx, p)
	}
}

// watchOnce looks at the pool, does what is to be done, and says when to look
// again.
func (s *Store) watchOnce(ctx context.Context, p *pool) time.Duration {
	status, b, changed, err := s.lookAtFill(ctx, p)
	if err != nil {
		return idleLook
	}
	data, meta, wanted := b.more(status)
	if s.mayExtend(p, wanted) && s.extendPool(ctx, p, data, meta) {
		return 0 // One step may not be enough.
	}
	return b.nextLook(status, changed)
}

// lookAtFill asks the kernel how full the pool is, remembers what that comes to
// and tells of what has changed.
func (s *Store) lookAtFill(ctx context.Context, p *pool) (status lvm.PoolStatus, b bounds, changed bool, err error) {
	status, err = s.LVM.PoolStatus(ctx, VGName(p.id), poolLV)
	s.mu.Lock()
	b = p.bounds()
	had := p.watched.conditions
	switch {
	case err == nil:
		changed = p.watched.last != status
		p.watched.last, p.watched.failures, p.watched.conditions = status, 0, b.conditions(status, had)
	case errors.Is(err, dm.ErrNotFound), ctx.Err() != nil, p.away:
		// Switched off, or going away: that is others' to mend.
		p.watched.conditions = nil
	case p.watched.failures == 0:
		p.watched.failures++ // LVM may be exchanging the pool's tables just now.
	default:
		p.watched.conditions = []condition{{broken, PoolDoesNotAnswer, "thin pool could not be looked at: " + err.Error() + "; see to its drive"}}
	}
	now := p.watched.conditions
	s.mu.Unlock()
	if ctx.Err() == nil {
		tell(ctx, p.id, had, now)
	}
	return status, b, changed, err
}

// tell logs what has come and gone between two looks, each once.
func tell(ctx context.Context, id string, had, now []condition) {
	log := klog.FromContext(ctx)
	in := func(all []condition, c condition) bool {
		return slices.ContainsFunc(all, func(o condition) bool { return o.reason == c.reason })
	}
	for _, c := range now {
		switch {
		case in(had, c):
		case c.stage == filling:
			log.Info("thin pool fills up", "vg", VGName(id), "reason", c.reason, "what", c.text)
		default:
			log.Error(nil, "thin pool needs somebody", "vg", VGName(id), "reason", c.reason, "what", c.text)
		}
	}
	for _, c := range had {
		worse := slices.ContainsFunc(now, func(o condition) bool { return o.stage > c.stage })
		if !in(now, c) && !worse {
			log.Info("thin pool has recovered", "vg", VGName(id), "from", c.reason)
		}
	}
}

// refuses says why the pool takes no new volumes of that type, "" for nothing.
func (p *pool) refuses(t Type) string { return cmp.Or(p.problem(), p.refusesMore(t)) }

// refusesMore is refuses for what is in the pool already and should become more:
// what else is the matter with the pool, the change itself will say.
func (p *pool) refusesMore(t Type) string {
	if p.failing != "" || t != Thin {
		return p.failing
	}
	for _, c := range p.watched.conditions {
		if c.stage >= stopped {
			return c.text
		}
	}
	return ""
}

// spaceReturned looks again at a pool that had refused promises, so that the
// next call need not wait for the loop to come by.
func (s *Store) spaceReturned(ctx context.Context, p *pool) {
	s.mu.RLock()
	refuses := len(p.watched.conditions) > 0
	s.mu.RUnlock()
	if refuses {
		_, _, _, _ = s.lookAtFill(ctx, p) // what it is for has succeeded already
	}
}

// mayExtend says that the pool is to be extended and nothing speaks against
// trying it now.
func (s *Store) mayExtend(p *pool, wanted bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !wanted {
		p.watched.extendAfter, p.watched.toldReserve = time.Time{}, false
	}
	return wanted && s.life.Err() == nil && time.Now().After(p.watched.extendAfter)
}

// extendPool gives the pool more metadata and data of its group's reserve and
// says whether it did. The sizes are absolute, so that a command whose end was
// not seen is not made twice.
func (s *Store) extendPool(ctx context.Context, p *pool, data, meta int64) bool {
	if data == 0 && meta == 0 {
		s.cannotExtend(ctx, p, errors.New("nothing is left of the reserve; "+freeSpace))
		return false
	}
	work := context.WithoutCancel(ctx) // commands are never cut short
	err := p.exclusively(work, func() error {
		return errors.Join(s.extendMeta(work, p, meta), s.extendData(work, p, data))
	})
	if err != nil {
		s.cannotExtend(ctx, p, err)
		return false
	}
	s.mu.RLock()
	b := p.bounds()
	s.mu.RUnlock()
	klog.FromContext(ctx).Info("thin pool extended from the reserve", "vg", VGName(p.id), "bytes", b.data, "metadata", b.meta, "left", b.left)
	return true
}

// extendMeta grows the metadata, and LVM their spare; the pool's writer lock is held.
func (s *Store) extendMeta(ctx context.Context, p *pool, to int64) error {
	if to == 0 {
		return nil
	}
	err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.ExtendPoolMetadata(ctx, vg, poolLV, to) }, func() {})
	if err != nil {
		return fmt.Errorf("extend the metadata to %d bytes: %w", to, err)
	}
	return s.reload(ctx, p)
}

// extendData grows the data; the pool's writer lock is held. What is free may lie
// on the drives in another way than LVM needs it, on one leg of a mirror more
// than on the other: then it takes a smaller step.
func (s *Store) extendData(ctx context.Context, p *pool, to int64) error {
	if to == 0 {
		return nil
	}
	s.mu.RLock()
	now, unit := p.thinBytes, p.bounds().unit
	s.mu.RUnlock()
	for step := to - now; step > 0; step = step / 2 / unit * unit {
		err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Extend(ctx, vg, poolLV, now+step) }, func() {})
		if err == nil {
			return s.reload(ctx, p) // LVM may have given it metadata too
		}
		if !errors.Is(err, ErrNoSpace) || step/2 < unit {
			return fmt.Errorf("extend the data by %d bytes: %w", step, err)
		}
	}
	return nil
}

// cannotExtend logs once why, and has it tried again after a while: somebody may
// have given the group more space.
func (s *Store) cannotExtend(ctx context.Context, p *pool, err error) {
	s.mu.Lock()
	told := p.watched.toldReserve
	p.watched.toldReserve, p.watched.extendAfter = true, time.Now().Add(extendPause)
	s.mu.Unlock()
	if !told {
		klog.FromContext(ctx).Error(err, "thin pool is near its end and not extended", "vg", VGName(p.id), "again", extendPause)
	}
}

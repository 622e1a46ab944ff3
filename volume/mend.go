package volume

import (
	"context"
	"errors"
	"fmt"

	"github.com/lvme/lvme/lvm"
)

// mendPool sets right what a pool must be, whoever made it otherwise, and ends
// what a process of ours has left of it; the pool's writer lock is held. A VG
// that lacks a drive is left as it is.
func (s *Store) mendPool(ctx context.Context, p *pool) error {
	if p.thinBytes == 0 || p.missing > 0 {
		return nil
	}
	if p.unzeroed {
		err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.SetZeroing(ctx, vg, poolLV) }, func() { p.unzeroed = false })
		if err != nil {
			return fmt.Errorf("have the thin pool zero new chunks: %w", err)
		}
	}
	if p.queues {
		err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.SetErrorWhenFull(ctx, vg, poolLV) }, func() { p.queues = false })
		if err != nil {
			return fmt.Errorf("have the thin pool fail writes when full: %w", err)
		}
	}
	return errors.Join(s.releaseHeld(ctx, p), s.finishCopies(ctx, p))
}

// wantsMending says that mendPool has something to do, as far as a report tells;
// Store.mu is held.
func (p *pool) wantsMending() bool {
	for e := range p.entries.all() {
		if e.bytes < e.target {
			return true
		}
	}
	return p.unzeroed || p.queues
}

// finishCopies extends the copies that were cut short before they had their
// size: who wanted them may never ask again. The pool's writer lock is held.
func (s *Store) finishCopies(ctx context.Context, p *pool) error {
	s.mu.RLock()
	unfinished := map[string]int64{}
	for e := range p.entries.all() {
		if e.bytes < e.target {
			unfinished[e.lv] = e.target
		}
	}
	s.mu.RUnlock()
	var errs []error
	for lv, target := range unfinished {
		err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Extend(ctx, vg, lv, target) }, func() {
			p.entries.change(lv, func(e *entry) { e.bytes = target })
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("finish the copy %s: %w", lv, err))
		}
	}
	return errors.Join(errs...)
}

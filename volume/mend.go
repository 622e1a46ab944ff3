package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/lvm"
)

// mendPool sets right what a pool must be, whoever made it otherwise, and ends
// what a process of ours has left of it; the pool's writer lock is held. A VG
// that lacks a drive is left as it is.
func (s *Store) mendPool(ctx context.Context, p *pool) error {
	if p.thinBytes == 0 || p.missing > 0 {
		return nil
	}
	// Until these are done LVM may refuse every change.
	if err := errors.Join(s.releaseHeld(ctx, p), s.settleChange(ctx, p)); err != nil {
		return err
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
	return s.finishCopies(ctx, p)
}

// behind says that the kernel's pool counts one change less than LVM does. That of
// LVM is as old as the last report, so it is never too high.
func (s *Store) behind(ctx context.Context, p *pool) bool {
	s.mu.RLock()
	active, told, drives := p.thinActive, p.transaction, slices.Clone(p.drives)
	s.mu.RUnlock()
	if !active || !s.askable(ctx, p, drives) {
		return false
	}
	status, err := s.LVM.PoolStatus(ctx, VGName(p.id), poolLV)
	return err == nil && status.TransactionID+1 == told
}

// settleChange ends a change of the pool that a command or the power ended in its
// middle: LVM has written it down, and the pool has not counted it. The pool's writer
// lock is held.
//
//   - When both know the same thins the pool has made it. LVM tries it again for ever,
//     since the pool has the thin that it wants to make, or has not the one that it
//     wants to delete. So the pool is made to count it.
//   - When the pool lacks the thin that LVM made by it, nobody was told of that. LVM
//     would make it with its next change, whenever that is, and does not activate it
//     until then; a snapshot would be one of that moment, of a volume that is written
//     to. So it is taken back.
//   - What LVM has deleted and the pool has not, it deletes with its next change.
func (s *Store) settleChange(ctx context.Context, p *pool) error {
	if !s.behind(ctx, p) {
		return nil
	}
	// LVM waits for whoever else is in the middle of a change. After that it counts.
	report, err := s.LVM.Report(ctx, p.vg)
	if err != nil {
		return domainError(err)
	}
	status, err := s.LVM.PoolStatus(ctx, VGName(p.id), poolLV)
	if lv, _ := report.LV(poolLV); err != nil || status.TransactionID+1 != lv.TransactionID {
		return domainError(err)
	}
	thins, err := s.thinDevices(ctx, p, p.vg)
	if err != nil {
		return fmt.Errorf("compare the thins of VG %s: %w", VGName(p.id), err)
	}
	unmade := thinIDs(report)
	for _, t := range thins {
		if unmade[t.ID] == "" {
			return nil
		}
		delete(unmade, t.ID)
	}
	if len(unmade) > 1 { // No one change leaves that: it is for a person.
		return nil
	}
	for _, lv := range unmade {
		return s.undo(ctx, p, report, lv, status.TransactionID)
	}
	if err := s.LVM.CompleteChange(ctx, p.vg, poolLV, status.TransactionID); err != nil {
		return domainError(err)
	}
	klog.FromContext(ctx).Info("a change of the thin pool that was cut off is completed", "vg", VGName(p.id), "transaction", status.TransactionID+1)
	return nil
}

// undo removes what LVM made by the change that the pool, which counts up to made,
// lacks. What was made by another, or by somebody else, is left.
func (s *Store) undo(ctx context.Context, p *pool, report lvm.VGReport, name string, made int64) error {
	lv, _ := report.LV(name)
	s.mu.RLock()
	_, ours := p.entries.get(name)
	s.mu.RUnlock()
	if !ours || lv.TransactionID != made {
		return nil
	}
	if err := s.LVM.Remove(ctx, p.vg, name); err != nil {
		return domainError(err)
	}
	klog.FromContext(ctx).Info("what a command that was cut off did not make is taken back", "vg", VGName(p.id), "lv", name)
	return s.reload(ctx, p)
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

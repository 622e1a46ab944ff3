package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// Mirror is how the legs of a mirrored pool and of its volumes in use agree.
type Mirror struct {
	// Synced is how many of Bytes are alike on the legs that work.
	Synced, Bytes int64
	// Failed counts the mirrors that work with one leg.
	Failed int
}

// mirrors are the active mirrors of a pool: its own, and thick volumes in use.
// Store.mu is held.
func (p *pool) mirrors() []string {
	if p.layout() != drive.Mirrored {
		return nil
	}
	var lvs []string
	if p.thinActive {
		lvs = lvm.MirroredPoolParts(poolLV)
	}
	return append(lvs, p.mirrorsInUse()...)
}

// mirrorsInUse are the thick volumes in use; Store.mu is held.
func (p *pool) mirrorsInUse() []string {
	var lvs []string
	for e := range p.entries.all() {
		if e.thick && e.active {
			lvs = append(lvs, e.lv)
		}
	}
	slices.Sort(lvs)
	return lvs
}

// mirrorStatus adds up what the kernel says of a pool's mirrors. Those that it
// does not tell of are left out.
func (s *Store) mirrorStatus(ctx context.Context, vg string, lvs []string) Mirror {
	var m Mirror
	for _, lv := range lvs {
		status, err := s.LVM.MirrorStatus(ctx, vg, lv)
		if err != nil {
			continue // it was switched off meanwhile
		}
		m.Synced, m.Bytes = m.Synced+status.Synced, m.Bytes+status.Total
		if status.Failed > 0 {
			m.Failed++
		}
	}
	return m
}

// refreshMirrors gives the mirrors of a pool, whose drives are all here, their
// legs back; its writer lock is held. What a leg missed is copied to it in the
// background.
func (s *Store) refreshMirrors(ctx context.Context, p *pool) error {
	s.mu.RLock()
	var lvs []string
	if p.thinActive {
		lvs = []string{poolLV}
	}
	lvs = append(lvs, p.mirrorsInUse()...)
	s.mu.RUnlock()
	var errs []error
	for _, lv := range lvs {
		if err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Refresh(ctx, vg, lv) }, func() {}); err != nil {
			errs = append(errs, fmt.Errorf("give mirror %s its leg back: %w", lv, err))
		}
	}
	// What stood for the lost leg is not needed any more.
	if err := s.LVM.DetachDead(ctx, p.vg); err != nil && !errors.Is(err, lvm.ErrInUse) {
		errs = append(errs, domainError(err))
	}
	if len(errs) == 0 {
		klog.FromContext(ctx).Info("the legs of mirrors are synchronised again", "vg", VGName(p.id), "mirrors", lvs)
	}
	return errors.Join(errs...)
}

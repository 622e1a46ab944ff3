package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// reload reports the pool again; its writer lock is held. After a failure
// nothing that is known of it may be believed. What it shows to be on its way
// out is wiped: the rename that was seen to fail may have taken effect.
func (s *Store) reload(ctx context.Context, p *pool) error {
	if err := s.lookAgainAt(ctx, p); err != nil {
		return err
	}
	s.startWiper(p)
	return nil
}

func (s *Store) lookAgainAt(ctx context.Context, p *pool) error {
	s.mu.RLock()
	vg, drives := p.vg, map[string]drive.Drive{}
	for _, d := range p.drives {
		drives[d.Path] = drive.Drive{ID: d.ID, Path: d.Path, Model: d.Model, Serial: d.Serial, Bytes: d.Bytes}
	}
	s.mu.RUnlock()
	report, err := s.LVM.Report(ctx, vg)
	if err == nil {
		err = s.settleReport(ctx, report)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = p.load(report, drives)
	}
	if err != nil {
		p.stale = err.Error()
		s.heal(p)
		return fmt.Errorf("look at VG %s: %w", vg.Name, domainError(err))
	}
	s.changedByReport(p)
	return nil
}

// settleReport makes durable what a report tells: whoever changed the VG may have
// ended before it had, and from now on others are told of it.
func (s *Store) settleReport(ctx context.Context, r lvm.VGReport) error {
	if s.ReadOnly {
		return nil
	}
	return s.LVM.Flush(ctx, r.VG().Devices)
}

const (
	// healPause is the wait between looks at a VG that could not be looked at.
	healPause = 5 * time.Second
	// lookAgain is how often a VG is reported though nothing failed: somebody
	// may have changed it by hand.
	lookAgain = 10 * time.Minute
)

// heal looks at the pool again in the background until it can be believed;
// s.mu is held.
func (s *Store) heal(p *pool) {
	if !s.Background || p.healing || s.life.Err() != nil {
		return
	}
	p.healing = true
	s.background.Go(func() {
		err := s.lookAfter(p, healPause)
		s.mu.Lock()
		defer s.mu.Unlock()
		p.healing = false
		if err != nil && !p.away && p.reason() == "" {
			s.heal(p)
		}
	})
}

// lookAfter reports the pool again after a pause.
func (s *Store) lookAfter(p *pool, pause time.Duration) error {
	select {
	case <-time.After(pause):
	case <-s.life.Done():
		return nil
	}
	unlock, err := p.lockSoon(s.life)
	if err != nil {
		return err
	}
	defer unlock()
	return s.reload(s.life, p)
}

// lookNowAndThen reports every pool at long intervals.
func (s *Store) lookNowAndThen() {
	for s.life.Err() == nil {
		select {
		case <-time.After(lookAgain):
		case <-s.life.Done():
			return
		}
		s.mu.RLock()
		pools := slices.DeleteFunc(slices.Collect(maps.Values(s.pools)), func(p *pool) bool { return p.away || p.reason() != "" })
		s.mu.RUnlock()
		for _, p := range pools {
			if err := s.lookAfter(p, 0); err != nil {
				klog.FromContext(s.life).Error(err, "look at a pool now and then")
			}
		}
	}
}

// change runs one command that changes the pool's VG, whose writer lock is
// held, and applies its effect to what is known. A VG that lacks a drive is
// not changed: LVM would take the drive for lost from then on, even when it
// comes back.
func (s *Store) change(ctx context.Context, p *pool, command func(lvm.VG) error, effect func()) error {
	if p.missing > 0 {
		return fmt.Errorf("VG %s is not changed while %d of its drives are missing: %w", VGName(p.id), p.missing, ErrAway)
	}
	return s.apply(ctx, p, command, func() { effect(); s.changed(p) })
}

// apply is change for commands that only switch devices on and off. After a
// failure the pool is reported again, so that the next look sees what really
// happened.
func (s *Store) apply(ctx context.Context, p *pool, command func(lvm.VG) error, effect func()) error {
	if p.stale != "" {
		if err := s.reload(ctx, p); err != nil {
			return err
		}
	}
	if err := command(p.vg); err != nil {
		if err := s.afterFailure(ctx, p); err != nil {
			klog.FromContext(ctx).Error(err, "after a failed command", "vg", VGName(p.id))
		}
		return domainError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	effect()
	return nil
}

// afterFailure looks at the pool after a command that failed, and ends what that left in
// its middle; the pool's writer lock is held.
func (s *Store) afterFailure(ctx context.Context, p *pool) error {
	if err := s.reload(ctx, p); err != nil {
		return err
	}
	return errors.Join(s.thaw(ctx, p), s.settleChange(ctx, p))
}

// domainErrors is the one table from LVM's errors to those of the domain.
var domainErrors = []struct{ lvm, domain error }{
	{lvm.ErrNotFound, ErrNotFound},
	{lvm.ErrNoSpace, ErrNoSpace},
	{lvm.ErrExists, ErrConflict},
	{lvm.ErrInUse, ErrInUse},
	{lvm.ErrNoVG, ErrAway},
	{lvm.ErrMissingDevice, ErrAway},
	{lvm.ErrSilent, ErrUnavailable},
	{lvm.ErrNotInstalled, ErrUnavailable},
	{lvm.ErrNotSupported, ErrUnavailable},
	{lvm.ErrReport, ErrUnavailable},
	{lvm.ErrTransaction, ErrPrecondition},
	{lvm.ErrStaleThinID, ErrPrecondition},
	{lvm.ErrNeedsRepair, ErrPrecondition},
	{lvm.ErrReadOnlyPool, ErrPrecondition},
	{lvm.ErrDuplicate, ErrPrecondition},
	{lvm.ErrNotBlank, ErrPrecondition},
	{lvm.ErrInactive, ErrUnavailable},
}

// domainError gives an error of LVM its meaning here and keeps its text.
func domainError(err error) error {
	for _, row := range domainErrors {
		if errors.Is(err, row.lvm) {
			return fmt.Errorf("%w: %w", row.domain, err)
		}
	}
	return err
}

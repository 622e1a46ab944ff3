package volume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// Activate makes the device of exactly this volume. A fresh thin volume must
// map nothing before anybody opens it: LVM gives out numbers that the kernel's
// pool may still know from a volume of somebody else, and then hands out that
// one's blocks without an error. Such a volume is quarantined.
func (s *Store) Activate(ctx context.Context, k Key) (Device, error) {
	return fly(ctx, &s.flights, k.LV, "activate "+k.String(), func(ctx context.Context) (Device, error) {
		d, err := s.activate(ctx, k)
		if err != nil {
			return Device{}, fmt.Errorf("activate volume %s: %w", k, err)
		}
		return d, nil
	})
}

func (s *Store) activate(ctx context.Context, k Key) (Device, error) {
	p, e, err := s.volumeEntry(k)
	if err != nil {
		return Device{}, err
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return Device{}, err
	}
	defer unlock()
	if err := s.sound(ctx, p, e); err != nil {
		return Device{}, err
	}
	if err := s.activateLV(ctx, p, e.lv); err != nil {
		return Device{}, err
	}
	if e.state == Fresh && !e.thick {
		if err := s.proveUnmapped(ctx, p, e); err != nil {
			return Device{}, err
		}
	}
	v, err := s.Volume(ctx, k)
	return Device{Path: s.DevicePath(k), Volume: v}, err
}

// DevicePath is where the device of a volume is while it is active, whether or
// not there is such a volume.
func (s *Store) DevicePath(k Key) string { return lvm.DevicePath(VGName(k.VG), k.LV) }

// volumeEntry is the entry of a volume that may be handed out.
func (s *Store) volumeEntry(k Key) (*pool, entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, e, err := s.find(k)
	switch {
	case err != nil:
		return nil, entry{}, err
	case e.snapshot:
		return nil, entry{}, fmt.Errorf("%w: it is a snapshot", ErrNotFound)
	case e.state == Quarantined:
		return nil, entry{}, fmt.Errorf("%w: it mapped blocks before anybody wrote to it; delete it and make another", ErrQuarantined)
	case e.bytes < e.target:
		return nil, entry{}, fmt.Errorf("%w: it is still being made", ErrPrecondition)
	}
	return p, e, nil
}

// proveUnmapped is the proof of Activate; the pool's writer lock is held.
func (s *Store) proveUnmapped(ctx context.Context, p *pool, e entry) error {
	mapped, err := s.LVM.ThinMapped(ctx, VGName(p.id), e.lv)
	if err == nil && mapped == 0 {
		return nil
	}
	if offErr := s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.Deactivate(ctx, vg, e.lv) }, func() { p.setActive(e.lv, false) }); offErr != nil {
		klog.FromContext(ctx).Error(offErr, "deactivate a volume that failed its proof", "lv", e.lv)
	}
	if err != nil {
		return fmt.Errorf("prove that it maps nothing: %w: %w", ErrUnavailable, err)
	}
	if err := s.setState(ctx, p, e.lv, Quarantined, e.fsType); err != nil {
		return fmt.Errorf("quarantine it: %w", err)
	}
	klog.FromContext(ctx).Error(nil, "a new thin volume maps blocks that nobody wrote: quarantined", "vg", VGName(p.id), "lv", e.lv, "mapped", mapped)
	return fmt.Errorf("%w: it maps %d bytes that nobody wrote; delete it and make another", ErrQuarantined, mapped)
}

func (p *pool) setActive(lv string, active bool) {
	p.entries.change(lv, func(e *entry) { e.active = active })
}

// SetState records what is now known of a volume's content, in one command.
// States only move forward; recording the same again does nothing.
func (s *Store) SetState(ctx context.Context, k Key, state State, fsType string) (Volume, error) {
	return fly(ctx, &s.flights, k.LV, fmt.Sprintf("state %s %s %s", k, state, fsType), func(ctx context.Context) (Volume, error) {
		p, e, err := s.volumeEntry(k)
		if err == nil {
			err = checkStep(e, state)
		}
		if err == nil && (e.state != state || e.fsType != fsType) {
			err = p.exclusively(ctx, func() error { return s.setState(ctx, p, k.LV, state, fsType) })
		}
		if err != nil {
			return Volume{}, fmt.Errorf("record state %q of volume %s: %w", state, k, err)
		}
		return s.Volume(ctx, k)
	})
}

// checkStep says whether a volume's state may move to another.
func checkStep(e entry, to State) error {
	allowed := map[State][]State{
		Fresh:      {Fresh, Formatting, Raw},
		Formatting: {Formatting, Formatted},
		Formatted:  {Formatted},
		Raw:        {Raw},
	}
	for _, a := range allowed[e.state] {
		if a == to {
			return nil
		}
	}
	return fmt.Errorf("%w: it is %q already", ErrPrecondition, e.state)
}

// setState changes the tags; the pool's writer lock is held.
func (s *Store) setState(ctx context.Context, p *pool, lv string, state State, fsType string) error {
	s.mu.RLock()
	e, ok := p.entries.get(lv)
	s.mu.RUnlock()
	if !ok {
		return fmt.Errorf("LV %s: %w", lv, ErrNotFound)
	}
	var add, del []string
	if e.state != state {
		add, del = append(add, tag(tagState, string(state))), append(del, tag(tagState, string(e.state)))
	}
	if e.fsType != fsType {
		if e.fsType != "" {
			del = append(del, tag(tagFS, e.fsType))
		}
		if fsType != "" {
			add = append(add, tag(tagFS, fsType))
		}
	}
	return s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.ChangeTags(ctx, vg, lv, add, del) }, func() {
		p.entries.change(lv, func(e *entry) { e.state, e.fsType, e.mapped = state, fsType, unknownMapped })
	})
}

// Deactivate removes the device of a volume. One that is open is ErrInUse. It
// needs no drive: a volume whose drive is lost must not hold its pod.
func (s *Store) Deactivate(ctx context.Context, k Key) error {
	_, err := fly(ctx, &s.flights, k.LV, "deactivate "+k.String(), func(ctx context.Context) (struct{}, error) {
		s.mu.RLock()
		p, e, err := s.find(k)
		s.mu.RUnlock()
		if lost, ok := s.detachable(k); ok {
			err = s.detach(ctx, lost, k.LV)
		} else if err == nil {
			if err = s.deactivateOnce(ctx, p, e); err == nil {
				s.afterwards(ctx, p)
			}
		}
		if err != nil {
			return struct{}{}, fmt.Errorf("deactivate volume %s: %w", k, err)
		}
		return struct{}{}, nil
	})
	return err
}

// deactivateOnce does not wait for the pool's writer lock when nothing is left
// to do: a caller who gave up while others were before it, and comes again after
// its change was made, would else go to the end of the queue each time. What
// lies below a thick volume may be there without it, so LVM is asked.
func (s *Store) deactivateOnce(ctx context.Context, p *pool, e entry) error {
	if !e.thick && !e.active {
		if _, err := s.LVM.DeviceInfo(ctx, VGName(p.id), e.lv); errors.Is(err, dm.ErrNotFound) {
			return nil
		}
	}
	return p.exclusively(ctx, func() error { return s.deactivate(ctx, p, e) })
}

// deactivate removes the device of an LV and remembers how much it has mapped;
// the pool's writer lock is held.
func (s *Store) deactivate(ctx context.Context, p *pool, e entry) error {
	mapped := int64(unknownMapped)
	if !e.thick {
		if m, err := s.LVM.ThinMapped(ctx, VGName(p.id), e.lv); err == nil {
			mapped = m
		}
	}
	return whileBusy(ctx, func() error {
		return s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.Deactivate(ctx, vg, e.lv) }, func() {
			p.entries.change(e.lv, func(e *entry) {
				e.active = false
				if mapped != unknownMapped {
					e.mapped = mapped
				}
			})
		})
	})
}

// awaitClosed waits a little for the device of an LV to be closed: what stays
// open is ErrInUse. No lock is held meanwhile and no command runs, so that
// nobody waits for one who would delete a volume that is in use.
func (s *Store) awaitClosed(ctx context.Context, p *pool, e entry) error {
	if !e.active {
		return nil
	}
	return whileBusy(ctx, func() error {
		info, err := s.LVM.DeviceInfo(ctx, VGName(p.id), e.lv)
		if err == nil && info.Opened > 0 {
			return fmt.Errorf("%w: %s is open", ErrInUse, lvm.DevicePath(VGName(p.id), e.lv))
		}
		return nil // What else may be wrong the next command tells.
	})
}

// busyPauses are the waits between attempts on a device that is in use: just
// after an unmount udev may have it open for a moment to look at it.
var busyPauses = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second}

// whileBusy tries again while the device is in use.
func whileBusy(ctx context.Context, attempt func() error) error {
	err := attempt()
	for _, pause := range busyPauses {
		if !errors.Is(err, ErrInUse) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		err = attempt()
	}
	return err
}

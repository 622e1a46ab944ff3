package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// A drive that is pulled out leaves its devices behind, and they lead nowhere
// even when it is back: see lvm/detach.go. So
//
//   - a volume is unstaged without its drive: its device is taken away;
//   - a pool whose drive is back is cleared of dead devices before it is made
//     active again. As long as somebody has one of them open, the pool is stuck:
//     nothing of it can be handed out, and its problem names whom to end;
//   - a mirror that has lost one leg works on, and gets its leg back when the
//     drive is.

// revive brings the devices of a pool in line with its drives; its writer lock
// is held.
func (s *Store) revive(ctx context.Context, p *pool) error {
	lost, err := s.LVM.Lost(ctx, p.vg)
	if err != nil {
		return err
	}
	if len(lost.Dead) > 0 {
		err = s.clear(ctx, p)
	} else if p.stuck != "" {
		err = s.reload(ctx, p) // the pool may have gone with its last volume
	}
	if err != nil {
		return err
	}
	s.unstick(p, "")
	if err := s.thaw(ctx, p); err != nil {
		return err
	}
	if err := s.recheck(ctx, p); err != nil {
		return err
	}
	if len(lost.Degraded) > 0 && p.missing == 0 {
		return s.refreshMirrors(ctx, p)
	}
	return nil
}

// thaw has devices go on that a command which was killed has left suspended:
// whoever uses such a volume waits for ever. The pool's writer lock is held, so
// that no command of ours is in the middle of it, and LVM waits for those of others.
func (s *Store) thaw(ctx context.Context, p *pool) error {
	lost, err := s.LVM.Lost(ctx, p.vg)
	if err != nil || len(lost.Frozen) == 0 {
		return err
	}
	klog.FromContext(ctx).Info("devices were left suspended by a command that was killed; they are loaded anew", "vg", VGName(p.id), "devices", lost.Frozen)
	for _, lv := range s.lvsOf(p, lost.Frozen) {
		err = errors.Join(err, domainError(s.LVM.Refresh(ctx, p.vg, lv)))
	}
	return err
}

// lvsOf are the LVs that devices are of or parts of, the pool first: what lies in
// it waits for it.
func (s *Store) lvsOf(p *pool, devices []string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	of := func(lv string) bool {
		name := dm.DeviceName(VGName(p.id), lv)
		return slices.ContainsFunc(devices, func(device string) bool {
			rest, ok := strings.CutPrefix(device, name)
			return ok && (rest == "" || rest[0] == '_' || rest[0] == '-' && !strings.HasPrefix(rest, "--"))
		})
	}
	lvs := slices.DeleteFunc(p.entries.names(), func(lv string) bool { return !of(lv) })
	if of(poolLV) {
		lvs = slices.Insert(lvs, 0, poolLV)
	}
	return lvs
}

// broken says that the kernel lets nobody write to the pool any more: its
// metadata could not be written, as on a drive that had errors.
func (s *Store) broken(ctx context.Context, p *pool) bool {
	s.mu.RLock()
	active, drives := p.thinActive, slices.Clone(p.drives)
	s.mu.RUnlock()
	if !active || !s.askable(ctx, p, drives) {
		return false
	}
	status, err := s.LVM.PoolStatus(ctx, VGName(p.id), poolLV)
	return err == nil && (status.NeedsCheck || status.Mode == lvm.PoolReadOnly || status.Mode == lvm.PoolFailed)
}

// recheck switches a broken pool off and on, which has its metadata checked,
// once nothing of it is in use; its writer lock is held.
func (s *Store) recheck(ctx context.Context, p *pool) error {
	if !s.broken(ctx, p) || s.inUse(p) {
		return nil
	}
	err := s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.Deactivate(ctx, vg, poolLV) }, func() { p.thinActive = false })
	if err != nil {
		return fmt.Errorf("switch a pool off that cannot be written: %w", err)
	}
	klog.FromContext(ctx).Info("a pool that could not be written is checked and switched on again", "vg", VGName(p.id))
	return nil
}

// inUse says whether a thin of the pool is active.
func (s *Store) inUse(p *pool) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := range p.entries.all() {
		if e.active && !e.thick {
			return true
		}
	}
	return false
}

// clear takes away the dead devices of a pool and believes LVM's word of the
// rest; the pool's writer lock is held.
func (s *Store) clear(ctx context.Context, p *pool) error {
	err := s.LVM.DetachDead(ctx, p.vg)
	if reloadErr := s.reload(ctx, p); reloadErr != nil {
		return errors.Join(domainError(err), reloadErr)
	}
	switch {
	case errors.Is(err, lvm.ErrInUse):
		lost, _ := s.LVM.Lost(ctx, p.vg)
		why := "its drive was pulled out under volumes in use, and works again once nobody uses them: " + strings.Join(s.volumesOf(p, lost.Dead), ", ")
		s.unstick(p, why)
		return fmt.Errorf("%w: %s", ErrUnavailable, why)
	case err != nil:
		return domainError(err)
	}
	klog.FromContext(ctx).Info("dead devices of a drive that was pulled out are gone", "vg", VGName(p.id))
	return nil
}

// unstick notes why nothing of the pool can be handed out, "" for no reason.
func (s *Store) unstick(p *pool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.stuck = why
}

// volumesOf are the LVs of volumes whose devices are among these.
func (s *Store) volumesOf(p *pool, devices []string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var lvs []string
	for _, lv := range p.entries.names() {
		if slices.Contains(devices, dm.DeviceName(VGName(p.id), lv)) {
			lvs = append(lvs, lv)
		}
	}
	return lvs
}

// sound says whether an LV can be handed out: no device that it is made of
// leads nowhere. Dead ones are cleared as far as they can be. The pool's writer
// lock is held.
func (s *Store) sound(ctx context.Context, p *pool, e entry) error {
	lost, err := s.LVM.Lost(ctx, p.vg)
	if err != nil || len(lost.Dead) == 0 {
		return err
	}
	err = s.revive(ctx, p)
	if err == nil {
		return s.activatePool(ctx, p)
	}
	if lost, look := s.LVM.Lost(ctx, p.vg); look != nil || !e.thick || slices.Contains(lost.Dead, dm.DeviceName(VGName(p.id), e.lv)) {
		return err
	}
	return nil // a thick volume that nobody had open
}

// detach takes away the device of a volume whose VG cannot be commanded: its
// drive is away, or cannot be read. ErrInUse says that somebody has it open.
func (s *Store) detach(ctx context.Context, p *pool, lv string) error {
	unlock, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.LVM.Detach(ctx, p.vg, lv); err != nil {
		return domainError(err)
	}
	klog.FromContext(ctx).Info("the device of a volume whose drive is lost was taken away", "vg", VGName(p.id), "lv", lv)
	// With the last volume goes the pool, so that nothing holds on to the drive.
	if err := s.LVM.DetachDead(ctx, p.vg); err != nil && !errors.Is(err, lvm.ErrInUse) {
		klog.FromContext(ctx).Error(err, "take away dead devices", "vg", VGName(p.id))
	}
	return nil
}

// detachable says whether an LV that cannot be looked up can be switched off all
// the same, and of which pool it is.
func (s *Store) detachable(k Key) (*pool, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pools[k.VG]
	return p, ok && k.Store == s.key && p.vg.UUID != "" && (p.away || p.now.Load() != nil && !p.hung())
}

// afterwards sees to a stuck or broken pool when a volume of it was switched off.
func (s *Store) afterwards(ctx context.Context, p *pool) {
	s.mu.RLock()
	stuck := p.stuck != ""
	s.mu.RUnlock()
	if !stuck && !s.broken(ctx, p) {
		return
	}
	if err := s.furnish(ctx, p); err != nil {
		klog.FromContext(ctx).Info("a pool whose drive is back is not ready yet", "vg", VGName(p.id), "why", err.Error())
	}
}

// activateLV makes an LV active, of a mirror that lacks a leg with the other
// one alone; the pool's writer lock is held.
func (s *Store) activateLV(ctx context.Context, p *pool, lv string) error {
	if p.missing > 0 && p.layout() == drive.Mirrored && lv != initWipeLV {
		return s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.ActivateDegraded(ctx, vg, lv) }, func() { p.noteActive(lv) })
	}
	return s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.Activate(ctx, vg, lv) }, func() { p.noteActive(lv) })
}

// noteActive notes that an LV is active; Store.mu is held.
func (p *pool) noteActive(lv string) {
	if lv == poolLV {
		p.thinActive = true
	} else {
		p.setActive(lv, true)
	}
}

// activatePool makes the thin pool active if there is one and it is not; the
// pool's writer lock is held.
func (s *Store) activatePool(ctx context.Context, p *pool) error {
	if p.thinBytes == 0 || p.thinActive {
		return nil
	}
	if err := s.activateLV(ctx, p, poolLV); err != nil {
		s.unstick(p, "thin pool could not be switched on: "+err.Error())
		return fmt.Errorf("activate the thin pool: %w", err)
	}
	return nil
}

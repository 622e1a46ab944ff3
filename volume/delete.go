package volume

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/blockdev"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// Delete removes the volume of that key; one that does not exist is deleted
// already. A volume whose drive is away is ErrAway: it is not deleted. The
// extents of a thick volume are wiped in the background before anybody else
// can get them, and count as taken until then.
func (s *Store) Delete(ctx context.Context, k Key) error {
	return s.remove(ctx, k, "volume", k.IsVolume(), func(ctx context.Context, p *pool, e entry) error {
		if err := s.awaitClosed(ctx, p, e); err != nil {
			return err
		}
		if e.thick {
			return s.deleteThick(ctx, p, e)
		}
		if err := s.giveBack(ctx, p, e); err != nil {
			return err
		}
		return s.drop(ctx, p, e.lv)
	})
}

// DeleteSnapshot removes the snapshot of that key; one that does not exist is
// deleted already. Volumes made from it live on.
func (s *Store) DeleteSnapshot(ctx context.Context, k Key) error {
	return s.remove(ctx, k, "snapshot", k.IsSnapshot(), func(ctx context.Context, p *pool, e entry) error {
		return s.drop(ctx, p, e.lv)
	})
}

// remove does what deleting volumes and snapshots have in common.
func (s *Store) remove(ctx context.Context, k Key, kind string, rightKind bool, work func(context.Context, *pool, entry) error) error {
	if !rightKind {
		return nil
	}
	_, err := fly(ctx, &s.flights, k.LV, "delete "+k.String(), func(ctx context.Context) (struct{}, error) {
		s.mu.RLock()
		p, e, err := s.find(k)
		s.mu.RUnlock()
		if errors.Is(err, ErrNotFound) {
			return struct{}{}, nil
		}
		if err == nil {
			err = work(ctx, p, e)
		}
		if err != nil {
			return struct{}{}, err
		}
		klog.FromContext(ctx).Info(kind+" deleted", kind, k)
		return struct{}{}, nil
	})
	return err
}

// drop removes a thin, which switches it off: what somebody has open cannot be
// switched off. One that is already gone is what was wanted.
func (s *Store) drop(ctx context.Context, p *pool, lv string) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	err = whileBusy(ctx, func() error {
		remove := s.LVM.Remove
		if s.entry(p, lv).active {
			remove = s.LVM.RemoveThin
		}
		return s.change(ctx, p, func(vg lvm.VG) error { return remove(ctx, vg, lv) }, func() { p.entries.remove(lv) })
	})
	if err == nil {
		s.spaceReturned(ctx, p)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// entry is the entry of that LV as it is now.
func (s *Store) entry(p *pool, lv string) entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, _ := p.entries.get(lv)
	return e
}

// giveBack discards the blocks of a thin volume, in bounded steps, before it
// is removed: removing alone tells the drive nothing. A volume that nobody
// wrote to has none. Others may change the VG meanwhile.
func (s *Store) giveBack(ctx context.Context, p *pool, e entry) error {
	s.mu.RLock()
	class := s.classOf(p)
	s.mu.RUnlock()
	if !class.GiveBack || e.state == Fresh || e.state == Quarantined {
		return nil
	}
	if err := s.reopen(ctx, p, e); err != nil {
		return err
	}
	err := whileBusy(ctx, func() error {
		err := s.Blocks.Discard(ctx, lvm.DevicePath(VGName(p.id), e.lv))
		if errors.Is(err, blockdev.ErrInUse) {
			return fmt.Errorf("%w: %w", ErrInUse, err)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrInUse) {
		// The drive loses a hint; the volume goes all the same.
		klog.FromContext(ctx).Error(err, "give blocks back to the drive", "lv", e.lv)
		return nil
	}
	return err
}

// reopen switches the LV off and on: a device that somebody has open cannot be
// switched off, and the change that is running keeps others from it after.
func (s *Store) reopen(ctx context.Context, p *pool, e entry) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if e.active {
		if err := s.deactivate(ctx, p, e); err != nil {
			return err
		}
	}
	return s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.Activate(ctx, vg, e.lv) }, func() { p.setActive(e.lv, true) })
}

// Forget gives up the VGs that are away: their volumes count as deleted from
// now on. It says which it gave up. match says which drives are meant.
func (s *Store) Forget(ctx context.Context, match func(PoolDrive) bool) ([]Pool, error) {
	var gone []Pool
	err := s.withHost(ctx, func(held *hostrecord.Held) error {
		rec, err := s.loadRecord()
		if err != nil {
			return err
		}
		if rec == nil {
			return fmt.Errorf("forget: this host has no store: %w", ErrPrecondition)
		}
		if gone, err = s.forget(rec, match); err != nil || len(gone) == 0 {
			return err
		}
		if _, err := held.Save(s.Machine, *rec); err != nil {
			return fmt.Errorf("record what was forgotten: %w", err)
		}
		return s.refresh(ctx, held)
	})
	return gone, err
}

// forget moves the matching VGs of the record to the forgotten ones.
func (s *Store) forget(rec *hostrecord.Record, match func(PoolDrive) bool) ([]Pool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var gone []Pool
	var kept []hostrecord.VG
	for _, vg := range rec.VGs {
		p := s.pools[vg.ID]
		if p == nil || !matches(p, match) {
			kept = append(kept, vg)
			continue
		}
		if !p.away {
			return nil, fmt.Errorf("forget %s: %w: its drive is in this node", VGName(p.id), ErrPrecondition)
		}
		rec.Forgotten = append(rec.Forgotten, hostrecord.Forgotten{VG: vg, At: s.now()})
		gone = append(gone, p.describe())
	}
	rec.VGs = kept
	return gone, nil
}

func matches(p *pool, match func(PoolDrive) bool) bool {
	for _, d := range p.drives {
		if match(d) {
			return true
		}
	}
	return false
}

// Adopt makes this host the node of the store whose drives are in it: it
// writes the host record. It returns the store key.
func Adopt(ctx context.Context, o Options) (string, error) {
	o.ReadOnly = true
	s, err := Open(ctx, o)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if s.key == "" {
		return "", fmt.Errorf("adopt: no drive of this node carries a store: %w", ErrPrecondition)
	}
	held, err := hostrecord.Lock(ctx, o.Dir)
	if err != nil {
		return "", err
	}
	defer held.Unlock()
	if rec, err := s.loadRecord(); err != nil || rec != nil {
		return s.key, err
	}
	rec := hostrecord.Record{StoreKey: s.key}
	for _, p := range s.pools {
		recordPool(&rec, p)
	}
	_, err = held.Replace(o.Machine, rec)
	return s.key, err
}

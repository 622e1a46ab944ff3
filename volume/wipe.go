package volume

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// A thick LV shows what its extents held before: another tenant's bytes, the
// drive's life before lvme, a removed pool. So in a VG with a thick share
// every free extent is zero, always:
//
//   - a new VG's free extents are all put into one LV, w-init, which is wiped;
//     then the VG gets the tag lvme:clean=yes, then w-init is removed. Without
//     the tag the VG has no room for thick volumes;
//   - a deleted thick volume is renamed to w-<random>, wiped, and removed; the
//     rename is the deletion, and what it takes counts as taken until the end;
//   - nothing else ever frees extents.
//
// An LV whose name begins with "w-" is thus nobody's, and wiping it may begin
// again at any time, after a crash for example.

// The wait after a wipe that failed: a command that was killed is made again soon,
// and what fails for good fills no log.
const (
	firstWipeRetry = time.Second
	lastWipeRetry  = time.Minute
)

// deleteThick deletes a thick volume by renaming it.
func (s *Store) deleteThick(ctx context.Context, p *pool, e entry) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if e := s.entry(p, e.lv); e.active {
		if err := s.deactivate(ctx, p, e); err != nil {
			return err
		}
	}
	doomed := wipePrefix + hostrecord.NewKey()
	err = s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Rename(ctx, vg, e.lv, doomed) }, func() {
		p.entries.remove(e.lv)
		p.wiping[doomed] = e.bytes
	})
	if err == nil {
		s.startWiper(p)
	}
	return err
}

// startWiper has the pool's LVs on their way out wiped in the background.
func (s *Store) startWiper(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Background || p.wiperRuns || len(p.wiping) == 0 || s.life.Err() != nil {
		return
	}
	p.wiperRuns = true
	s.background.Go(func() { s.wipeAll(s.life, p) })
}

// wipeAll works until nothing of the pool is left to wipe.
func (s *Store) wipeAll(ctx context.Context, p *pool) {
	retry := firstWipeRetry
	for {
		lv, more := s.nextWipe(ctx, p)
		if !more {
			return
		}
		err := s.wipe(ctx, p, lv)
		if err == nil || ctx.Err() != nil {
			retry = firstWipeRetry
			continue
		}
		klog.FromContext(ctx).Error(err, "wipe a deleted thick volume; will try again", "vg", VGName(p.id), "lv", lv, "in", retry)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		retry = min(2*retry, lastWipeRetry)
	}
}

// nextWipe is what to wipe next; when there is nothing the wiper has stopped.
func (s *Store) nextWipe(ctx context.Context, p *pool) (lv string, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p.wiping) == 0 || ctx.Err() != nil || p.away {
		p.wiperRuns = false
		return "", false
	}
	// Small ones first: their space is soon back.
	return slices.MinFunc(slices.Collect(maps.Keys(p.wiping)), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.wiping[a], p.wiping[b]), cmp.Compare(a, b))
	}), true
}

// wipe zeroes one LV and removes it. Others may change the VG meanwhile.
func (s *Store) wipe(ctx context.Context, p *pool, lv string) error {
	start := time.Now()
	work := context.WithoutCancel(ctx) // commands are never cut short, only the zeroing is
	err := p.exclusively(work, func() error {
		return s.apply(work, p, func(vg lvm.VG) error { return s.LVM.Activate(work, vg, lv) }, func() {})
	})
	if err != nil {
		return err
	}
	zeroErr := s.Blocks.Zero(ctx, lvm.DevicePath(VGName(p.id), lv), 0, 0)
	if zeroErr != nil {
		return zeroErr
	}
	if err := p.exclusively(work, func() error { return s.release(work, p, lv) }); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("wiped", "vg", VGName(p.id), "lv", lv, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// release frees the extents of an LV that was wiped; the pool's writer lock is
// held.
func (s *Store) release(ctx context.Context, p *pool, lv string) error {
	err := whileBusy(ctx, func() error {
		return s.apply(ctx, p, func(vg lvm.VG) error { return s.LVM.Deactivate(ctx, vg, lv) }, func() {})
	})
	if err != nil {
		return err
	}
	if p.legs() > 1 && lv != initWipeLV {
		if err := s.wipeRaidMetadata(ctx, p, lv); err != nil {
			return err
		}
	}
	if lv == initWipeLV {
		err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.ChangeVGTags(ctx, vg, []string{cleanTag}, nil) }, func() { p.tags.clean = true })
		if err != nil {
			return err
		}
	}
	if err := s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Remove(ctx, vg, lv) }, func() {}); err != nil {
		return err
	}
	// The report says what is free now, and that the LV is gone.
	return s.reload(ctx, p)
}

// wipeRaidMetadata zeroes what writing through a raid LV does not reach: the
// metadata extents of its legs. They are written on the drive itself, with the
// LV switched off, and the report that says where they are is taken under
// the lock that keeps everybody from moving them.
func (s *Store) wipeRaidMetadata(ctx context.Context, p *pool, lv string) error {
	report, err := s.LVM.Report(ctx, p.vg)
	if err != nil {
		return domainError(err)
	}
	for _, pv := range report.PVs {
		for _, seg := range pv.Segments {
			if !strings.HasPrefix(seg.LV, lv+"_rmeta_") {
				continue
			}
			offset, length := pv.PEStart+seg.Start*report.ExtentSize, seg.Count*report.ExtentSize
			if err := s.Blocks.ZeroShared(ctx, pv.Device, offset, length); err != nil {
				return fmt.Errorf("wipe raid metadata of %s: %w", lv, err)
			}
		}
	}
	return nil
}

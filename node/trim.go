package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

const (
	// trimStep is how much of a filesystem is trimmed at a time: a pool that
	// unmaps much at once keeps everybody else's first writes waiting, and a
	// filesystem cannot be unmounted while it trims.
	trimStep = 1 << 30
	// trimPause is the least time between two steps. It is at least as long as
	// the step took, so that half of the drive's time is left to others.
	trimPause = 20 * time.Millisecond
	// trimWait is how long a step is waited for. On a drive that hangs it holds a
	// goroutine, and the filesystem, until the drive answers.
	trimWait = 5 * time.Minute
)

// Trimmed is what was trimmed of one filesystem.
type Trimmed struct {
	Key   volume.Key
	Bytes int64 // that were given back
	Err   error
}

// Trim has every filesystem that is staged give back what it does not use, one
// after the other and each in steps. It tells each when it is done, and ends
// when ctx does. A filesystem that is staged or unstaged meanwhile is left
// alone from there on: its next turn comes. So is whatever is in a pool that is
// out of reach, or does not answer one of them in time.
func (s *Service) Trim(ctx context.Context, tell func(Trimmed)) error {
	volumes, err := s.store.Volumes(ctx)
	if err != nil {
		return fmt.Errorf("trim filesystems: %w", err)
	}
	silent := s.outOfReach(ctx)
	for _, v := range volumes {
		vg := volume.VGName(v.Key.VG)
		if !v.Active || v.Mode == volume.Block || silent[vg] {
			continue
		}
		bytes, err := s.trim(ctx, v.Key)
		silent[vg] = errors.Is(err, mount.ErrBroken)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, volume.ErrBusy) || errors.Is(err, mount.ErrBusy) || errors.Is(err, mount.ErrNoTrim) {
			err = nil
		}
		tell(Trimmed{Key: v.Key, Bytes: bytes, Err: err})
	}
	return nil
}

// outOfReach are the VGs of pools that do not work.
func (s *Service) outOfReach(ctx context.Context) map[string]bool {
	vgs := map[string]bool{}
	all, _ := s.store.StorageHealth(ctx)
	for _, h := range all {
		if h.Ailment.Effect == volume.Inaccessible {
			vgs[h.VG] = true
		}
	}
	return vgs
}

// trim trims the filesystem of one volume, if it is mounted for writing.
func (s *Service) trim(ctx context.Context, k volume.Key) (total int64, err error) {
	for offset := int64(0); ; offset += trimStep {
		start := time.Now()
		bytes, more, err := s.trimOnce(ctx, k, offset)
		total += bytes
		if err != nil || !more {
			return total, err
		}
		timer := time.NewTimer(max(time.Since(start), trimPause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return total, context.Cause(ctx)
		case <-timer.C:
		}
	}
}

// trimOnce trims one step; more says that there are further ones. No change of
// the volume is made meanwhile.
func (s *Service) trimOnce(ctx context.Context, k volume.Key, offset int64) (bytes int64, more bool, err error) {
	unlock, ok := s.changing.TryLock(k.String())
	if !ok {
		return 0, false, fmt.Errorf("trim volume %s: %w", k, volume.ErrBusy)
	}
	defer unlock()
	dev, err := s.device(k)
	if err != nil || dev == nil {
		return 0, false, err
	}
	table, err := s.host.Table()
	if err != nil {
		return 0, false, err
	}
	at := slices.IndexFunc(table, func(p mount.Point) bool { return p.Device == dev.Number && p.Holds() && !p.ReadOnly && !p.Failed })
	if at < 0 || offset >= dev.Bytes {
		return 0, false, nil
	}
	length := min(trimStep, dev.Bytes-offset)
	if table[at].FSType == mount.Btrfs {
		length = dev.Bytes // its addresses are not the device's
	}
	bytes, err = s.trims.do(ctx, table[at].Path, func(string) (int64, error) { return s.host.Trim(*dev, table[at], offset, length) })
	if err != nil {
		return 0, false, fmt.Errorf("trim volume %s: %w", k, domain(err))
	}
	return bytes, offset+length < dev.Bytes, nil
}

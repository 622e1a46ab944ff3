package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// NodeGetVolumeStats implements csi.NodeServer. It starts no program and
// takes no lock that a change of a volume holds.
func (s *Service) NodeGetVolumeStats(ctx context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "volume_path", req.GetVolumePath()); err != nil {
		return nil, err
	}
	u, err := s.use(ctx, req.GetVolumeId(), req.GetVolumePath(), req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	if u.volume.Mode == volume.Block {
		// What a block volume's user put on it is not for us to count.
		total := &csi.VolumeUsage{Unit: csi.VolumeUsage_BYTES, Total: u.dev.Bytes}
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{total}}, nil
	}
	stats, err := s.measures.do(ctx, u.at.Path, s.host.Stats)
	if err != nil {
		return nil, fmt.Errorf("statistics of volume %s: %w", u.volume.Key, domain(err))
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: usage(stats)}, nil
}

func usage(s mount.Stats) []*csi.VolumeUsage {
	all := []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: s.Bytes, Used: s.BytesUsed, Available: s.BytesFree}}
	if s.Inodes > 0 { // btrfs counts none
		all = append(all, &csi.VolumeUsage{Unit: csi.VolumeUsage_INODES, Total: s.Inodes, Used: s.InodesUsed, Available: s.InodesFree})
	}
	return all
}

// use is a volume where somebody uses it.
type use struct {
	volume volume.Volume
	dev    mount.Device
	// at is where; nil for a block volume that is named by its staging path,
	// at which nothing is put.
	at *mount.Point
}

// use finds the volume of that id at a path where it is published or staged.
// Anywhere else it is not found (CSI spec, NodeGetVolumeStats Errors).
func (s *Service) use(ctx context.Context, id, path, staging string) (use, error) {
	key, err := volumeKey(id)
	if err != nil {
		return use{}, err
	}
	v, err := s.store.Volume(ctx, key)
	if err != nil {
		return use{}, err
	}
	absent := fmt.Errorf("volume %s at %.200q: %w", key, path, volume.ErrNotFound)
	dev, err := s.device(key)
	if err != nil {
		return use{}, err
	}
	resolved, err := s.host.Resolve(path)
	if dev == nil || errors.Is(err, mount.ErrPath) || errors.Is(err, fs.ErrNotExist) {
		return use{}, absent
	}
	if err != nil {
		return use{}, err
	}
	at, err := s.mountedAt(key, resolved)
	switch {
	case errors.Is(err, volume.ErrPrecondition):
		return use{}, absent
	case err != nil:
		return use{}, err
	case at == nil && (v.Mode != volume.Block || path != staging):
		return use{}, absent
	}
	return use{volume: v, dev: *dev, at: at}, nil
}

// measures asks filesystems something and waits for each a bounded time. One
// that hangs holds one goroutine, however often it is asked, and nobody who asks
// another one.
type measures[T any] struct {
	wait    time.Duration
	mu      sync.Mutex
	running map[string]*measure[T]
}

type measure[T any] struct {
	done   chan struct{}
	answer T
	err    error
}

func (m *measures[T]) do(ctx context.Context, path string, ask func(string) (T, error)) (T, error) {
	var none T
	one := m.join(path, ask)
	timer := time.NewTimer(m.wait)
	defer timer.Stop()
	select {
	case <-one.done:
		return one.answer, one.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		return none, fmt.Errorf("%w: no answer in %s from %s", mount.ErrBroken, m.wait, path)
	}
}

// join returns the question that is being asked of path, asking it if it is not.
func (m *measures[T]) join(path string, ask func(string) (T, error)) *measure[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if one, ok := m.running[path]; ok {
		return one
	}
	if m.running == nil {
		m.running = map[string]*measure[T]{}
	}
	one := &measure[T]{done: make(chan struct{})}
	m.running[path] = one
	go func() {
		defer close(one.done)
		one.answer, one.err = ask(path)
		m.mu.Lock()
		delete(m.running, path)
		m.mu.Unlock()
	}()
	return one
}

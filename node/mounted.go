package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// device returns the device of a volume, nil while it is not active.
func (s *Service) device(k volume.Key) (*mount.Device, error) {
	dev, err := s.host.Device(s.store.DevicePath(k))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &dev, nil
}

// mountedAt returns the mount of the volume at path, nil when nothing is
// mounted there. Anything else that is mounted there is an error.
func (s *Service) mountedAt(k volume.Key, path string) (*mount.Point, error) {
	table, err := s.host.Table()
	if err != nil {
		return nil, err
	}
	p, mounted := table.At(path)
	if !mounted {
		return nil, nil
	}
	dev, err := s.device(k)
	if err != nil {
		return nil, err
	}
	// With its node gone the device is known by the name it was mounted by.
	if dev != nil && p.Device == dev.Number || dev == nil && p.Source == s.store.DevicePath(k) {
		return &p, nil
	}
	return nil, otherMount(p)
}

func otherMount(p mount.Point) error {
	return fmt.Errorf("%w: something else is mounted at %s: %s (%s)", volume.ErrPrecondition, p.Path, p.Source, p.FSType)
}

// nothingAt is for ids that name no volume: there is nothing to undo, and what
// is mounted at path is not touched.
func (s *Service) nothingAt(path string) error {
	table, err := s.host.Table()
	if err != nil {
		return err
	}
	if p, mounted := table.At(path); mounted {
		return otherMount(p)
	}
	return nil
}

// maxStacked bounds how many mounts of a volume on top of each other are
// taken off in one call.
const maxStacked = 16

// unmountAll unmounts the volume from path, and nothing else. A path of ""
// does not exist.
func (s *Service) unmountAll(ctx context.Context, k volume.Key, path string) error {
	for range maxStacked {
		p, err := s.mountedAt(k, path)
		if err != nil || p == nil {
			return err
		}
		if err := s.host.Unmount(ctx, path); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more than %d mounts at %s", volume.ErrInUse, maxStacked, path)
}

package lvm

import (
	"context"
	"errors"
	"fmt"

	"github.com/lvme/lvme/internal/dm"
)

// Extend grows an LV or a pool's data to size bytes. An LV that already has
// that size or more is left alone, without error. The filesystem in it is not
// touched. What a thick LV gains is not wiped. An inactive thin needs no
// active pool. One command.
//
// Growing a pool may grow its metadata too, even when the data then turns out
// not to fit: read the VG again after it, whatever the result.
func (l *LVM) Extend(ctx context.Context, vg VG, lv string, size int64) error {
	return l.extend(ctx, vg, lv, "-L", size)
}

func (l *LVM) extend(ctx context.Context, vg VG, lv, what string, size int64) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	if size <= 0 || size%sectorSize != 0 {
		return fmt.Errorf("extend %s: %w: %d bytes is not a multiple of %d above 0", path, ErrInvalid, size, sectorSize)
	}
	err = l.change(ctx, vg, "lvextend", what, sizeArg(size), path)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("extend %s to %d bytes: %w", path, size, err)
	}
	return nil
}

// Remove deletes an inactive LV or pool; an active one is ErrInUse, and so is
// a pool that still has thins: nothing is deleted beyond what is named. The
// snapshots of an LV live on. ErrNotFound is for the caller to take as done.
// One command.
//
// With ErrTransaction and ErrNeedsRepair the LV is gone from the VG all the
// same, while the pool keeps its blocks until somebody has mended it.
func (l *LVM) Remove(ctx context.Context, vg VG, lv string) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	// No --yes: LVM asks before it removes an active LV, or the thins of a
	// pool, and without an answer it does not.
	if err := l.change(ctx, vg, "lvremove", path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// RemoveThin deletes a thin as Remove does, and switches it off first if it is
// active: one that somebody has open is ErrInUse. One command, and two where
// the kernel does not say that its device is a thin.
func (l *LVM) RemoveThin(ctx context.Context, vg VG, lv string) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	targets, err := l.status(ctx, dm.DeviceName(vg.Name, lv))
	switch {
	case errors.Is(err, dm.ErrNotFound):
		return l.Remove(ctx, vg, lv)
	case errors.Is(err, ErrSilent):
		return fmt.Errorf("remove %s: %w", path, err)
	case err != nil || len(targets) != 1 || targets[0].Type != "thin":
		if err := l.Deactivate(ctx, vg, lv); err != nil {
			return err
		}
		return l.Remove(ctx, vg, lv)
	}
	// --yes: LVM asks whether an active LV is meant. Of a pool it would take the
	// thins as well, and this is none.
	if err := l.change(ctx, vg, "lvremove", "--yes", path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// Rename gives an LV another name within its VG. One command.
func (l *LVM) Rename(ctx context.Context, vg VG, from, to string) error {
	if _, err := vg.path(from); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if err := ValidName(vg.Name, to); err != nil {
		return fmt.Errorf("rename %s/%s: %w", vg.Name, from, err)
	}
	if err := l.change(ctx, vg, "lvrename", vg.Name, from, to); err != nil {
		return fmt.Errorf("rename %s/%s to %s: %w", vg.Name, from, to, err)
	}
	return nil
}

// ChangeTags adds and removes tags of an LV, both in one command. A tag that
// is already there, or already gone, is no error.
func (l *LVM) ChangeTags(ctx context.Context, vg VG, lv string, add, del []string) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("change tags: %w", err)
	}
	if err := l.changeTags(ctx, "lvchange", vg, path, add, del); err != nil {
		return fmt.Errorf("change tags of %s: %w", path, err)
	}
	return nil
}

// Activate makes an LV's or a pool's device appear, whatever its activation
// flags say. It believes the device and not the exit code: nil means that the
// kernel has a live device with a node under /dev/mapper, and that LVM did not
// name a reason, such as a missing drive, to distrust it. One command.
func (l *LVM) Activate(ctx context.Context, vg VG, lv string) error {
	return l.activate(ctx, vg, lv)
}

func (l *LVM) activate(ctx context.Context, vg VG, lv string, mode ...string) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("activate: %w", err)
	}
	said := l.toggle(ctx, vg, "lvchange", append(append([]string{"-ay", "-K"}, mode...), path)...)
	if said != nil && !inItsOwnWords(said) {
		return fmt.Errorf("activate %s: %w", path, said)
	}
	seen := l.usable(context.WithoutCancel(ctx), vg, lv)
	if seen == nil {
		return nil
	}
	return fmt.Errorf("activate %s: %w", path, errors.Join(said, seen))
}

// usable is nil when the kernel has a live device for the LV and udev a node.
func (l *LVM) usable(ctx context.Context, vg VG, lv string) error {
	info, err := l.kernel.Info(ctx, dm.DeviceName(vg.Name, lv))
	switch {
	case errors.Is(err, dm.ErrNotFound):
		return fmt.Errorf("%w: the kernel has no device for it", ErrInactive)
	case err != nil:
		return err
	case !info.Live || info.Suspended:
		return fmt.Errorf("%w: its device is suspended", ErrInactive)
	case info.Node == "":
		return fmt.Errorf("%w: udev has made no node %s", ErrInactive, DevicePath(vg.Name, lv))
	}
	return nil
}

// Deactivate makes the device go away. One that somebody has open is ErrInUse;
// one that is not active is no error. A pool whose thins are active stays up
// until the last of them goes. One command.
func (l *LVM) Deactivate(ctx context.Context, vg VG, lv string) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("deactivate: %w", err)
	}
	if err := l.toggle(ctx, vg, "lvchange", "-an", path); err != nil {
		return fmt.Errorf("deactivate %s: %w", path, err)
	}
	return nil
}

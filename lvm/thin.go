package lvm

import (
	"context"
	"fmt"
)

// ThinSpec describes an empty thin to be made.
type ThinSpec struct {
	Name, Pool string
	// Size is the virtual size in bytes. LVM rounds it up to whole extents:
	// see RoundUp.
	Size int64
	Tags []string
}

// SnapshotSpec describes a thin that begins as a copy of another.
type SnapshotSpec struct {
	Name, Origin string
	ReadOnly     bool
	// Tags are all the tags it gets; it inherits none.
	Tags []string
}

// CreateThin makes an empty thin and leaves it inactive. The pool should be
// active, or LVM switches it on and off around two checks of its metadata.
// It does the same with an active one that is to get its first thin, to put a
// layer of its own above it; those checks are left out, as the kernel works with
// that pool and would know. One command.
//
// LVM does not notice when the pool's kernel metadata already has a volume
// under the thin's number and hands out that volume's blocks: see ThinMapped.
func (l *LVM) CreateThin(ctx context.Context, vg VG, spec ThinSpec) error {
	if err := vg.newLV(spec.Name, spec.Size, spec.Tags); err != nil {
		return fmt.Errorf("create thin: %w", err)
	}
	pool, err := vg.path(spec.Pool)
	if err != nil {
		return fmt.Errorf("create thin %s: pool: %w", spec.Name, err)
	}
	args := []string{"-an", "-kn", "-V", sizeArg(spec.Size), "-n", spec.Name}
	args = append(append(args, addTags(spec.Tags)...), "-T", pool)
	config := settings
	if l.untouched(ctx, vg.Name, spec.Pool) {
		config = uncheckedSettings
	}
	if err := l.changeWith(ctx, vg, config, "lvcreate", args...); err != nil {
		return fmt.Errorf("create thin %s/%s of %d bytes: %w", vg.Name, spec.Name, spec.Size, err)
	}
	return nil
}

// Snapshot makes a thin snapshot, restore or clone of a thin, of the origin's
// size, inactive and without the flag that would have activation skip it. LVM
// freezes the filesystem of an active origin meanwhile. One command.
//
// ErrStaleThinID says that the pool holds a volume unknown to LVM under the
// next number, and that no snapshot was made. If the origin is active, every
// snapshot fails alike until a CreateThin has taken that number. If it is
// inactive, LVM has queued a delete of that volume, which its next change of
// the pool carries out: whoever wants to keep the volume must not change the
// pool again.
func (l *LVM) Snapshot(ctx context.Context, vg VG, spec SnapshotSpec) error {
	if err := vg.newLV(spec.Name, sectorSize, spec.Tags); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	origin, err := vg.path(spec.Origin)
	if err != nil {
		return fmt.Errorf("snapshot %s: origin: %w", spec.Name, err)
	}
	permission := "rw"
	if spec.ReadOnly {
		permission = "r"
	}
	args := []string{"-an", "-kn", "-p", permission, "-n", spec.Name}
	args = append(append(args, addTags(spec.Tags)...), "-s", origin)
	if err := l.change(ctx, vg, "lvcreate", args...); err != nil {
		return fmt.Errorf("snapshot %s/%s of %s: %w", vg.Name, spec.Name, spec.Origin, err)
	}
	return nil
}

package lvm

import "context"

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
//
// LVM does not notice when the pool's kernel metadata already has a volume
// under the thin's number and hands out that volume's blocks: see ThinMapped.
func (l *LVM) CreateThin(ctx context.Context, vg VG, spec ThinSpec) error { return errTODO }

// Snapshot makes a thin snapshot, restore or clone of a thin, of the origin's
// size, inactive and without the flag that would have activation skip it. LVM
// freezes the filesystem of an active origin meanwhile.
func (l *LVM) Snapshot(ctx context.Context, vg VG, spec SnapshotSpec) error { return errTODO }

package lvm

import "context"

// PoolSpec describes a thin pool to be made.
type PoolSpec struct {
	Name string
	// Size is that of its data and MetadataSize that of its metadata, of which
	// a spare of the same size is kept too; the VG must have room for
	// Size + 2 * MetadataSize, and twice that for a mirrored pool's two.
	Size, MetadataSize int64
	// ChunkSize is the unit of provisioning, a multiple of 64 KiB. It is
	// never left to LVM and cannot be changed.
	ChunkSize int64
	// Stripes spreads the data over so many drives when above 1, in steps of
	// StripeSize bytes.
	Stripes    int
	StripeSize int64
	Tags       []string
}

// CreatePool makes a thin pool that zeroes each new chunk, passes discards to
// the drive and fails writes when full rather than hang them. It is left
// active. One command.
func (l *LVM) CreatePool(ctx context.Context, vg VG, spec PoolSpec) error { return errTODO }

// CreateMirroredPool makes a thin pool whose data and metadata are raid1 over
// two drives. It takes several commands and finds out by a report which of
// them are done, so it may be called again after a crash at any point.
func (l *LVM) CreateMirroredPool(ctx context.Context, vg VG, spec PoolSpec) error { return errTODO }

// SetErrorWhenFull has an existing pool fail writes when it is full.
func (l *LVM) SetErrorWhenFull(ctx context.Context, vg VG, pool string) error { return errTODO }

// ExtendPoolMetadata grows a pool's metadata to size bytes, and its spare with it.
func (l *LVM) ExtendPoolMetadata(ctx context.Context, vg VG, pool string, size int64) error {
	return errTODO
}

package lvm

import (
	"context"
	"errors"
	"fmt"
)

// PoolSpec describes a thin pool to be made.
type PoolSpec struct {
	Name string
	// Size is that of its data and MetadataSize that of its metadata, of which
	// a spare of the same size is kept too: the VG needs room for
	// Size + 2 * MetadataSize, and a mirrored pool for twice the first two and
	// four extents more.
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

// Rounded is the size of the data that LVM makes in a VG of that extent size.
func (s PoolSpec) Rounded(extentSize int64) int64 {
	return RoundUp(s.Size, extentSize*int64(max(s.Stripes, 1)))
}

const chunkUnit = 64 << 10

func (s PoolSpec) check(vg VG) error {
	if err := vg.newLV(s.Name, s.Size, s.Tags); err != nil {
		return err
	}
	if s.ChunkSize < chunkUnit || s.ChunkSize%chunkUnit != 0 {
		return fmt.Errorf("%w: chunks of %d bytes: must be a multiple of %d", ErrInvalid, s.ChunkSize, chunkUnit)
	}
	if s.MetadataSize <= 0 || s.MetadataSize%sectorSize != 0 {
		return fmt.Errorf("%w: metadata of %d bytes: must be a multiple of %d above 0", ErrInvalid, s.MetadataSize, sectorSize)
	}
	return nil
}

// how are the arguments that lvcreate and lvconvert share.
func (s PoolSpec) how() []string {
	return []string{"--chunksize", sizeArg(s.ChunkSize), "--poolmetadataspare", "y", "--zero", "y", "--discards", "passdown"}
}

// CreatePool makes a thin pool that zeroes each new chunk, passes discards to
// the drive and fails writes when full rather than hang them. It is left
// active. One command.
func (l *LVM) CreatePool(ctx context.Context, vg VG, spec PoolSpec) error {
	if err := spec.check(vg); err != nil {
		return fmt.Errorf("create pool %s: %w", spec.Name, err)
	}
	args := append([]string{"-L", sizeArg(spec.Size), "--poolmetadatasize", sizeArg(spec.MetadataSize)}, spec.how()...)
	args = append(args, "--errorwhenfull", "y")
	if spec.Stripes > 1 {
		stripes, err := stripeArgs(spec.Stripes, spec.StripeSize)
		if err != nil {
			return fmt.Errorf("create pool %s: %w", spec.Name, err)
		}
		args = append(args, stripes...)
	}
	args = append(append(args, addTags(spec.Tags)...), "-T", vg.Name+"/"+spec.Name)
	if err := l.change(ctx, vg, "lvcreate", args...); err != nil {
		return fmt.Errorf("create pool %s/%s of %d bytes: %w", vg.Name, spec.Name, spec.Size, err)
	}
	return nil
}

// MirroredPoolMetadata is the name under which CreateMirroredPool prepares the
// metadata of a pool. LVM takes the LV into the pool, so that the name is seen
// only after a crash in between.
func MirroredPoolMetadata(pool string) string { return pool + ".meta" }

// CreateMirroredPool makes a thin pool whose data and metadata are raid1 over
// two drives, and activates it. Writes to it fail when it is full, as those of
// CreatePool do.
//
// It takes a report and up to four commands: the data LV, which has the pool's
// name from the start and raid1 as its SegType until it is a pool, the
// metadata LV, the conversion, the activation. It looks which of them are done,
// so it may be called again after a crash at any point.
func (l *LVM) CreateMirroredPool(ctx context.Context, vg VG, spec PoolSpec) error {
	if err := spec.check(vg); err != nil {
		return fmt.Errorf("create mirrored pool %s: %w", spec.Name, err)
	}
	if spec.Stripes > 1 {
		return fmt.Errorf("create mirrored pool %s: %w: it cannot be striped too", spec.Name, ErrInvalid)
	}
	if err := l.convergeMirroredPool(ctx, vg, spec); err != nil {
		return fmt.Errorf("create mirrored pool %s/%s of %d bytes: %w", vg.Name, spec.Name, spec.Size, err)
	}
	return nil
}

func (l *LVM) convergeMirroredPool(ctx context.Context, vg VG, spec PoolSpec) error {
	seen, err := l.Report(ctx, vg)
	if err != nil {
		return err
	}
	meta := MirroredPoolMetadata(spec.Name)
	data, made := seen.LV(spec.Name)
	if !made || data.SegType != "thin-pool" {
		err := errors.Join(
			l.ensureLeg(ctx, vg, seen, ThickSpec{Name: spec.Name, Size: spec.Size, Layout: Mirrored, Tags: spec.Tags}),
			l.ensureLeg(ctx, vg, seen, ThickSpec{Name: meta, Size: spec.MetadataSize, Layout: Mirrored}))
		if err != nil {
			return err
		}
		// --yes: the question is whether the contents of the two LVs made just
		// before may go.
		args := append([]string{"--yes", "--type", "thin-pool", "--poolmetadata", meta}, spec.how()...)
		if err := l.change(ctx, vg, "lvconvert", append(args, vg.Name+"/"+spec.Name)...); err != nil {
			return err
		}
	}
	return l.Activate(ctx, vg, spec.Name)
}

// ensureLeg makes the LV unless it is there, mirrored and of the right size.
func (l *LVM) ensureLeg(ctx context.Context, vg VG, seen VGReport, spec ThickSpec) error {
	lv, made := seen.LV(spec.Name)
	if !made {
		return l.CreateThick(ctx, vg, spec)
	}
	if lv.SegType != Mirrored.String() || lv.Size != spec.Rounded(seen.ExtentSize) {
		return fmt.Errorf("%w: %s is a %s LV of %d bytes", ErrExists, spec.Name, lv.SegType, lv.Size)
	}
	return nil
}

// SetErrorWhenFull has an existing pool fail writes when it is full. One
// command.
func (l *LVM) SetErrorWhenFull(ctx context.Context, vg VG, pool string) error {
	path, err := vg.path(pool)
	if err != nil {
		return fmt.Errorf("set pool to fail when full: %w", err)
	}
	err = l.change(ctx, vg, "lvchange", "--errorwhenfull", "y", path)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("set pool %s to fail when full: %w", path, err)
	}
	return nil
}

// ExtendPoolMetadata grows a pool's metadata to size bytes, and its spare with
// it. Metadata that already has that size or more is left alone. One command.
func (l *LVM) ExtendPoolMetadata(ctx context.Context, vg VG, pool string, size int64) error {
	return l.extend(ctx, vg, pool, "--poolmetadatasize", size)
}

package mount

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// slack is how much smaller than its device a full-grown filesystem may be:
// XFS leaves out a last allocation group of less than 64 blocks. LVM grows
// devices by 4 MiB at least.
const slack = 1 << 20

// Grow grows the filesystem that is mounted writable at target to the size of
// its device. For one that has that size already, no program is started. (The
// superblock may be read from an old page of XFS, which only starts a program
// that has nothing to do.)
func (h *Host) Grow(ctx context.Context, dev Device, fsType, target string) error {
	s, err := readSuper(dev.Path, fsType)
	if err != nil || s.bytes >= dev.Bytes-slack {
		return err
	}
	switch fsType {
	case Ext4:
		return h.change(ctx, "resize2fs", dev.Path)
	case XFS:
		return h.change(ctx, "xfs_growfs", "-d", target)
	case Btrfs:
		return h.change(ctx, "btrfs", "filesystem", "resize", "max", target)
	}
	return fmt.Errorf("grow: %q: %w", fsType, errors.ErrUnsupported)
}

// Prepare makes a filesystem that is mounted nowhere ready to be mounted.
//
// An ext4 that recorded errors is repaired as far as e2fsck -p dares; with
// more to repair it is ErrDamaged. Others are not checked: their journal or
// log is replayed by the mount, and a check that reads a whole drive at every
// start would only delay it. XFS and btrfs have no check that is safe to run
// unasked.
//
// clone is "" or a text that names this copy of a filesystem, and no other
// one, for ever. A btrfs gets an id of its own made from it: two of one id are
// one filesystem to the kernel. Doing so again changes nothing.
func (h *Host) Prepare(ctx context.Context, dev Device, fsType, clone string) error {
	s, err := readSuper(dev.Path, fsType)
	if err != nil {
		return err
	}
	switch {
	case fsType == Ext4 && s.damaged:
		return h.repairExt4(ctx, dev.Path)
	case fsType == Btrfs && clone != "" && s.id != cloneID(clone):
		return h.identify(ctx, dev.Path, cloneID(clone), s.log)
	}
	return nil
}

// identify gives a btrfs an id. It is written into the superblocks alone
// (Linux 5.0), but as a transaction of its own, and a log that was not
// replayed before cannot be read after it: the filesystem would never be
// mounted again. A snapshot of a source that is in use has no log; one of a
// source that lost its power has.
func (h *Host) identify(ctx context.Context, dev string, id [16]byte, log bool) error {
	if log {
		if err := replay(dev); err != nil {
			return err
		}
		if s, err := readSuper(dev, Btrfs); err != nil || s.log {
			return errors.Join(fmt.Errorf("%s still has a log after its replay", dev), err)
		}
	}
	return h.change(ctx, "btrfstune", "-M", uuid(id), dev)
}

// replay has the kernel replay the log of a btrfs. It is mounted without a
// place, so that nothing of it is left if this process ends. Beside its
// mounted source that needs Linux 6.7.
func replay(dev string) error {
	fd, err := unix.Fsopen(Btrfs, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("replay the log of %s: %w", dev, err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetString(fd, "source", dev); err != nil {
		return fmt.Errorf("replay the log of %s: %w", dev, err)
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("replay the log of %s (is its source in use? then unstage that first): %w", dev, err)
	}
	return nil
}

// repairExt4 knows e2fsck's exit codes: 1 and 2 are "all corrected".
func (h *Host) repairExt4(ctx context.Context, dev string) error {
	err := h.change(ctx, "e2fsck", "-p", dev)
	var failure *CommandError
	switch {
	case errors.As(err, &failure) && failure.Code <= 3:
		return nil
	case errors.As(err, &failure) && failure.Code&4 != 0:
		return fmt.Errorf("%s: %w; take a snapshot, then run e2fsck by hand: %s", dev, ErrDamaged, oneLine(failure.Stderr))
	}
	return err
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cloneID makes a UUID of version 8, "vendor specific" (RFC 9562), of a text.
func cloneID(text string) [16]byte {
	sum := sha256.Sum256([]byte("lvme filesystem " + text))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

func uuid(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

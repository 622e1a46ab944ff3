package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
)

// Device looks at a device node. A missing one is fs.ErrNotExist. The device
// itself is not opened, so that a dead one cannot hold the caller.
func (h *Host) Device(path string) (Device, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return Device{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Device{}, fmt.Errorf("%s is no block device", path)
	}
	n := number(stat.Rdev)
	text, err := os.ReadFile(h.block(n) + "/size")
	if err != nil {
		return Device{}, fmt.Errorf("size of %s: %w", path, err)
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return Device{}, fmt.Errorf("size of %s: %w", path, err)
	}
	return Device{Path: path, Number: n, Bytes: sectors * 512}, nil // sysfs counts 512 bytes whatever the drive has
}

func (h *Host) block(n Number) string { return h.sys + "/dev/block/" + n.String() }

// patience is for how many seconds XFS repeats a metadata write that failed
// before it shuts the filesystem down, by the kind of error. By default it
// repeats it for ever, and everybody hangs who writes, syncs or unmounts.
//
// ENOSPC is a thin pool that is full: the agent looks at it within a second and
// extends it with one command, which may wait for others; half a minute is
// several times that. EIO and all others are a drive: its driver has repeated the
// write and reset the drive before it says so, so that little more can be hoped
// for; but an error that passes should not cost a filesystem. A drive that is gone
// (ENODEV) is given up at once by default.
var patience = map[string]string{"default": "10", "EIO": "10", "ENOSPC": "30"}

// Tune sets what the kernel forgets with each activation or mount: the
// device's read-ahead in KiB (0 leaves it), and how long XFS retries. ext4 and
// btrfs need nothing: they give up at the first metadata write that fails, and
// make themselves read-only.
func (h *Host) Tune(dev Device, fsType string, readAheadKiB int) error {
	if readAheadKiB > 0 {
		if err := set(h.block(dev.Number)+"/queue/read_ahead_kb", strconv.Itoa(readAheadKiB)); err != nil {
			return err
		}
	}
	if fsType != XFS {
		return nil
	}
	disk, err := filepath.EvalSymlinks(h.block(dev.Number))
	if err != nil {
		return err
	}
	dir := h.sys + "/fs/xfs/" + filepath.Base(disk) + "/error"
	for class, seconds := range patience {
		of := dir + "/metadata/" + class
		// Time alone counts: how often it tries in it depends on what it has to do.
		if err := errors.Join(set(of+"/max_retries", "-1"), set(of+"/retry_timeout_seconds", seconds)); err != nil {
			return err
		}
	}
	// Who unmounts does not wait for that either.
	return set(dir+"/fail_at_unmount", "1")
}

func set(file, value string) error {
	// No O_CREATE: on a host without the setting it is an error that names it.
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("set %s to %s: %w", file, value, err)
	}
	return nil
}

// Stats is what a filesystem says of its space. Bytes are those that anyone
// but root can use; Inodes are all 0 where the filesystem counts none.
type Stats struct {
	Bytes, BytesUsed, BytesFree    int64
	Inodes, InodesUsed, InodesFree int64
}

// Stats asks the filesystem that is mounted at path. A filesystem that does
// not answer any more is ErrBroken; one that hangs holds the caller.
func (h *Host) Stats(path string) (Stats, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		if mountutils.IsCorruptedMnt(err) {
			return Stats{}, fmt.Errorf("%w: statfs %s: %w", ErrBroken, path, err)
		}
		return Stats{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	unit := s.Frsize
	return Stats{
		Bytes: int64(s.Blocks) * unit, BytesUsed: int64(s.Blocks-s.Bfree) * unit, BytesFree: int64(s.Bavail) * unit,
		Inodes: int64(s.Files), InodesUsed: int64(s.Files - s.Ffree), InodesFree: int64(s.Ffree),
	}, nil
}

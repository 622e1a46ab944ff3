package mount

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoTrim: a device that takes no blocks back, or a filesystem that gives none.
var ErrNoTrim = errors.New("blocks cannot be given back")

// trimRange is struct fstrim_range of linux/fs.h.
type trimRange struct{ start, length, least uint64 }

// ioctlTrim is FITRIM of linux/fs.h: _IOWR('X', 121, struct fstrim_range).
const ioctlTrim = 0xc0185879

// Trim has the filesystem of dev that is mounted at p give back to the device
// what it does not use of length bytes from offset on, and returns how many
// bytes that were. The filesystem cannot be unmounted meanwhile: a part of it
// takes little time, all of it may take minutes.
func (h *Host) Trim(dev Device, p Point, offset, length int64) (int64, error) {
	dir, err := os.OpenFile(p.Path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	// Now it stays mounted, if it still was.
	table, err := h.Table()
	if err != nil {
		return 0, err
	}
	if at, mounted := table.At(p.Path); !mounted || at.Device != dev.Number {
		return 0, fmt.Errorf("trim %s: %w: it is no longer mounted there", dev.Path, ErrBusy)
	}
	r := trimRange{start: uint64(offset), length: uint64(length)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ioctlTrim, uintptr(unsafe.Pointer(&r)))
	err = errno
	switch {
	case errno == 0:
		return int64(r.length), nil
	case errors.Is(err, unix.EINVAL):
		// ext4 and XFS say so of a part that begins behind their last block.
		return 0, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
		return 0, fmt.Errorf("trim %s: %w: %w", p.Path, ErrNoTrim, err)
	}
	return 0, fmt.Errorf("trim %s, bytes %d to %d: %w", p.Path, offset, offset+length, err)
}

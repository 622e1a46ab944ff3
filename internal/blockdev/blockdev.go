// Package blockdev gives back and overwrites the blocks of a block device
// through the kernel's ioctls, in bounded steps: one request for terabytes
// would hold up everybody else's I/O on the drive.
//
// It decides nothing about which device that may be done to.
package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Step is how many bytes are discarded or zeroed by one request: 1 GiB, after
// which others get their turn and a cancelled caller gets its answer.
const Step = 1 << 30

// ErrInUse reports that somebody else has the device open exclusively: it is
// mounted, or below another device.
var ErrInUse = errors.New("device in use")

// Host works on this host's devices.
type Host struct{}

// Discard gives all blocks of the device back. A device that cannot discard is
// left as it is. Nobody else may have it mounted: ErrInUse.
func (Host) Discard(ctx context.Context, path string) error {
	err := eachStep(ctx, path, 0, 0, unix.BLKDISCARD)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return wrap("discard", path, err)
}

// Zero overwrites length bytes from offset on with zeros and waits until they
// are on the drive; length 0 means to the end. Drives that know Write Zeroes
// do it themselves, for others the kernel writes.
func (Host) Zero(ctx context.Context, path string, offset, length int64) error {
	return wrap("zero", path, eachStep(ctx, path, offset, length, unix.BLKZEROOUT))
}

// ZeroShared is Zero for a part of a device that others use other parts of.
func (Host) ZeroShared(ctx context.Context, path string, offset, length int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return wrap("zero", path, err)
	}
	defer f.Close()
	return wrap("zero", path, steps(ctx, f, offset, offset+length, unix.BLKZEROOUT))
}

func eachStep(ctx context.Context, path string, offset, length int64, request uint) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return err
	}
	end := size
	if length > 0 {
		end = offset + length
	}
	if offset < 0 || end > size {
		return fmt.Errorf("bytes %d to %d of a device of %d", offset, end, size)
	}
	return steps(ctx, f, offset, end, request)
}

func steps(ctx context.Context, f *os.File, offset, end int64, request uint) error {
	for ; offset < end; offset += Step {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		span := [2]uint64{uint64(offset), uint64(min(Step, end-offset))}
		if err := ioctl(f, request, unsafe.Pointer(&span)); err != nil {
			return fmt.Errorf("bytes %d to %d: %w", offset, offset+int64(span[1]), err)
		}
	}
	return f.Sync()
}

// Size is the size of the device in bytes.
func Size(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, wrap("size of", path, err)
	}
	defer f.Close()
	size, err := sizeOf(f)
	return size, wrap("size of", path, err)
}

func sizeOf(f *os.File) (int64, error) {
	var size uint64
	if err := ioctl(f, unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return 0, fmt.Errorf("BLKGETSIZE64: %w", err)
	}
	return int64(size), nil
}

func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func wrap(what, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, path, err)
}

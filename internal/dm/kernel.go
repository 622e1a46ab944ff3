package dm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const control = Dir + "/control"

// The commands of linux/dm-ioctl.h that read.
const (
	cmdList   = 2
	cmdInfo   = 7
	cmdDeps   = 11
	cmdStatus = 12
)

// The flags of linux/dm-ioctl.h that matter to a reader.
const (
	flagReadOnly   = 1 << 0
	flagSuspended  = 1 << 1
	flagLive       = 1 << 5
	flagBufferFull = 1 << 8
	// flagNoFlush keeps a status of a thin pool from committing its metadata.
	flagNoFlush = 1 << 11
)

const (
	headerSize = 312
	firstBuf   = 16 << 10
	maxBuf     = 16 << 20
)

// header is struct dm_ioctl.
type header struct {
	Version   [3]uint32
	DataSize  uint32
	DataStart uint32
	Targets   uint32
	Opened    int32
	Flags     uint32
	Event     uint32
	_         uint32
	Dev       uint64
	Name      [128]byte
	UUID      [129]byte
	_         [7]byte
}

// Open is this host's kernel. The control node is opened at the
// first reading, so that Open itself cannot fail.
func Open() Kernel { return &kernel{} }

type kernel struct {
	mu      sync.Mutex
	control *os.File
}

// Status implements Kernel.
func (k *kernel) Status(ctx context.Context, name string) ([]Target, error) {
	h, data, err := k.ask(ctx, cmdStatus, name)
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", name, err)
	}
	targets, err := parseTargets(data, int(h.Targets))
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", name, err)
	}
	return targets, nil
}

// Info implements Kernel.
func (k *kernel) Info(ctx context.Context, name string) (Info, error) {
	h, _, err := k.ask(ctx, cmdInfo, name)
	if err != nil {
		return Info{}, fmt.Errorf("state of %s: %w", name, err)
	}
	info := Info{
		Name: name, UUID: text(h.UUID[:]), Major: unix.Major(h.Dev), Minor: unix.Minor(h.Dev), Opened: int(h.Opened),
		Live: h.Flags&flagLive != 0, Suspended: h.Flags&flagSuspended != 0, ReadOnly: h.Flags&flagReadOnly != 0,
	}
	var st unix.Stat_t
	if err := unix.Stat(Path(name), &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK &&
		unix.Major(st.Rdev) == info.Major && unix.Minor(st.Rdev) == info.Minor {
		info.Node = Path(name)
	}
	return info, nil
}

// Deps implements Kernel.
func (k *kernel) Deps(ctx context.Context, name string) ([]Dep, error) {
	_, data, err := k.ask(ctx, cmdDeps, name)
	if err != nil {
		return nil, fmt.Errorf("what %s is made of: %w", name, err)
	}
	deps, err := parseDeps(data)
	if err != nil {
		return nil, fmt.Errorf("what %s is made of: %w", name, err)
	}
	for i, d := range deps {
		_, err := os.Lstat(fmt.Sprintf("/sys/dev/block/%d:%d", d.Major, d.Minor))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("what %s is made of: %w", name, err)
		}
		deps[i].Gone = err != nil
	}
	return deps, nil
}

// Names implements Kernel.
func (k *kernel) Names(ctx context.Context) ([]string, error) {
	_, data, err := k.ask(ctx, cmdList, "")
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	names, err := parseNames(data)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// Present implements Kernel.
func (*kernel) Present(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, ErrNotFound)
	case err != nil:
		return err
	case info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0:
		return fmt.Errorf("%s is not a block device: %w", path, ErrNotFound)
	}
	return nil
}

// ask makes one ioctl, with a larger buffer as long as the answer does not fit.
func (k *kernel) ask(ctx context.Context, cmd uintptr, name string) (header, []byte, error) {
	if err := ctx.Err(); err != nil {
		return header{}, nil, err
	}
	if len(name) > MaxName {
		return header{}, nil, fmt.Errorf("%w: the name is longer than %d bytes", ErrNotFound, MaxName)
	}
	f, err := k.open()
	if err != nil {
		return header{}, nil, err
	}
	for size := firstBuf; size <= maxBuf; size *= 4 {
		h, data, err := call(f, cmd, name, size)
		if err != nil || h.Flags&flagBufferFull == 0 {
			return h, data, err
		}
	}
	return header{}, nil, fmt.Errorf("answer of more than %d bytes", maxBuf)
}

func (k *kernel) open() (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.control != nil {
		return k.control, nil
	}
	f, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	k.control = f
	return f, nil
}

func call(f *os.File, cmd uintptr, name string, size int) (header, []byte, error) {
	// A slice of 64 bit words, since the kernel's structure wants their alignment.
	words := make([]uint64, size/8)
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)
	h := (*header)(unsafe.Pointer(&words[0]))
	*h = header{Version: [3]uint32{4, 0, 0}, DataSize: uint32(size), DataStart: headerSize, Flags: flagNoFlush}
	copy(h.Name[:MaxName], name)
	// _IOWR(0xfd, cmd, struct dm_ioctl)
	req := 3<<30 | uintptr(headerSize)<<16 | 0xfd<<8 | cmd
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, uintptr(unsafe.Pointer(&words[0])))
	switch {
	case errno == unix.ENXIO:
		return header{}, nil, ErrNotFound
	case errno != 0:
		return header{}, nil, fmt.Errorf("device-mapper ioctl %d: %w", cmd, errno)
	case h.Flags&flagBufferFull != 0:
		return *h, nil, nil
	case h.DataSize < h.DataStart:
		// An answer that is the header alone: the kernel counts it shorter
		// than C rounds it up.
		return *h, nil, nil
	case int(h.DataSize) > size:
		return header{}, nil, fmt.Errorf("answer from %d to %d in a buffer of %d bytes", h.DataStart, h.DataSize, size)
	}
	return *h, buf[h.DataStart:h.DataSize], nil
}

const (
	sector     = 512
	specSize   = 40 // struct dm_target_spec
	nameOffset = 12 // of name in struct dm_name_list
)

// parseTargets reads count times struct dm_target_spec, each followed by its
// text; next is the offset of the following one from the start of data.
func parseTargets(data []byte, count int) ([]Target, error) {
	var targets []Target
	at := 0
	for i := range count {
		if at < 0 || at+specSize > len(data) {
			return nil, fmt.Errorf("target %d of %d lies outside of the answer", i+1, count)
		}
		spec := data[at:]
		start, length := binary.NativeEndian.Uint64(spec), binary.NativeEndian.Uint64(spec[8:])
		if start > 1<<53 || length > 1<<53 {
			return nil, fmt.Errorf("target %d of %d has impossible bounds", i+1, count)
		}
		targets = append(targets, Target{
			Start: int64(start) * sector, Length: int64(length) * sector,
			Type: text(spec[24:specSize]), Params: text(spec[specSize:]),
		})
		next := int(binary.NativeEndian.Uint32(spec[20:]))
		if i+1 < count && next <= at {
			return nil, fmt.Errorf("target %d of %d is followed by none", i+1, count)
		}
		at = next
	}
	return targets, nil
}

// parseNames reads a chain of struct dm_name_list; next is the distance to the
// following one, 0 at the last. No data, or a first one without a device
// number, means none.
func parseNames(data []byte) ([]string, error) {
	var names []string
	if len(data) == 0 {
		return nil, nil
	}
	for at := 0; ; {
		if at+nameOffset > len(data) {
			return nil, fmt.Errorf("name %d lies outside of the answer", len(names)+1)
		}
		if binary.NativeEndian.Uint64(data[at:]) == 0 {
			return names, nil
		}
		names = append(names, text(data[at+nameOffset:]))
		next := int(binary.NativeEndian.Uint32(data[at+8:]))
		if next == 0 {
			return names, nil
		}
		at += next
	}
}

// parseDeps reads struct dm_target_deps: a count, then the numbers. A device
// without a table has no data.
func parseDeps(data []byte) ([]Dep, error) {
	const head, each = 8, 8
	if len(data) == 0 {
		return nil, nil
	}
	if len(data) < head {
		return nil, fmt.Errorf("answer of %d bytes", len(data))
	}
	count := int(binary.NativeEndian.Uint32(data))
	if count > (len(data)-head)/each {
		return nil, fmt.Errorf("%d devices in %d bytes", count, len(data))
	}
	deps := make([]Dep, 0, count)
	for i := range count {
		number := binary.NativeEndian.Uint64(data[head+i*each:])
		deps = append(deps, Dep{Major: unix.Major(number), Minor: unix.Minor(number)})
	}
	return deps, nil
}

// text is a string of the kernel's, up to its terminating zero.
func text(b []byte) string {
	if end := slices.Index(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

package dm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cmdDeps is DM_TABLE_DEPS of linux/dm-ioctl.h.
const cmdDeps = 11

// Deps implements Reader.
func (k *kernel) Deps(ctx context.Context, name string) ([]Dep, error) {
	_, data, err := k.ask(ctx, cmdDeps, name)
	if err != nil {
		return nil, fmt.Errorf("devices below %s: %w", name, err)
	}
	all, err := parseDeps(data)
	if err != nil {
		return nil, fmt.Errorf("devices below %s: %w", name, err)
	}
	for i, u := range all {
		_, err := os.Stat(fmt.Sprintf("/sys/dev/block/%d:%d", u.Major, u.Minor))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("devices below %s: %w", name, err)
		}
		all[i].Gone = err != nil
	}
	return all, nil
}

// parseDeps reads struct dm_target_deps: a count, padding, and the numbers of
// so many devices. No data is no device.
func parseDeps(data []byte) ([]Dep, error) {
	const head, each = 8, 8
	if len(data) < head {
		return nil, nil
	}
	n := binary.NativeEndian.Uint32(data)
	if uint64(len(data)-head) < uint64(n)*each {
		return nil, fmt.Errorf("%d devices do not fit into the answer of %d bytes", n, len(data))
	}
	var all []Dep
	for i := range int(n) {
		dev := binary.NativeEndian.Uint64(data[head+i*each:])
		all = append(all, Dep{Major: unix.Major(dev), Minor: unix.Minor(dev)})
	}
	return all, nil
}

// pageSize is what reads past the page cache are aligned to.
const pageSize = 4096

// Read implements Reader. What others have written past the page cache is seen,
// and nothing of what is read stays in it.
func (*kernel) Read(ctx context.Context, path string, offset int64, n int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, n+pageSize)
	at := int(pageSize-uintptr(unsafe.Pointer(&raw[0]))%pageSize) % pageSize
	if _, err := f.ReadAt(raw[at:at+n], offset); err != nil {
		return nil, err
	}
	return raw[at : at+n], nil
}

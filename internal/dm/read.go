package dm

import (
	"context"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageSize is what reads past the page cache are aligned to.
const pageSize = 4096

// Read implements Kernel. What others have written past the page cache is seen,
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

// Flush implements Kernel. The kernel leaves it at that when the drive has no
// volatile cache.
func (*kernel) Flush(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

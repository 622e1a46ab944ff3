package speed

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is the size of the I/Os that are counted, and what memory for them is aligned to.
const page = 4 * kib

// direct is a device that is open past the page cache.
type direct struct {
	*os.File
	number string // 253:4
}

// openDirect opens a device.
func openDirect(path string, write bool) (*direct, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	number, err := deviceNumber(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &direct{f, number}, nil
}

func deviceNumber(f *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is no block device", f.Name())
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// Datasync has the drive keep what was written.
func (d *direct) Datasync() error { return unix.Fdatasync(int(d.Fd())) }

// buffer is memory that begins at a page, as I/O past the page cache wants it.
func buffer(n int) []byte {
	b := make([]byte, n+page)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (page - 1)
	return b[skip : skip+n]
}

package run

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// output is what a program says, kept in files in memory. With a pipe the end
// of this process would be the end of the program as well: the next line that
// it says would kill it (SIGPIPE), LVM in the middle of a change too.
type output struct{ stdout, stderr *os.File }

func newOutput() (o output, err error) {
	if o.stdout, err = memory("stdout"); err != nil {
		return o, err
	}
	if o.stderr, err = memory("stderr"); err != nil {
		_ = o.stdout.Close()
	}
	return o, err
}

func memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (o output) out() []byte { return content(o.stdout) }
func (o output) err() []byte { return content(o.stderr) }

// content is what was written so far. Reading memory does not fail.
func content(f *os.File) []byte {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	b := make([]byte, size)
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}

func (o output) close() {
	_ = o.stdout.Close()
	_ = o.stderr.Close()
}

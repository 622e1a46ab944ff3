package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is what fits into a sockaddr_un beside its final zero byte.
	maxSocketPath = 107
	// dialTimeout bounds the question whether somebody listens already.
	dialTimeout = time.Second
)

// ErrSocketInUse says that another process listens on the socket.
var ErrSocketInUse = errors.New("another process listens on it")

// Listen makes a Unix socket that only this user can reach: directory 0700,
// socket 0600. A socket that a dead process left is removed, one that is
// listened on is an ErrSocketInUse. Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, at most %d are possible", path, len(path), maxSocketPath)
	}
	unlock, err := privateDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

// privateDir makes dir reachable for this user alone and locks it until unlock
// is called, so that of two processes that start at once neither takes the
// other's fresh socket for a stale one.
func privateDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	if err := tighten(d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { _ = d.Close() }, nil
}

// tighten takes others' access away from a directory that holds nothing but
// sockets, as the kubelet makes it. Any other directory is somebody else's
// (/run, /tmp) and is refused.
func tighten(d *os.File) error {
	info, err := d.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type() != fs.ModeSocket {
			return fmt.Errorf("directory %s is open to others (mode %04o) and holds other files such as %s: choose a directory of its own",
				d.Name(), info.Mode().Perm(), e.Name())
		}
	}
	return d.Chmod(0o700)
}

// removeStale removes what a dead process left at path. Only a refused
// connection proves that nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("exists and is no socket (%s): remove it or choose another path", info.Mode())
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	if err == nil {
		_ = c.Close()
	}
	return ErrSocketInUse
}

package speed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/blockdev"
	"github.com/lvme/lvme/internal/run"
)

// Host is the machine and the agent on it.
type Host struct {
	Runner     run.Runner
	Controller csi.ControllerClient
	Node       csi.NodeClient
	Sys        fs.FS // /sys

	kubeletDir, runDir string

	open    func(path string, write bool) (*direct, error)
	number  func(path string) ([2]uint32, error)
	discard func(ctx context.Context, path string) error
}

// ThisHost is this machine. The agent answers on conn, and mounts volumes below kubeletDir; what runs at a time is told by
// files in runDir, which a boot empties.
func ThisHost(runner run.Runner, conn grpc.ClientConnInterface, kubeletDir, runDir string) Host {
	return Host{
		Runner: runner, Controller: csi.NewControllerClient(conn), Node: csi.NewNodeClient(conn), Sys: os.DirFS("/sys"),
		kubeletDir: kubeletDir, runDir: runDir,
		open: openDirect, number: numberOf, discard: blockdev.Host{}.Discard,
	}
}

// numberOf is the number of the device at path, or of the device that is mounted there.
func numberOf(path string) ([2]uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return [2]uint32{}, fmt.Errorf("stat %s: %w", path, err)
	}
	of := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		of = st.Rdev
	}
	return [2]uint32{unix.Major(of), unix.Minor(of)}, nil
}

// dir is the directory of a volume's paths.
func (h Host) dir(lv string) string {
	return filepath.Join(h.kubeletDir, "plugins", driver.Name, "bench", lv)
}

// The locks. A run holds runLock; each fio holds ioLock, and goes on to hold it when its run was killed.
const (
	runLock = "bench.lock"
	ioLock  = "bench-io.lock"
)

func (h Host) lock(name string) string { return filepath.Join(h.runDir, name) }

// exclusive keeps other runs away until release is called, or this process has ended.
func (h Host) exclusive() (release func(), err error) {
	f, err := h.tryLock(runLock)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.New("another lvme bench runs on this node: wait for its end")
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// idle waits until no fio is at work.
func (h Host) idle(ctx context.Context) error {
	for {
		f, err := h.tryLock(ioLock)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if wait(ctx, time.Second/10) != nil {
			return fmt.Errorf("a fio that was started by lvme bench still works on its volumes, and holds %s: they are left alone until it has ended", h.lock(ioLock))
		}
	}
}

func (h Host) tryLock(name string) (*os.File, error) {
	if err := os.MkdirAll(h.runDir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(h.lock(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

func randomHex() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrRunning says that an agent serves the store of this host already. Two
// would each believe what they remember of the same VGs.
var ErrRunning = errors.New("another agent runs on this host")

const (
	lockName = "agent.lock"
	dirMode  = 0o700
	fileMode = 0o600
)

// lockStore makes this process the only agent of the host record in dir, until
// the file returned is closed or the process ends, however that happens.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("%w: it holds %s", ErrRunning, f.Name())
	case err != nil:
		err = fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

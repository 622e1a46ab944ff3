package hostrecord

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Held is the host's lock, for whoever changes what the store of this host is:
// the agent that takes a drive, `lvme init`, `lvme adopt`, `lvme drives
// forget`. It excludes other processes and other holders in this one. The
// kernel gives it back when its process ends.
type Held struct {
	dir  string
	mu   sync.Mutex
	file *os.File // nil once unlocked
}

// Lock waits for the lock of the record in dir, making the directory when it
// is missing, until ctx ends.
func Lock(ctx context.Context, dir string) (*Held, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("lock the host record: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock the host record: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the host record: %w", err), f.Close())
	}
	// flock knows no deadline. Who gives up leaves a thread that waits on, and
	// that lets go of the lock the moment it gets it.
	got := make(chan error, 1)
	go func() { got <- flock(f) }()
	select {
	case err := <-got:
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock the host record: %w", err), f.Close())
		}
		return &Held{dir: dir, file: f}, nil
	case <-ctx.Done():
		go func() {
			_, _ = <-got, f.Close() // gives the lock back; nobody waits for it any more
		}()
		return nil, fmt.Errorf("lock the host record: another lvme process holds %s: %w", filepath.Join(dir, lockName), ctx.Err())
	}
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// makeDir makes dir so that it lasts and is root's alone.
func makeDir(dir string) error {
	_, err := os.Stat(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if missing {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, dirMode) // a kubelet that made it for a hostPath left it open to all
}

// Unlock gives the lock back. Calling it again does nothing.
func (h *Held) Unlock() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		_ = h.file.Close() // gives the lock back; nothing was written
		h.file = nil
	}
}

// Save writes the record, all or nothing, and returns it with its new
// Generation. It fails with ErrOtherMachine, ErrCorrupt, ErrVersion when what
// is there is not this machine's record, and with ErrStale when it is another
// than r was loaded from.
func (h *Held) Save(m Machine, r Record) (Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	there, err := Load(h.dir, m)
	switch {
	case errors.Is(err, ErrNone):
	case err != nil:
		return Record{}, fmt.Errorf("save host record: %w", err)
	case there.StoreKey != r.StoreKey:
		return Record{}, fmt.Errorf("save host record of store %s: %w: it is that of store %s", r.StoreKey, ErrStale, there.StoreKey)
	}
	if there.Generation != r.Generation {
		return Record{}, fmt.Errorf("save host record: %w: it is of generation %d, the one to be saved comes from %d", ErrStale, there.Generation, r.Generation)
	}
	return h.put(m, r)
}

// Replace is Save over whatever is there, which is kept aside beside it as
// host.json.replaced-<time>. It is for `lvme adopt` and for a first start on a
// cloned image.
func (h *Held) Replace(m Machine, r Record) (Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := filepath.Join(h.dir, fileName)
	aside := path + ".replaced-" + time.Now().UTC().Format("20060102T150405.000000000Z")
	// A second name, not another one: there is a record at every moment.
	if err := os.Link(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("keep the old host record: %w", err)
	}
	return h.put(m, r)
}

// put writes the record. The caller holds h.mu.
func (h *Held) put(m Machine, r Record) (Record, error) {
	if h.file == nil {
		return Record{}, errors.New("save host record: the lock was given back")
	}
	if m == (Machine{}) {
		return Record{}, errors.New("save host record: no machine to bind it to")
	}
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("save host record: %w", err)
	}
	r.Generation++
	f := file{Version: version, Generation: r.Generation, Machine: bind(m), StoreKey: r.StoreKey, VGs: r.VGs, Forgotten: r.Forgotten}
	if err := write(h.dir, f); err != nil {
		return Record{}, fmt.Errorf("save host record: %w", err)
	}
	return r, nil
}

// Update changes the record of this machine under the lock: load, change,
// save. An error of change leaves the record as it was.
func Update(ctx context.Context, dir string, m Machine, change func(*Record) error) (Record, error) {
	held, err := Lock(ctx, dir)
	if err != nil {
		return Record{}, err
	}
	defer held.Unlock()
	rec, err := Load(dir, m)
	if err != nil {
		return Record{}, fmt.Errorf("change host record: %w", err)
	}
	if err := change(&rec); err != nil {
		return Record{}, err
	}
	return held.Save(m, rec)
}

package data

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// writer writes records to a directory, one file after the other, and notes
// each once it is safely on the drive.
type writer struct {
	mu   sync.Mutex
	safe [][]byte
	err  error

	quit chan struct{}
	done chan struct{}
}

func startWriter(dir string) *writer {
	w := &writer{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		r := rand.New(rand.NewPCG(1, 2))
		for i := 0; ; i++ {
			select {
			case <-w.quit:
				return
			default:
			}
			record := random(r, 20_000+r.IntN(20_000))
			err := writeSafely(filepath.Join(dir, fmt.Sprintf("record-%d", i)), record)
			w.mu.Lock()
			if err != nil {
				w.err = err
				w.mu.Unlock()
				return
			}
			w.safe = append(w.safe, record)
			w.mu.Unlock()
		}
	}()
	return w
}

// writeSafely returns when the file and its name are on the drive.
func writeSafely(path string, b []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (w *writer) acknowledged() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.safe[:len(w.safe):len(w.safe)]
}

func (w *writer) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// await waits until so many records are safe.
func (w *writer) await(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d records are written", n), func() bool {
		if err := w.fault(); err != nil {
			t.Fatalf("the writer: %v", err)
		}
		return len(w.acknowledged()) >= n
	})
}

// stop ends the writer, which must not have failed.
func (w *writer) stop(t *testing.T) {
	t.Helper()
	close(w.quit)
	<-w.done
	if err := w.fault(); err != nil {
		t.Errorf("the writer: %v", err)
	}
}

// failed waits for the writer to be told that something is wrong.
func (w *writer) failed(t *testing.T) error {
	t.Helper()
	select {
	case <-w.done:
		return w.fault()
	case <-time.After(patience):
		t.Fatalf("the writer hangs: %d records in %s", len(w.acknowledged()), patience)
		return nil
	}
}

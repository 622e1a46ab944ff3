package hostrecord

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestLockWaitsAndGivesUp(t *testing.T) {
	dir := t.TempDir()
	first := lock(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second holder: got %v, want DeadlineExceeded", err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := Lock(t.Context(), dir)
		if err == nil {
			second.Unlock()
		}
		got <- err
	}()
	first.Unlock()
	first.Unlock()
	// The one that gave up must have let go too, or this never ends.
	if err := <-got; err != nil {
		t.Error(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Lock(ended, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v", err)
	}
}

func TestUpdate(t *testing.T) {
	dir, _ := saved(t)
	const writers = 8
	errs := make(chan error, writers)
	for i := range writers {
		go func() {
			_, err := Update(t.Context(), dir, here, func(r *Record) error {
				r.Put(VG{ID: "vgnew00" + string(rune('a'+i)), Class: "fast"})
				return nil
			})
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	rec := load(t, dir)
	if len(rec.VGs) != 1+writers || rec.Generation != 1+writers {
		t.Errorf("%d VGs at generation %d after %d writers", len(rec.VGs), rec.Generation, writers)
	}
	stop := errors.New("stop")
	if _, err := Update(t.Context(), dir, here, func(r *Record) error { r.VGs = nil; return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if again := load(t, dir); !reflect.DeepEqual(again, rec) {
		t.Errorf("a change that failed was saved: %+v", again)
	}
	if _, err := Update(t.Context(), t.TempDir(), here, func(*Record) error { return nil }); !errors.Is(err, ErrNone) {
		t.Errorf("update of nothing: got %v, want ErrNone", err)
	}
}

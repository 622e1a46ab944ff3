package patience

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswerInTime(t *testing.T) {
	var c Calls
	got, err := Do(t.Context(), &c, time.Minute, []string{"a"}, func(context.Context) (int, error) { return 7, nil })
	if got != 7 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	failed := errors.New("failed")
	if _, err := Do(t.Context(), &c, time.Minute, []string{"a"}, func(context.Context) (int, error) { return 0, failed }); !errors.Is(err, failed) || errors.Is(err, ErrSilent) {
		t.Errorf("got %v, want its own error", err)
	}
}

// TestHungCallsDoNotPileUp: one call waits for a drive that hangs, others of
// that drive are answered at once, those of another drive go on, and all is
// well when the drive is.
func TestHungCallsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Calls
		var begun atomic.Int32
		heal := make(chan struct{})
		hang := func(context.Context) (int, error) {
			begun.Add(1)
			<-heal
			return 1, nil
		}
		start := time.Now()
		if _, err := Do(t.Context(), &c, 10*time.Second, []string{"a", "b"}, hang); !errors.Is(err, ErrSilent) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(start); took != 12*time.Second {
			t.Errorf("given up after %s", took)
		}
		for _, key := range []string{"a", "b"} {
			start = time.Now()
			if _, err := Do(t.Context(), &c, 10*time.Second, []string{key}, hang); !errors.Is(err, ErrSilent) || !c.Silent(key) || time.Since(start) != 0 {
				t.Errorf("%s: %v after %s", key, err, time.Since(start))
			}
		}
		if got, err := Do(t.Context(), &c, 10*time.Second, []string{"c"}, func(context.Context) (int, error) { return 3, nil }); got != 3 || err != nil {
			t.Errorf("another drive: %d, %v", got, err)
		}
		if begun.Load() != 1 {
			t.Errorf("%d calls wait for one drive", begun.Load())
		}
		close(heal)
		synctest.Wait()
		if got, err := Do(t.Context(), &c, 10*time.Second, []string{"a", "b"}, hang); got != 1 || err != nil || c.Silent("a") {
			t.Errorf("healed: %d, %v", got, err)
		}
	})
}

// TestWhoLeavesAccusesNobody: a caller that goes away, and a call that ends when
// it is told to, say nothing of the drive.
func TestWhoLeavesAccusesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Calls
		obedient := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Do(ctx, &c, time.Minute, []string{"a"}, obedient); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrSilent) {
			t.Errorf("caller gone: %v", err)
		}
		if _, err := Do(t.Context(), &c, time.Second, []string{"a"}, obedient); !errors.Is(err, ErrSilent) || c.Silent("a") {
			t.Errorf("ended when told to: %v", err)
		}
	})
}

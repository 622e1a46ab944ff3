package volume

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestChangeOutlivesItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs flights
		finish := make(chan struct{})
		runs := 0
		change := func(ctx context.Context) (string, error) {
			runs++
			<-finish
			return "made", ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := fly(ctx, &fs, "v-a", "create", change)
			first <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the call that gave up got %v", err)
		}

		if _, err := fly(t.Context(), &fs, "v-a", "delete", change); !errors.Is(err, ErrBusy) {
			t.Errorf("another change of the same name got %v, want ErrBusy", err)
		}

		retry := make(chan string, 1)
		go func() {
			got, err := fly(t.Context(), &fs, "v-a", "create", change)
			retry <- got
			if err != nil {
				t.Errorf("the retry got %v", err)
			}
		}()
		synctest.Wait()
		close(finish)
		if got := <-retry; got != "made" || runs != 1 {
			t.Errorf("the retry got %q after %d runs, want to join the first", got, runs)
		}
		fs.close()
		if _, err := fly(t.Context(), &fs, "v-b", "create", change); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a change after the end got %v", err)
		}
	})
}

func TestCloseWaitsForChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs flights
		finish, closed := make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := fly(ctx, &fs, "v-a", "create", func(context.Context) (int, error) { <-finish; return 0, nil })
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		go func() { fs.close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while a change was running")
		default:
		}
		close(finish)
		<-closed
	})
}

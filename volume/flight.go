package volume

import (
	"context"
	"fmt"
	"sync"
)

// flights are the changes that are running, one for each LV name. A change
// outlives the call that began it: the call may give up waiting, the change
// goes on, and the same call again joins it. Another change of the same name
// is told that it is busy.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
	closed  bool
	wait    sync.WaitGroup
}

type flight struct {
	what  string // verb and specification: equal text means the same change
	done  chan struct{}
	value any
	err   error
}

// fly runs change under the lock of name, or joins the same change if it runs
// already. When ctx ends first it returns the error of ctx, and the change
// goes on.
func fly[T any](ctx context.Context, fs *flights, name, what string, change func(context.Context) (T, error)) (T, error) {
	var zero T
	f, first, err := fs.enter(name, what)
	if err != nil {
		return zero, err
	}
	if first {
		go func() {
			defer fs.leave(name, f)
			f.value, f.err = change(context.WithoutCancel(ctx))
		}()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return zero, fmt.Errorf("%s goes on in the background: %w", name, context.Cause(ctx))
	}
	value, _ := f.value.(T)
	return value, f.err
}

func (fs *flights) enter(name, what string) (f *flight, first bool, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f, ok := fs.running[name]; ok {
		if f.what != what {
			return nil, false, fmt.Errorf("%s: another change of it is running: %w", name, ErrBusy)
		}
		return f, false, nil
	}
	if fs.closed {
		return nil, false, fmt.Errorf("%s: the agent is stopping: %w", name, ErrUnavailable)
	}
	if fs.running == nil {
		fs.running = map[string]*flight{}
	}
	f = &flight{what: what, done: make(chan struct{})}
	fs.running[name] = f
	fs.wait.Add(1)
	return f, true, nil
}

func (fs *flights) leave(name string, f *flight) {
	fs.mu.Lock()
	delete(fs.running, name)
	fs.mu.Unlock()
	// A panic in a change leaves value and err empty; it ends the process, as
	// any other does, since nobody can know what it had done.
	close(f.done)
	fs.wait.Done()
}

// close refuses new changes and waits for those that run.
func (fs *flights) close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	fs.wait.Wait()
}

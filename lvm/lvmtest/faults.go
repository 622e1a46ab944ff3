package lvmtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/lvme/lvme/internal/run"
)

// ErrCrash is what a command that a Fault with Crash has cut short returns.
var ErrCrash = errors.New("the host crashed")

// Fault makes one command go wrong.
type Fault struct {
	// Verb is the command that it waits for; empty means any that changes LVM.
	Verb string
	// Nth counts them: 0 and 1 mean the next one.
	Nth int
	// After has the command take effect before it fails.
	After bool
	// Half has an lvcreate of a thin end after LVM wrote it down and before the
	// kernel's pool made it. It wants After.
	Half bool
	// Stderr is what LVM says; without it, something that is no known kind.
	Stderr string
	// Crash has nothing come back but ErrCrash, as when the host dies.
	Crash bool
}

// Inject adds a fault; each strikes once.
func (f *Fake) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault.Nth = max(fault.Nth, 1)
	f.faults = append(f.faults, &fault)
}

// FailNth has the n-th changing command from now fail without any effect.
func (f *Fake) FailNth(n int) { f.Inject(Fault{Nth: n}) }

// CrashNth ends the n-th changing command from now, before or after its effect.
func (f *Fake) CrashNth(n int, after bool) { f.Inject(Fault{Nth: n, After: after, Crash: true}) }

// NoFaults takes back the faults that have not struck.
func (f *Fake) NoFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// fault is the one that strikes this command, or nil.
func (f *Fake) fault(c run.Cmd) *Fault {
	for _, fault := range f.faults {
		if fault.Verb == "" && !c.Changes || fault.Verb != "" && fault.Verb != c.Args[0] {
			continue
		}
		if fault.Nth--; fault.Nth == 0 {
			f.faults = slices.DeleteFunc(f.faults, func(o *Fault) bool { return o == fault })
			return fault
		}
	}
	return nil
}

func (f *Fault) result() (run.Result, error) {
	if f.Crash {
		return run.Result{}, fmt.Errorf("run lvm: %w", ErrCrash)
	}
	stderr := f.Stderr
	if stderr == "" {
		stderr = "  Something went wrong on purpose.\n"
	}
	return run.Result{Code: failed, Stderr: []byte(stderr)}, nil
}

// Hold keeps a command from starting.
type Hold struct {
	// Waiting is closed when a command has come to wait.
	Waiting <-chan struct{}
	// Release lets it go on; it may be called again.
	Release func()

	verb     string
	waiting  chan struct{}
	released chan struct{}
}

// Hold has the next command of that verb wait for Release.
func (f *Fake) Hold(verb string) *Hold {
	h := &Hold{verb: verb, waiting: make(chan struct{}), released: make(chan struct{})}
	h.Waiting, h.Release = h.waiting, sync.OnceFunc(func() { close(h.released) })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds = append(f.holds, h)
	return h
}

// wait blocks while the command is held. Only a reading one gives up with ctx.
func (f *Fake) wait(ctx context.Context, c run.Cmd) error {
	f.mu.Lock()
	i := slices.IndexFunc(f.holds, func(h *Hold) bool { return h.verb == c.Args[0] })
	if i < 0 {
		f.mu.Unlock()
		return nil
	}
	h := f.holds[i]
	f.holds = slices.Delete(f.holds, i, i+1)
	f.mu.Unlock()
	close(h.waiting)
	var done <-chan struct{}
	if !c.Changes {
		done = ctx.Done()
	}
	select {
	case <-h.released:
		return nil
	case <-done:
		return ctx.Err()
	}
}

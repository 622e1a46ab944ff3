package drive

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// patience is Host.Patience unless it says otherwise.
const patience = 15 * time.Second

// Discover returns every NVMe drive of the host, sorted by Name, with its
// content and health. A drive that cannot be read is listed all the same and
// says so in Content.Error and Health.Reasons. The error means that the host
// itself could not be looked at, never that one drive is bad.
func Discover(ctx context.Context, h Host) ([]Drive, error) {
	drives, err := List(ctx, h)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	for i := range drives {
		wg.Go(func() {
			drives[i].Content = h.content(ctx, drives[i])
			drives[i].Health = ReadHealth(ctx, h, drives[i])
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("discover drives: %w", err)
	}
	return drives, nil
}

// List is Discover without opening any drive: sysfs and procfs only, no
// process started. Content.Probed is false and Health unknown.
func List(ctx context.Context, h Host) ([]Drive, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list drives: %w", err)
	}
	t := tree(h.Root)
	names, err := t.namespaces()
	if err != nil {
		return nil, err
	}
	used, err := t.uses()
	if err != nil {
		return nil, err
	}
	drives := make([]Drive, 0, len(names))
	for _, name := range names {
		d := t.drive(name)
		used.addTo(&d)
		d.Content = Content{Error: "not looked at"}
		d.Health = Health{Status: HealthUnknown, Reasons: []string{"not looked at"}}
		drives = append(drives, d)
	}
	return drives, nil
}

// maxPending is how many looks at one drive may be without an answer. Each
// holds a thread in the kernel for as long as the drive hangs.
const maxPending = 4

// pending counts the unanswered looks by device. It belongs to the process and
// not to a Host because the threads do.
var pending = struct {
	sync.Mutex
	of map[string]int
}{of: map[string]int{}}

// bounded runs look, which may hang in the kernel with the drive, and gives up
// waiting for it after the host's patience. look keeps running then, and must
// share nothing with the caller.
func bounded[T any](ctx context.Context, h Host, device string, look func(context.Context) T) (T, error) {
	var none T
	if !enter(device) {
		return none, fmt.Errorf("%s still has not answered %d earlier looks", device, maxPending)
	}
	wait := h.Patience
	if wait <= 0 {
		wait = patience
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan T, 1)
	go func() {
		defer leave(device)
		done <- look(ctx)
	}()
	select {
	case got := <-done:
		return got, nil
	case <-ctx.Done():
		return none, fmt.Errorf("%s did not answer: %w", device, ctx.Err())
	}
}

func enter(device string) bool {
	pending.Lock()
	defer pending.Unlock()
	if pending.of[device] >= maxPending {
		return false
	}
	pending.of[device]++
	return true
}

func leave(device string) {
	pending.Lock()
	defer pending.Unlock()
	if pending.of[device]--; pending.of[device] == 0 {
		delete(pending.of, device)
	}
}

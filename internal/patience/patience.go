// Package patience bounds the waiting for calls that may never end: a command
// or a system call on a drive that hangs cannot be ended by anybody, and holds
// whoever waits for it.
//
// A call that was given up goes on in the background and is remembered under
// its keys, such as the paths of the drives that it is about. Until it has
// ended no other call with one of these keys begins: however often a drive that
// hangs is asked, one call waits for it.
//
// It knows neither drives nor programs, and it is not for calls that change
// something: those are waited for.
package patience

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ErrSilent: no answer came in time, or an earlier call has none yet.
var ErrSilent = errors.New("does not answer")

// grace is how long a call that was told to end may take to do so. A program
// that can be killed is gone by then, and it is not held against its drive.
const grace = 2 * time.Second

// Calls are the calls of one kind. The zero value is ready to use.
type Calls struct {
	// Grace is how long after its time a call may still end; 0 means 2 s.
	Grace time.Duration

	mu      sync.Mutex
	givenUp map[string]int // unanswered calls by key
}

// Do makes a call that may hang, and waits for it no longer than wait. When the
// time is over the call's context ends, and if it still does not return, Do
// does, with ErrSilent. call must share nothing with its caller but its result.
func Do[T any](ctx context.Context, c *Calls, wait time.Duration, keys []string, call func(context.Context) (T, error)) (T, error) {
	var none T
	if key, silent := c.silent(keys); silent {
		return none, fmt.Errorf("%s: %w: an earlier call has not ended yet", key, ErrSilent)
	}
	type result struct {
		value T
		err   error
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		value, err := call(limited)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-limited.Done():
	}
	late := time.NewTimer(c.grace())
	defer late.Stop()
	select {
	case r := <-done:
		if r.err != nil && ctx.Err() == nil {
			r.err = fmt.Errorf("%s: %w in %s: %w", strings.Join(keys, ", "), ErrSilent, wait, r.err)
		}
		return r.value, r.err
	case <-late.C:
	}
	c.count(keys, 1)
	go func() {
		<-done
		c.count(keys, -1)
	}()
	return none, fmt.Errorf("%s: %w: given up after %s", strings.Join(keys, ", "), ErrSilent, wait)
}

// Silent says whether a call with that key has been given up and has not ended.
func (c *Calls) Silent(key string) bool {
	_, silent := c.silent([]string{key})
	return silent
}

func (c *Calls) silent(keys []string) (key string, silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if c.givenUp[key] > 0 {
			return key, true
		}
	}
	return "", false
}

func (c *Calls) count(keys []string, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.givenUp == nil {
		c.givenUp = map[string]int{}
	}
	for _, key := range keys {
		if c.givenUp[key] += by; c.givenUp[key] == 0 {
			delete(c.givenUp, key)
		}
	}
}

func (c *Calls) grace() time.Duration {
	if c.Grace > 0 {
		return c.Grace
	}
	return grace
}

package keyed

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestTryLock(t *testing.T) {
	var locks Locks
	unlock, ok := locks.TryLock("a")
	if !ok {
		t.Fatal("a free key was refused")
	}
	if _, ok := locks.TryLock("a"); ok {
		t.Fatal("a held key was given twice")
	}
	if _, ok := locks.TryLock("b"); !ok {
		t.Fatal("holding a locked b")
	}
	unlock()
	second, ok := locks.TryLock("a")
	if !ok {
		t.Fatal("a released key was refused")
	}
	unlock() // The first holder again: it must not free the second one's lock.
	if _, ok := locks.TryLock("a"); ok {
		t.Fatal("a second unlock by the first holder freed the key")
	}
	second()
	if len(locks.held) != 1 { // b
		t.Fatalf("held = %v, released keys must be forgotten", locks.held)
	}
}

func TestTryLockConcurrent(t *testing.T) {
	var (
		locks  Locks
		inside atomic.Int32
		taken  atomic.Int32
		wg     sync.WaitGroup
	)
	for range 16 {
		wg.Go(func() {
			for range 500 {
				unlock, ok := locks.TryLock("k")
				if !ok {
					continue
				}
				if inside.Add(1) != 1 {
					t.Error("two holders at once")
				}
				taken.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	if taken.Load() == 0 {
		t.Fatal("nobody ever got the lock")
	}
}

// Package keyed locks by name without waiting: whoever finds a name locked is
// told so and may come again. It knows nothing of what the names stand for.
package keyed

import "sync"

// Locks is a set of locked names. The zero value is ready to use.
type Locks struct {
	mu   sync.Mutex
	held map[string]struct{}
}

// TryLock locks key and returns how to unlock it. ok is false, and unlock nil,
// when somebody else holds the key. Calling unlock more than once is harmless.
func (l *Locks) TryLock(key string) (unlock func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, locked := l.held[key]; locked {
		return nil, false
	}
	if l.held == nil {
		l.held = make(map[string]struct{})
	}
	l.held[key] = struct{}{}
	return sync.OnceFunc(func() { l.release(key) }), true
}

func (l *Locks) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, key)
}

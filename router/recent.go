package router

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// memory is how long the router remembers what became of a creation: longer
// than its callers take to try again.
const memory = time.Hour

// recent remembers creations of late by their CSI names, so that a retry after
// a lost answer meets the first attempt. It is no record: after a restart of
// the router the same choice is made again from the names and the capacities.
type recent struct {
	mu        sync.Mutex
	creations map[string]*creation
	snapshots map[string]made
}

// creation is what is known of the creation of one volume. It is changed under
// the lock of the volume's name.
type creation struct {
	// tried are the stores where it may have happened, and since when. It is nil
	// when there are none: of most creations only that they went well is left,
	// for an hour.
	tried map[string]time.Time
	// store is where it did happen.
	store   string
	touched time.Time
}

// made is a snapshot that was made.
type made struct {
	id      string
	touched time.Time
}

func newRecent() *recent {
	return &recent{creations: map[string]*creation{}, snapshots: map[string]made{}}
}

// creation is that of the volume of that name, new or not.
func (m *recent) creation(name string) *creation {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.creations[name]
	if c == nil {
		c = &creation{}
		m.creations[name] = c
	}
	c.touched = time.Now()
	return c
}

// stores are those where the volume is or may be, the likeliest first.
func (c *creation) stores() []string {
	var stores []string
	for store := range c.tried {
		stores = append(stores, store)
	}
	if c.store != "" {
		stores = append([]string{c.store}, stores...)
	}
	return stores
}

// try notes an attempt in that store. What it returns is told how the attempt
// ended, and says since when there have been attempts.
func (c *creation) try(store string) (end func(codes.Code) time.Time) {
	first, again := c.tried[store]
	if !again {
		first = time.Now()
		c.note(store, first)
	}
	return func(code codes.Code) time.Time {
		switch code {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal, codes.Unknown, codes.DataLoss:
			// It may have happened, or happen yet.
		case codes.OK, codes.ResourceExhausted, codes.AlreadyExists:
			c.clear(store) // it was looked for
		default:
			if !again {
				c.clear(store) // refused before anything was done
			}
		}
		return first
	}
}

// note says that it may have happened in that store, since then.
func (c *creation) note(store string, since time.Time) {
	if c.tried == nil {
		c.tried = map[string]time.Time{}
	}
	c.tried[store] = since
}

// clear says that it did not, or that it did and that is known.
func (c *creation) clear(store string) {
	delete(c.tried, store)
	if len(c.tried) == 0 {
		c.tried = nil
	}
}

// old says that the attempts in that store began that long ago.
func (c *creation) old(store string, age time.Duration) bool {
	first, ok := c.tried[store]
	return ok && time.Since(first) >= age
}

// snapshot is the id of the snapshot of that name, "" for none that is known.
func (m *recent) snapshot(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snapshots[name].id
}

func (m *recent) setSnapshot(name, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshots[name] = made{id: id, touched: time.Now()}
}

// sweep forgets what is old, every now and then until ctx ends. What was tried
// somewhere long ago and never again is forgotten too: nobody who gave up on it
// told the router so, and only its caller knows that it is not wanted.
func (m *recent) sweep(ctx context.Context) {
	for pause(ctx, memory/10, nil) {
		m.forget(time.Now().Add(-memory))
	}
}

func (m *recent) forget(before time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, c := range m.creations {
		if c.touched.Before(before) {
			delete(m.creations, name)
		}
	}
	for name, s := range m.snapshots {
		if s.touched.Before(before) {
			delete(m.snapshots, name)
		}
	}
}

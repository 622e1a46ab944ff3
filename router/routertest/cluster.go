// Package routertest stands in for what is around a router: the cluster, the
// ledger that replicas share, and agents, all in memory, the agents behind real
// sockets. It only makes things up; it judges nothing.
package routertest

import (
	"context"
	"errors"
	"sync"

	"github.com/lvme/lvme/router"
)

// Cluster is a cluster in memory. Its zero value has no nodes.
type Cluster struct {
	mu        sync.Mutex
	endpoints []router.Endpoint
	readers   map[chan []router.Endpoint]bool
	holders   map[string]string
	lost      map[string]bool
	segments  map[string]map[string]string
	wanted    map[string]bool
	claims    int
	down      bool
}

var _ router.Cluster = (*Cluster)(nil)

// ErrDown is what a cluster that is down answers.
var ErrDown = errors.New("the cluster is down")

// SetEndpoints tells all routers of these endpoints.
func (c *Cluster) SetEndpoints(endpoints ...router.Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoints = endpoints
	for ch := range c.readers {
		c.send(ch)
	}
}

// send replaces what the reader has not read yet; c.mu is held.
func (c *Cluster) send(ch chan []router.Endpoint) {
	select {
	case <-ch:
	default:
	}
	ch <- c.endpoints
}

// Endpoints implements router.Cluster.
func (c *Cluster) Endpoints(ctx context.Context) <-chan []router.Endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan []router.Endpoint, 1)
	if c.readers == nil {
		c.readers = map[chan []router.Endpoint]bool{}
	}
	c.readers[ch] = true
	c.send(ch)
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.readers, ch)
		close(ch)
	})
	return ch
}

// SetDown has the cluster answer nothing that can be an error.
func (c *Cluster) SetDown(down bool) { c.change(func() { c.down = down }) }

// SetHolder has the label of a store on a node, "" for on none.
func (c *Cluster) SetHolder(store, node string) { c.change(func() { set(&c.holders, store, node) }) }

// SetLost says that the node of a store was deleted.
func (c *Cluster) SetLost(store string, lost bool) { c.change(func() { set(&c.lost, store, lost) }) }

// SetSegments gives a node topology segments.
func (c *Cluster) SetSegments(node string, segments map[string]string) {
	c.change(func() { set(&c.segments, node, segments) })
}

// SetWanted says that somebody has the volume of that id.
func (c *Cluster) SetWanted(id string) { c.change(func() { set(&c.wanted, id, true) }) }

// Claims is how often a label was moved.
func (c *Cluster) Claims() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claims
}

func (c *Cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func set[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

func (c *Cluster) fault() error {
	if c.down {
		return ErrDown
	}
	return nil
}

// Holder implements router.Cluster.
func (c *Cluster) Holder(store string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holders[store], c.fault()
}

// Lost implements router.Cluster.
func (c *Cluster) Lost(store string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost[store]
}

// Segments implements router.Cluster.
func (c *Cluster) Segments(node string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.segments[node]
}

// Claim implements router.Cluster.
func (c *Cluster) Claim(_ context.Context, store, node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return ErrDown
	}
	set(&c.holders, store, node)
	c.claims++
	return nil
}

// Wanted implements router.Cluster.
func (c *Cluster) Wanted(_ context.Context, _, id string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted[id], c.fault()
}

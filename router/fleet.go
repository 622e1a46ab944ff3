package router

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
)

// fleet is every agent there is, and which of them serves which store.
type fleet struct {
	config  Config
	started time.Time

	mu     sync.RWMutex
	agents map[Endpoint]*agent
	seats  map[string]*seat // by store key
	// changed is closed, and made anew, when a seat is taken, left or opened.
	changed chan struct{}
	// refusals counts the agents that were refused.
	refusals int
	work     sync.WaitGroup
}

// seat is the place of a store. It stays when its agent is away: the one that
// had it keeps it.
type seat struct {
	// node is the node the store is on, as far as is known: of its agent, or of
	// whom the cluster names.
	node string
	// agent is nil while it is away. Since is when it came or was lost.
	agent *agent
	since time.Time
	// freed is closed when the agent leaves.
	freed chan struct{}
	// open says that what was owed has been paid, so that volumes may be made.
	open bool
}

func newFleet(c Config) *fleet {
	return &fleet{config: c, started: time.Now(), agents: map[Endpoint]*agent{}, seats: map[string]*seat{}, changed: make(chan struct{})}
}

// update makes the fleet what the endpoints say, and has run run for each that
// came, with a context that ends when it goes.
func (f *fleet) update(ctx context.Context, endpoints []Endpoint, run func(context.Context, *agent)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	there := make(map[Endpoint]bool, len(endpoints))
	for _, e := range endpoints {
		there[e] = true
	}
	for e, a := range f.agents {
		if !there[e] {
			a.stop()
			f.leave(a)
			delete(f.agents, e)
		}
	}
	for _, e := range endpoints {
		if f.agents[e] != nil {
			continue
		}
		a, err := newAgent(e, f.config)
		if err != nil {
			klog.FromContext(ctx).Error(err, "agent cannot be called", "node", e.Node)
			continue
		}
		f.agents[e] = a
		ctx, stop := context.WithCancel(ctx)
		a.stop = stop
		f.work.Go(func() { run(ctx, a) })
	}
}

// take gives an agent the seat of the store it names, or says why it must not
// have it, and what is closed when it may ask again at once. Nobody is
// displaced; a seat that is free goes to the node that had it, to the one that
// the cluster names, and to any other only after a while.
func (f *fleet) take(a *agent, store string) (freed <-chan struct{}, err error) {
	holder, err := f.config.Cluster.Holder(store)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seats[store]
	if s == nil {
		if err != nil {
			return nil, fmt.Errorf("look which node has store %s: %w", store, err)
		}
		s = &seat{node: holder, since: f.started}
		f.seats[store] = s
	}
	switch absent := time.Since(s.since); {
	case s.agent != nil:
		return s.freed, fmt.Errorf("store %s is served by the agent of node %s at %s: two agents have one key", store, s.agent.Node, s.agent.Address)
	case s.node == a.Node, err == nil && (holder == a.Node || holder == ""), absent >= f.config.Displace:
	default:
		return nil, fmt.Errorf("store %s belongs to node %s, whose agent has not been away for %s yet", store, s.node, f.config.Displace)
	}
	s.node, s.agent, s.since, s.open, s.freed = a.Node, a, time.Now(), false, make(chan struct{})
	a.store = store
	f.set(a, serving, "")
	return nil, nil
}

// open lets volumes be made in the store.
func (f *fleet) open(a *agent, store string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.seats[store]; s != nil && s.agent == a && !s.open {
		s.open = true
		f.set(a, serving, "")
	}
}

// unseated notes what an agent without a seat is and which store it names, and
// says whether that is new.
func (f *fleet) unseated(a *agent, now state, store, trouble string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.store = store
	if a.state == now && a.trouble == trouble {
		return false
	}
	if now == refused && a.state != refused {
		f.refusals++
	}
	f.set(a, now, trouble)
	return true
}

// lost notes that the connection to an agent has ended.
func (f *fleet) lost(a *agent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leave(a)
	f.set(a, away, "")
}

// leave frees the seat of an agent, if it has one; f.mu is held.
func (f *fleet) leave(a *agent) {
	if s := f.seats[a.store]; s != nil && s.agent == a {
		s.agent, s.since = nil, time.Now()
		close(s.freed)
	}
	a.store = ""
}

// set is what all that changes the fleet ends with; f.mu is held.
func (f *fleet) set(a *agent, now state, trouble string) {
	a.state, a.trouble = now, trouble
	close(f.changed)
	f.changed = make(chan struct{})
}

// awayError says that nobody who serves a store can be called.
type awayError struct {
	store, node string
	since       time.Time
	// paying says that the agent is there, and what it is owed comes first.
	paying bool
}

// Error implements error.
func (e *awayError) Error() string {
	if e.paying {
		return fmt.Sprintf("store %s, on node %s, is %v until what was to be deleted there is deleted", e.store, e.node, driver.ErrUnreachable)
	}
	where := "on no node that is known"
	if e.node != "" {
		where = "on node " + e.node
	}
	return fmt.Sprintf("store %s, %s, has been %v for %s", e.store, where, driver.ErrUnreachable, time.Since(e.since).Round(time.Second))
}

// Unwrap makes it a driver.ErrUnreachable.
func (e *awayError) Unwrap() error { return driver.ErrUnreachable }

// look is the agent that serves a store now, or nil and since when, and a channel
// that is closed when that agent leaves, or when something changes.
func (f *fleet) look(store string, toCreate bool) (a *agent, gone *awayError, changed <-chan struct{}) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s := f.seats[store]
	switch {
	case s == nil:
		gone = &awayError{store: store, since: f.started}
	case s.agent == nil, toCreate && !s.open:
		gone = &awayError{store: store, node: s.node, since: s.since, paying: s.agent != nil}
	default:
		return s.agent, nil, s.freed
	}
	return nil, gone, f.changed
}

// reach is the agent that serves a store. When it was lost a moment ago it is
// waited for, as it is about to be back; else the answer comes at once. Freed is
// closed when that agent leaves.
func (f *fleet) reach(ctx context.Context, store string, toCreate bool) (a *agent, freed <-chan struct{}, err error) {
	for {
		a, gone, changed := f.look(store, toCreate)
		if a != nil {
			return a, changed, nil
		}
		left := f.config.Restart - time.Since(gone.since)
		if left <= 0 || ctx.Err() != nil {
			if gone.node == "" {
				gone.node, _ = f.config.Cluster.Holder(store) // for the message only
			}
			return nil, nil, gone
		}
		wait(ctx, left, changed)
	}
}

// arriving says of a store that nobody has served yet that its node's agent has
// come a moment ago and has not been heard; nil is anything else.
func (f *fleet) arriving(store string) error {
	_, gone, _ := f.look(store, false)
	if gone == nil || gone.node != "" {
		return nil
	}
	holder, err := f.config.Cluster.Holder(store)
	if err != nil || holder == "" {
		return nil //nolint:nilerr // where it is said to be is what is asked
	}
	gone.node = holder
	f.mu.RLock()
	defer f.mu.RUnlock()
	for e, a := range f.agents {
		if e.Node == holder && a.store == "" && time.Since(a.came) < f.config.Arrive {
			return gone
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-changed:
	}
}

// stores are the keys of all stores that have a seat, in order; of those that
// are served now only, if so asked.
func (f *fleet) stores(servedOnly bool) []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	keys := make([]string, 0, len(f.seats))
	for key, s := range f.seats {
		if s.agent != nil || !servedOnly {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// nodeOf is the node that a store is on, as far as is known.
func (f *fleet) nodeOf(store string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if s := f.seats[store]; s != nil {
		return s.node
	}
	return ""
}

// nameless are the nodes of which it is not known what they hold: whose agents
// have not said it yet, or are not believed.
func (f *fleet) nameless() []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	nodes := map[string]bool{}
	for e, a := range f.agents {
		nodes[e.Node] = nodes[e.Node] || f.seats[a.store] == nil
	}
	for _, s := range f.seats {
		delete(nodes, s.node)
	}
	maps.DeleteFunc(nodes, func(_ string, nameless bool) bool { return !nameless })
	return slices.Sorted(maps.Keys(nodes))
}

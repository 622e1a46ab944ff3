package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/keyed"
)

// Router implements the CSI controller service by forwarding to agents.
type Router struct {
	csi.UnimplementedControllerServer
	config   Config
	fleet    *fleet
	capacity *capacity
	metrics  *metrics
	recent   *recent
	// names are the LV names that are being created or paid, one at a time.
	names keyed.Locks
	found chan struct{} // closed once the first list of agents has come
	// watching is what Watch knows, nil while it does not run.
	watching atomic.Pointer[watch]
}

var _ csi.ControllerServer = (*Router)(nil)

// New returns a router, which serves calls once Run runs.
func New(c Config) (*Router, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Router{config: c, fleet: newFleet(c), metrics: newMetrics(), recent: newRecent(), found: make(chan struct{})}
	r.capacity = newCapacity(c, r.fleet, r.metrics)
	if c.Registerer != nil {
		err = r.metrics.register(c.Registerer, r)
	}
	return r, err
}

// Run keeps the connections to the agents, pays what is owed to them and keeps
// the capacities fresh, until ctx ends. It is called once.
func (r *Router) Run(ctx context.Context) {
	defer r.fleet.work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.fleet.work.Go(func() { r.recent.sweep(ctx) })
	var first sync.Once
	endpoints := r.config.Cluster.Endpoints(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case list, ok := <-endpoints:
			if !ok {
				return
			}
			r.fleet.update(ctx, list, r.attend)
			first.Do(func() { close(r.found) })
		}
	}
}

// Ready is nil once the router knows the agents and has called them, an
// ErrStarting before. Agents that are away are no reason to be unready: the
// others are served.
func (r *Router) Ready(context.Context) error {
	select {
	case <-r.found:
	default:
		return fmt.Errorf("%w: the list of agents has not come yet", driver.ErrStarting)
	}
	if n := r.fleet.count().agents[away]; n > 0 && time.Since(r.fleet.started) < r.config.Restart {
		return fmt.Errorf("%w: %d agents are being called", driver.ErrStarting, n)
	}
	return nil
}

// attend looks after one agent as long as it has an endpoint.
func (r *Router) attend(ctx context.Context, a *agent) {
	ctx = klog.NewContext(ctx, a.log(ctx))
	a.watch(ctx, func(ctx context.Context) { r.serve(ctx, a) }, func() { r.fleet.lost(a) })
}

// serve looks after one connection: it finds out whose the agent is, pays what
// is owed, and only then has volumes made there.
func (r *Router) serve(ctx context.Context, a *agent) {
	store, ok := r.seated(ctx, a)
	if !ok {
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { r.capacity.refresh(ctx, a, store) })
	failed := retries{}
	for {
		r.pay(ctx, a, store, failed)
		r.fleet.open(a, store)
		r.claim(ctx, a, store)
		if !pause(ctx, r.config.Tend, nil) {
			return
		}
	}
}

// errMismatch says that an agent is not the one that its endpoint is of.
var errMismatch = errors.New("the agent is another node's")

// seated waits until the agent has the seat of its store. It is false when the
// connection ends before.
func (r *Router) seated(ctx context.Context, a *agent) (store string, ok bool) {
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		store, node, err := a.introduce(ctx, r.config.Dial)
		var freed <-chan struct{}
		switch {
		case err != nil || store == "":
			r.fleet.unseated(a, starting, "", "")
		case node != a.Node:
			r.refuse(ctx, a, "", fmt.Errorf("%w: it says that it is node %.140q", errMismatch, node))
		default:
			if freed, err = r.fleet.take(a, store); err == nil {
				klog.FromContext(ctx).Info("store is served", "store", store)
				return store, true
			}
			r.refuse(ctx, a, store, err)
		}
		if !pause(ctx, wait, freed) {
			return "", false
		}
	}
}

// refuse says once why an agent is not called.
func (r *Router) refuse(ctx context.Context, a *agent, store string, why error) {
	if r.fleet.unseated(a, refused, store, why.Error()) {
		klog.FromContext(ctx).Error(why, "agent is refused")
	}
}

// claim has the cluster know which node the store is on: drives that were moved
// to another machine take the store's label with them.
func (r *Router) claim(ctx context.Context, a *agent, store string) {
	holder, err := r.config.Cluster.Holder(store)
	if err == nil && holder != a.Node {
		klog.FromContext(ctx).Info("the store's label is moved here", "store", store, "from", holder)
		err = r.config.Cluster.Claim(ctx, store, a.Node)
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "the label of the store's node could not be seen to", "store", store)
	}
}

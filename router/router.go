package router

import (
	"context"
	"fmt"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
)

// Router implements the CSI controller service by forwarding to agents.
type Router struct {
	csi.UnimplementedControllerServer
	config Config

	found chan struct{} // closed once the first list of agents has come
}

var _ csi.ControllerServer = (*Router)(nil)

// New returns a router, which serves calls once Run runs.
func New(c Config) (*Router, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Router{config: c, found: make(chan struct{})}, nil
}

// Run keeps the connections to the agents, pays what is owed to them and keeps
// the capacities fresh, until ctx ends.
func (r *Router) Run(ctx context.Context) {
	var first sync.Once
	for range r.config.Cluster.Endpoints(ctx) {
		first.Do(func() { close(r.found) })
	}
	klog.FromContext(ctx).Info("router stopped")
}

// Ready is nil once the router knows the agents, an ErrStarting before. Agents
// that are away are no reason to be unready: the others are served.
func (r *Router) Ready(context.Context) error {
	select {
	case <-r.found:
		return nil
	default:
		return fmt.Errorf("%w: the list of agents has not come yet", driver.ErrStarting)
	}
}

package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/lvme/lvme/driver"
)

// gate lets calls of the controller and the node service through once there is
// a store to serve, and answers them with the reason until then. The identity
// service always answers. One server stands from start to end, so that its
// callers keep their connections when the store opens.
type gate struct {
	controller lateController
	node       lateNode

	mu     sync.RWMutex
	open   bool
	reason error
}

// The late services are registered before what they serve exists. What is
// embedded is set before the gate opens and never again.
type (
	lateController struct{ csi.ControllerServer }
	lateNode       struct{ csi.NodeServer }
)

// Open lets calls through to these services from now on.
func (g *gate) Open(c csi.ControllerServer, n csi.NodeServer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.controller.ControllerServer, g.node.NodeServer = c, n
	g.open, g.reason = true, nil
}

// Wait says why the gate is still shut.
func (g *gate) Wait(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reason = reason
}

// Ready is nil once the gate is open, else an ErrStarting with the reason. An
// operator may have to act (`lvme adopt`), but a new start would not help, so
// it never says that the process is unhealthy.
func (g *gate) Ready(context.Context) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	switch {
	case g.open:
		return nil
	case g.reason != nil:
		return fmt.Errorf("%w: %w", driver.ErrStarting, g.reason)
	}
	return driver.ErrStarting
}

// intercept is the gate itself.
func (g *gate) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/"+csi.Identity_ServiceDesc.ServiceName+"/") {
		return next(ctx, req)
	}
	if err := g.Ready(ctx); err != nil {
		return nil, driver.ToStatus(err)
	}
	return next(ctx, req)
}

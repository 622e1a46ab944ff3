package routertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/volume"
)

// Hook stands around each call to an agent; next does what was asked.
type Hook func(ctx context.Context, method string, next func() (any, error)) (any, error)

// Agent serves a controller service on a port of the loopback interface, as an
// agent's cluster listener does.
type Agent struct {
	tb      testing.TB
	node    string
	service csi.ControllerServer
	options []grpc.ServerOption

	mu      sync.Mutex
	says    map[string]string
	hook    Hook
	health  []volume.PoolHealth
	calls   map[string]int
	address string
	server  *grpc.Server
}

// NewAgent starts an agent on that node, which serves that store by that
// service. It is stopped at the end of the test. Without options for
// credentials it speaks plain text.
func NewAgent(tb testing.TB, node, store string, service csi.ControllerServer, options ...grpc.ServerOption) *Agent {
	tb.Helper()
	a := &Agent{tb: tb, node: node, service: service, options: options, calls: map[string]int{}, address: loopback()}
	a.Say(store, node)
	a.Start()
	tb.Cleanup(a.Stop)
	return a
}

// agents counts the agents of this process.
var agents atomic.Uint32

// loopback is an address for each agent, so that nobody else is given its port
// while it is stopped.
func loopback() string {
	n := agents.Add(1)
	return fmt.Sprintf("127.%d.%d.%d:0", 1+os.Getpid()%250, n/250%250, 1+n%250)
}

// Endpoint is where it is.
func (a *Agent) Endpoint() router.Endpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	return router.Endpoint{Node: a.node, Address: a.address}
}

// Say has it say that it serves that store on that node; "" is none yet.
func (a *Agent) Say(store, node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.says = map[string]string{driver.ManifestNode: node}
	if store != "" {
		a.says[driver.ManifestStore] = store
	}
}

// SetHook has a hook around each call from now on; nil for none.
func (a *Agent) SetHook(hook Hook) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hook = hook
}

// SetHealth has it say that this is wrong with its storage.
func (a *Agent) SetHealth(all ...volume.PoolHealth) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.health = all
}

// health is what an agent serves its router of the node service.
type health struct {
	csi.UnimplementedNodeServer
	agent *Agent
}

// NodeGetStorageHealth implements csi.NodeServer.
func (h health) NodeGetStorageHealth(context.Context, *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	h.agent.mu.Lock()
	defer h.agent.mu.Unlock()
	return driver.StorageHealth(h.agent.health), nil
}

// Calls is how often a method was called.
func (a *Agent) Calls(method string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[method]
}

// Start starts it again where it was before.
func (a *Agent) Start() {
	a.tb.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		a.tb.Fatal(err)
	}
	a.address = l.Addr().String()
	identity := driver.NewIdentity(func(context.Context) error { return nil }).WithManifest(func() map[string]string {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.says
	})
	options := append(slices.Clone(a.options), grpc.ChainUnaryInterceptor(a.intercept),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	server := grpc.NewServer(options...)
	csi.RegisterIdentityServer(server, identity)
	csi.RegisterControllerServer(server, a.service)
	csi.RegisterNodeServer(server, health{agent: a})
	a.server = server
	go func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			a.tb.Errorf("agent of %s: %v", a.node, err)
		}
	}()
}

// Stop ends it as a crash does.
func (a *Agent) Stop() {
	a.mu.Lock()
	server := a.server
	a.mu.Unlock()
	server.Stop()
}

func (a *Agent) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	a.mu.Lock()
	a.calls[method]++
	hook := a.hook
	a.mu.Unlock()
	do := func() (any, error) { return next(ctx, req) }
	var resp any
	var err error
	if hook != nil && method != "GetPluginInfo" {
		resp, err = hook(ctx, method, do)
	} else {
		resp, err = do()
	}
	if err != nil {
		return nil, driver.ToStatus(err)
	}
	return resp, nil
}

// Hang has the calls of these methods hang until they are given up by their
// callers, and does nothing of what they ask for.
func Hang(methods ...string) Hook {
	return func(ctx context.Context, method string, next func() (any, error)) (any, error) {
		if slices.Contains(methods, method) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return next()
	}
}

// LoseAnswers has the calls of these methods do what they are asked for and
// then fail with err.
func LoseAnswers(err error, methods ...string) Hook {
	return func(_ context.Context, method string, next func() (any, error)) (any, error) {
		resp, failed := next()
		if failed == nil && slices.Contains(methods, method) {
			return nil, fmt.Errorf("%s was done: %w", method, err)
		}
		return resp, failed
	}
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/controller"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/web"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/node"
	"github.com/lvme/lvme/volume"
)

// takePatience is how long the room of a node is not known that takes its first drives.
const takePatience = 30 * time.Second

// Agent is the driver of one node.
type Agent struct {
	options Options
	host    Host
	gate    gate
	metrics *metrics
	server  *grpc.Server
	socket  net.Listener
	web     *web.Server // nil without an HTTP port
	cluster *cluster    // nil without a listener for the router
	lock    *os.File    // no other agent of this host while it is open
	// registration with the kubelet, nil when it is not asked for.
	registration *registration

	looks  looks
	opened chan struct{}
	// settled is closed when the store has taken the drives that it found, by settle.
	settled chan struct{}
	settle  func()
	mu      sync.Mutex
	store   *volume.Store // nil until it could be opened
	node    *node.Service // as store
}

// New checks the options and the host and makes the agent's sockets, on which
// callers wait until Run answers them. After an error nothing is left behind.
func New(ctx context.Context, o Options, h Host) (*Agent, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := CheckHost(ctx, h, o.Config); err != nil {
		return nil, err
	}
	a := &Agent{options: o, host: h, opened: make(chan struct{}), settled: make(chan struct{})}
	a.settle = sync.OnceFunc(func() { close(a.settled) })
	if dir := o.registerDir(); dir != "" {
		a.registration = newRegistration(dir, o.Socket)
	}
	a.metrics = newMetrics(a)
	a.server = driver.NewServer(driver.Services{
		Identity: a.identity(), Controller: &a.gate.controller, Node: &a.gate.node,
	}, a.metrics.calls, grpc.ChainUnaryInterceptor(a.gate.intercept))
	if err := a.listen(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// listen takes the lock and the sockets, all or none.
func (a *Agent) listen(ctx context.Context) (err error) {
	if a.lock, err = lockStore(a.options.StateDir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.unlisten())
		}
	}()
	if a.registration != nil {
		if err = a.registration.clear(); err != nil {
			return err
		}
	}
	if a.socket, err = driver.Listen(a.options.Socket); err != nil {
		return err
	}
	if a.options.ClusterAddress != "" {
		if a.cluster, err = newCluster(ctx, a); err != nil {
			return err
		}
	}
	address, err := web.Address(a.options.HTTP)
	if err == nil && address != "" {
		a.web, err = web.Listen(ctx, address, a.metrics.registry, a.ready)
	}
	return err
}

// unlisten gives back what listen had taken when it failed.
func (a *Agent) unlisten() error {
	var errs []error
	if a.cluster != nil {
		errs = append(errs, a.cluster.listener.Close())
	}
	if a.socket != nil {
		errs = append(errs, a.socket.Close())
	}
	return errors.Join(append(errs, a.lock.Close())...)
}

// ClusterAddress is where the router is served, "" for nowhere.
func (a *Agent) ClusterAddress() string {
	if a.cluster == nil {
		return ""
	}
	return a.cluster.listener.Addr().String()
}

// HTTPAddress is where metrics and health are served, "" for nowhere.
func (a *Agent) HTTPAddress() string {
	if a.web == nil {
		return ""
	}
	return a.web.Addr()
}

// Opened is closed once the store is open and every call is served.
func (a *Agent) Opened() <-chan struct{} { return a.opened }

// Run serves until ctx ends. It then takes no new calls, gives those that run
// the grace period, waits for all LVM commands however long they take, and
// returns nil. An error says that it could not serve on.
func (a *Agent) Run(ctx context.Context) error {
	log := klog.FromContext(ctx)
	log.Info("agent starts", "version", driver.Version(), "node", a.options.NodeID, "socket", a.options.Socket,
		"http", a.HTTPAddress(), "cluster", a.ClusterAddress())
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	var work sync.WaitGroup
	work.Go(func() { a.keepLooking(working) })
	work.Go(func() { a.keepTrimming(working) })
	if a.web != nil {
		work.Go(func() { a.web.Serve(working) })
	}
	if a.registration != nil {
		work.Go(func() { a.register(working) })
	}
	err := a.serve(ctx)
	log.Info("agent stops; waiting for running LVM commands")
	stopWork()
	work.Wait()
	if s := a.Store(); s != nil {
		s.Close()
	}
	log.Info("agent stopped")
	return errors.Join(err, a.lock.Close())
}

// serve serves CSI until ctx ends, or until one of the listeners fails.
func (a *Agent) serve(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var router error
	var done sync.WaitGroup
	if a.cluster != nil {
		done.Go(func() {
			defer stop()
			router = driver.Serve(serving, a.cluster.server, a.cluster.listener, a.options.Grace)
		})
	}
	err := driver.Serve(serving, a.server, a.socket, a.options.Grace)
	stop()
	done.Wait()
	return errors.Join(err, router)
}

// register keeps the driver registered with the kubelet while the store is
// open, until ctx ends.
func (a *Agent) register(ctx context.Context) {
	select {
	case <-a.opened:
		a.registration.run(ctx)
	case <-ctx.Done():
	}
}

// ready is nil when volumes are served and, if that was asked for, the kubelet
// knows of it.
func (a *Agent) ready(ctx context.Context) error {
	if err := a.gate.Ready(ctx); err != nil || a.registration == nil {
		return err
	}
	return a.registration.Ready()
}

// Store is the open store, nil before there is one.
func (a *Agent) Store() *volume.Store {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.store
}

// identity is the identity service. A registration that fails is not what it
// tells of: volumes are served without one too.
func (a *Agent) identity() *driver.Identity {
	return driver.NewIdentity(a.gate.Ready).WithManifest(a.manifest)
}

// manifest says whose store this is, and nothing while that is not known.
func (a *Agent) manifest() map[string]string {
	s := a.Store()
	if s == nil {
		return nil
	}
	return map[string]string{driver.ManifestStore: s.Key(), driver.ManifestNode: a.options.NodeID}
}

// open opens the store and begins to serve it.
func (a *Agent) open(ctx context.Context) error {
	o := a.host.StoreOptions(a.options.StateDir, a.options.Config, lvm.WithObserver(a.metrics.command))
	o.Background = true
	s, err := volume.Open(ctx, o)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	a.mu.Lock()
	a.store = s
	a.mu.Unlock()
	n := node.Config{ID: a.options.NodeID, StoreKey: s.Key(), MaxVolumes: s.MaxVolumes()}
	a.node = node.New(n, s, a.host.Mounts)
	a.gate.Open(taking{controller.New(s, a.node), a.settled}, a.node)
	pools := len(s.Pools(ctx))
	if pools > 0 || len(automatic(s).Groups) == 0 {
		a.settle()
	}
	time.AfterFunc(takePatience, a.settle)
	close(a.opened)
	klog.FromContext(ctx).Info("store is open", "store", s.Key(), "pools", pools)
	return nil
}

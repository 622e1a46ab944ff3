package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
)

// What the router may do on the cluster listener, and what is done with
// connections.
const (
	// pingsFrom is the least time between two pings of the router, which sends
	// one every ten seconds, whether it has calls or not.
	pingsFrom = 5 * time.Second
	// pingEvery and pingTimeout find routers that vanished.
	pingEvery   = 30 * time.Second
	pingTimeout = 10 * time.Second
	// handshakeTimeout is for those that connect and say nothing.
	handshakeTimeout = 10 * time.Second
	// connectionAge is how long a connection is used before the router has to
	// prove anew who it is. Its calls end in peace.
	connectionAge = 24 * time.Hour
	// callsAtOnce is more than the router ever has on one agent.
	callsAtOnce = 256
	// refusalsEvery is the time between two log lines about the refused.
	refusalsEvery = 10 * time.Second
)

// cluster is the listener for the router: identity and controller service, and
// of the node service how the storage is, over mutual TLS only.
type cluster struct {
	listener net.Listener
	server   *grpc.Server
	source   *mtls.Source
}

// newCluster listens for the router of the agent's cluster. Without a
// certificate yet, it refuses everybody until there is one.
func newCluster(ctx context.Context, a *Agent) (*cluster, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.options.ClusterAddress)
	if err != nil {
		return nil, fmt.Errorf("--cluster-address %s: %w", a.options.ClusterAddress, err)
	}
	c := &cluster{listener: l, source: mtls.FromDir(a.options.TLSDir, klog.FromContext(ctx))}
	door := &refusals{
		TransportCredentials: credentials.NewTLS(c.source.Server(mtls.Router)),
		log:                  klog.FromContext(ctx), count: a.metrics.refused.Inc,
	}
	// The one who waits for a certificate to come is told at once that it has not.
	if err := c.source.Err(); err != nil {
		klog.FromContext(ctx).Info("the router cannot connect until there is a certificate", "because", err.Error())
	}
	c.server = driver.NewServer(driver.Services{Identity: a.identity(), Controller: &a.gate.controller, Node: health{agent: a}}, a.metrics.calls,
		grpc.ChainUnaryInterceptor(a.gate.intercept), grpc.Creds(door), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(callsAtOnce),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsFrom, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout, MaxConnectionAge: connectionAge}))
	return c, nil
}

// health is all of the node service that a router is served. What mounts is for the
// kubelet, on the Unix socket alone.
type health struct {
	csi.UnimplementedNodeServer
	agent *Agent
}

// NodeGetStorageHealth implements csi.NodeServer. It waits for nothing: what it
// tells is what was seen at the last look.
func (h health) NodeGetStorageHealth(ctx context.Context, _ *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	all, _ := h.agent.Store().StorageHealth(ctx) // the gate is open, so there is one
	return driver.StorageHealth(all), nil
}

// expiry is when the certificate in use expires, in Unix time, 0 for none.
func (c *cluster) expiry() float64 {
	_ = c.source.Err() // has it read what is new
	if t := c.source.Expiry(); !t.IsZero() {
		return float64(t.Unix())
	}
	return 0
}

// refusals counts and logs those who were not let in.
type refusals struct {
	credentials.TransportCredentials
	log   klog.Logger
	count func()

	mu     sync.Mutex
	logged time.Time
	silent int // refused since then without a word
}

// ServerHandshake implements credentials.TransportCredentials.
func (r *refusals) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := r.TransportCredentials.ServerHandshake(raw)
	// Who leaves without a word, such as a probe, was not refused.
	if err != nil && !errors.Is(err, io.EOF) {
		r.count()
		r.report(raw.RemoteAddr(), err)
	}
	return c, info, err
}

// Clone implements credentials.TransportCredentials. A server never calls it.
func (r *refusals) Clone() credentials.TransportCredentials { return r.TransportCredentials.Clone() }

// report logs one refusal, and the number of those that a flood of them hides.
func (r *refusals) report(from net.Addr, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.logged) >= refusalsEvery {
		r.log.Info("refused a connection", "from", from.String(), "because", why.Error(), "unreported", r.silent)
		r.logged, r.silent = now, 0
		return
	}
	r.silent++
}

package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

const (
	// firstLook and lastLook bound the pause between two looks at an agent that
	// is not seated: it may be there in a moment, or wait for its operator.
	firstLook = 100 * time.Millisecond
	lastLook  = 5 * time.Second

	// noticed is how long after a call that failed it is known that the
	// connection has ended.
	noticed = 100 * time.Millisecond

	// lifeTime and lifeTimeout are how soon it is noticed that an agent has gone
	// without a word, as a machine does that loses its power. gRPC lets a client
	// ask every 10 seconds at most.
	lifeTime    = 10 * time.Second
	lifeTimeout = 3 * time.Second

	// buffer is the size of each of a connection's buffers, of which there are
	// as many as there are nodes: calls are small.
	buffer = 4 << 10
	// maxAnswer bounds an answer of an agent, in bytes: a list of all volumes.
	maxAnswer = 32 << 20
)

// agent is the connection to one agent, for as long as its endpoint exists.
type agent struct {
	Endpoint
	came       time.Time
	conn       *grpc.ClientConn
	controller csi.ControllerClient
	identity   csi.IdentityClient
	nodes      csi.NodeClient // of which agents serve us one call
	// changes and reads are what it may be asked for at the same time.
	changes, reads slots
	stop           context.CancelFunc

	// What follows is guarded by the fleet.
	state   state
	trouble string // why it is refused
	store   string // which it names; "" if none, or if it is not believed
}

// state is what an agent is to the router.
type state string

const (
	away     state = "away"     // not connected
	starting state = "starting" // connected, and names no store yet
	refused  state = "refused"  // connected, and must not serve the store it names
	serving  state = "serving"  // has the seat of its store
)

func newAgent(e Endpoint, c Config) (*agent, error) {
	reconnect := backoff.Config{BaseDelay: firstLook, Multiplier: 1.6, Jitter: 0.2, MaxDelay: c.Backoff}
	conn, err := grpc.NewClient("passthrough:///"+e.Address,
		grpc.WithTransportCredentials(c.Credentials),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: c.Dial}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: lifeTime, Timeout: lifeTimeout, PermitWithoutStream: true}),
		grpc.WithIdleTimeout(0), // it is asked for life all the time
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithReadBufferSize(buffer), grpc.WithWriteBufferSize(buffer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("agent of node %s at %s: %w", e.Node, e.Address, err)
	}
	return &agent{
		Endpoint: e, came: time.Now(), conn: conn, controller: csi.NewControllerClient(conn), identity: csi.NewIdentityClient(conn),
		nodes:   csi.NewNodeClient(conn),
		changes: make(slots, c.Changes), reads: make(slots, c.Changes), state: away,
	}, nil
}

// watch keeps the agent connected and has serve run while it is, until ctx ends.
func (a *agent) watch(ctx context.Context, serve func(context.Context), lost func()) {
	defer func() { _ = a.conn.Close() }() // nothing is left to say on it
	for ctx.Err() == nil {
		was := a.conn.GetState()
		switch was {
		case connectivity.Ready:
			a.session(ctx, serve, lost)
			continue
		case connectivity.Idle:
			a.conn.Connect()
		}
		a.conn.WaitForStateChange(ctx, was)
	}
}

// session is one connection to the agent. It is lost as soon as that is, even
// if it is made again at once: another process may answer then.
func (a *agent) session(ctx context.Context, serve func(context.Context), lost func()) {
	ctx, end := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { serve(ctx) })
	a.conn.WaitForStateChange(ctx, connectivity.Ready)
	lost()
	end()
	work.Wait()
}

// introduce asks the agent which store it serves; "" is none yet.
func (a *agent) introduce(ctx context.Context, patience time.Duration) (store, node string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	info, err := a.identity.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	if err != nil {
		return "", "", fmt.Errorf("ask the agent of node %s at %s who it is: %w", a.Node, a.Address, err)
	}
	return info.GetManifest()[driver.ManifestStore], info.GetManifest()[driver.ManifestNode], nil
}

// slots are the calls that one agent may have at the same time, so that a hung
// one does not take all of a sidecar's workers.
type slots chan struct{}

// take takes a slot, or is a volume.ErrBusy when there is none.
func (s slots) take(node string) (free func(), err error) {
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	default:
		return nil, fmt.Errorf("node %s has %d calls to answer first: %w", node, cap(s), volume.ErrBusy)
	}
}

// pause waits for about that long, or until ctx ends or wake is closed.
// It says whether ctx has not ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d/2 + rand.N(d/2+1) + d/4) //nolint:gosec // nobody gains by guessing it
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

// log is the logger of what concerns this agent.
func (a *agent) log(ctx context.Context) klog.Logger {
	return klog.FromContext(ctx).WithValues("node", a.Node, "address", a.Address)
}

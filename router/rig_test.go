package router_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
	"github.com/lvme/lvme/volume"
)

const (
	gib = int64(1) << 30
	// patience is how long a test waits for what must come.
	patience = 20 * time.Second
)

// place is a cluster with agents, and routers in front of them.
type place struct {
	*testing.T
	cluster *routertest.Cluster
	ledger  *routertest.Ledger
	agents  []*routertest.Agent
	drives  []*routertest.Drives
}

// storeKey is the key of the n-th store, nodeName the name of its node.
func storeKey(n int) string { return fmt.Sprintf("store%03d", n) }
func nodeName(n int) string { return fmt.Sprintf("node-%d", n) }

// newPlace has n agents with 100 GiB each; class "fast-<n>" is on the n-th only.
func newPlace(t *testing.T, n int) *place {
	t.Helper()
	p := &place{T: t, cluster: &routertest.Cluster{}, ledger: &routertest.Ledger{}}
	for range n {
		p.add(storeKey(len(p.agents)))
	}
	p.tell()
	return p
}

// add adds an agent that nobody knows of yet.
func (p *place) add(store string) *routertest.Agent {
	p.Helper()
	n := len(p.agents)
	d := routertest.NewDrives(store, 100*gib, fmt.Sprintf("fast-%d", n))
	a := routertest.NewAgent(p.T, nodeName(n), store, d)
	p.drives, p.agents = append(p.drives, d), append(p.agents, a)
	return a
}

// tell has the cluster know all agents but these.
func (p *place) tell(but ...int) {
	var endpoints []router.Endpoint
	for i, a := range p.agents {
		left := false
		for _, n := range but {
			left = left || n == i
		}
		if !left {
			endpoints = append(endpoints, a.Endpoint())
		}
	}
	p.cluster.SetEndpoints(endpoints...)
}

// quick are times that suit a test.
func quick() router.Config {
	return router.Config{
		Restart: time.Second, GiveUp: 1500 * time.Millisecond, Displace: 2 * time.Second, Settle: time.Millisecond,
		Tend: 50 * time.Millisecond, Backoff: 100 * time.Millisecond, Refresh: 100 * time.Millisecond, Changes: 3,
	}
}

// running is a router behind its socket.
type running struct {
	csi.ControllerClient
	*testing.T
	router   *router.Router
	registry *prometheus.Registry
	stop     func()
	round    int
}

// start starts a router; it is ready on return.
func (p *place) start(c router.Config) *running {
	p.Helper()
	r := &running{T: p.T, registry: prometheus.NewRegistry()}
	c.Cluster, c.Ledger, c.Registerer = p.cluster, p.ledger.Replica(), r.registry
	if c.Credentials == nil {
		c.Credentials = plainText
	}
	var err error
	if r.router, err = router.New(c); err != nil {
		p.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "router")
	if err != nil {
		p.Fatal(err)
	}
	path := filepath.Join(dir, "s", "csi.sock")
	l, err := driver.Listen(path)
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	server := driver.NewServer(driver.Services{Identity: driver.NewIdentity(r.router.Ready), Controller: r.router}, driver.NewMetrics(r.registry))
	done := make(chan struct{}, 2)
	go func() { r.router.Run(ctx); done <- struct{}{} }()
	go func() {
		if err := driver.Serve(ctx, server, l, 0); err != nil {
			p.Error(err)
		}
		done <- struct{}{}
	}()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.Fatal(err)
	}
	r.ControllerClient = csi.NewControllerClient(conn)
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			select {
			case <-done:
			case <-time.After(patience):
				p.Error("the router does not stop")
			}
		}
		_ = conn.Close()
		_ = os.RemoveAll(dir)
	}
	p.Cleanup(r.stop)
	r.until("the router is ready", func() bool { return r.router.Ready(ctx) == nil })
	return r
}

// until waits for something that must come.
func (r *running) until(what string, is func() bool) {
	r.Helper()
	end := time.Now().Add(patience)
	for !is() {
		if time.Now().After(end) {
			r.Fatalf("not after %s: %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// serving waits until the router has that many agents in that state.
func (r *running) agents(state string, n int) {
	r.Helper()
	r.until(fmt.Sprintf("%d agents %s", n, state), func() bool { return r.metric("lvme_router_agents", state) == float64(n) })
}

// idle waits until no call is on its way to an agent: one that ended for its
// caller gives its slot back a moment later.
func (r *running) idle() {
	r.Helper()
	r.until("nothing runs", func() bool {
		return r.metric("lvme_router_calls_in_flight", "change")+r.metric("lvme_router_calls_in_flight", "read") == 0
	})
}

// metric is the value of a metric with that label value, "" for none.
func (r *running) metric(name, label string) float64 {
	r.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	r.Fatalf("there is no metric %s{%s}", name, label)
	return 0
}

// within is a context with that deadline.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// plainText is for agents on the loopback interface.
var plainText = insecure.NewCredentials()

// codeOf is the code of a call that was made over a socket.
func codeOf(err error) codes.Code { return status.Code(err) }

// tombstone is an old one of a name.
func tombstone(store, name string) router.Tombstone {
	return router.Tombstone{Store: store, Name: name, Since: time.Now().Add(-time.Minute)}
}

// wantCode fails unless err has that code.
func wantCode(t testing.TB, what string, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// in is a requirement of these stores, as csi-provisioner makes one for a pod
// that was scheduled.
func in(stores ...string) *csi.TopologyRequirement {
	r := new(csi.TopologyRequirement)
	for _, s := range stores {
		r.Requisite = append(r.Requisite, driver.Topology(s))
	}
	r.Preferred = r.Requisite
	return r
}

// volumeOf is a request for a volume of 1 GiB.
func volumeOf(name string, where *csi.TopologyRequirement) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, AccessibilityRequirements: where, CapacityRange: &csi.CapacityRange{RequiredBytes: gib},
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
			AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		}},
	}
}

func (r *running) create(req *csi.CreateVolumeRequest) *csi.Volume {
	r.Helper()
	resp, err := r.CreateVolume(within(r, patience), req)
	if err != nil {
		r.Fatalf("create %s: %v", req.GetName(), err)
	}
	return resp.GetVolume()
}

// storeOf is the store of an id.
func storeOf(t testing.TB, id string) string {
	t.Helper()
	key, err := volume.ParseKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return key.Store
}

// owed are the tombstones as texts: "store id name".
func (p *place) owed() string {
	var all []string
	for _, t := range p.ledger.All() {
		all = append(all, strings.TrimSpace(t.Store+" "+t.ID+t.Name))
	}
	return strings.Join(all, ", ")
}

package sanity

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
	"github.com/lvme/lvme/volume"
)

// The specs of the node service make volumes without saying where, as callers
// do that know of one node only, and then use them on the first node: those
// volumes are of a class that only that node has. All others are of a class
// that both have.
const (
	bothHave     = "default"
	firstHas     = "here"
	nodeService  = "Node Service"
	firstSerial  = "LVME0000"
	secondSerial = "LVME0001"
)

// routedRounds are those through a router. All of its volumes are thin, for a
// router offers what any of its nodes can do: with nodes of thick volumes alone
// the specs of snapshots would not be skipped.
func routedRounds() []*round {
	var all []*round
	for i, access := range []string{"mount", "block"} {
		all = append(all, &round{where: "router", kind: volume.Thin, access: access, host: countedBench, routed: true, number: i})
	}
	return all
}

// counted counts the volumes that a machine was told to make.
type counted struct {
	run.Runner
	made atomic.Int32
}

// Run implements run.Runner.
func (c *counted) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	if slices.Contains(cmd.Args, "lvcreate") && slices.ContainsFunc(cmd.Args, func(a string) bool { return strings.Contains(a, "v-") }) {
		c.made.Add(1)
	}
	return c.Runner.Run(ctx, cmd)
}

func countedBench(tb testing.TB) *bench {
	b := fakeBench(tb)
	b.Runner = &counted{Runner: b.Runner}
	return b
}

// cluster is what a round through a router has besides its agent.
type cluster struct {
	authority *mtls.Authority
	nodes     [2]*bench
	agents    [2]*agenttest.Running
	ledger    routertest.Ledger
	socket    string // of the router
}

func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	a, err := mtls.NewAuthority(time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return &cluster{authority: a}
}

// issue makes a certificate of a role.
func (c *cluster) issue(tb testing.TB, role mtls.Role) mtls.Pair {
	tb.Helper()
	p, err := c.authority.Issue(role, time.Now(), mtls.LeafLife)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// join makes an agent's options those of a node of the cluster.
func (c *cluster) join(tb testing.TB, o agent.Options, node string) agent.Options {
	tb.Helper()
	o.NodeID, o.ClusterAddress, o.TLSDir = node, "127.0.0.1:0", tb.TempDir()
	p := c.issue(tb, mtls.Agent)
	for name, text := range map[string][]byte{mtls.CertFile: p.Cert, mtls.KeyFile: p.Key, mtls.CAFile: c.authority.Cert()} {
		if err := os.WriteFile(filepath.Join(o.TLSDir, name), text, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return o
}

// first are the options of the node's agent. Each of its drives has a class.
func (c *cluster) first(tb testing.TB, o agent.Options) agent.Options {
	tb.Helper()
	both := o.Config.Default()
	here := both
	both.Name, both.Select = bothHave, drive.Selector{Serials: []string{firstSerial}}
	here.Name, here.Select = firstHas, drive.Selector{Serials: []string{secondSerial}}
	o.Config.Classes = []drive.Class{both, here}
	return c.join(tb, o, "node-1")
}

// begin starts the second node and the router, and returns a connection to it.
func (c *cluster) begin(tb testing.TB, r *round) *grpc.ClientConn {
	tb.Helper()
	other := r.host(tb)
	o := agenttest.Options(tb)
	o.Config, o.KubeletDir = r.classes(), other.root
	other.options = c.join(tb, o, "node-2")
	c.nodes = [2]*bench{r.bench, other}
	c.agents = [2]*agenttest.Running{r.agent, agenttest.Start(tb, other.options, other.Host).WaitOpen()}
	other.awaitRoom(tb, c.agents[1], r.kind)
	conn := c.startRouter(tb)
	for _, a := range c.agents {
		eventually(tb, "the router knows how much room each node has", func(ctx context.Context) bool {
			resp, err := csi.NewControllerClient(conn).GetCapacity(ctx, &csi.GetCapacityRequest{AccessibleTopology: driver.Topology(a.Store().Key())})
			return err == nil && resp.GetAvailableCapacity() > 0
		}, a)
	}
	return conn
}

// startRouter starts the router as the controller's process does.
func (c *cluster) startRouter(tb testing.TB) *grpc.ClientConn {
	tb.Helper()
	source := mtls.FromCode()
	if err := source.Set(c.issue(tb, mtls.Router), c.authority.Cert()); err != nil {
		tb.Fatal(err)
	}
	all := &routertest.Cluster{}
	all.SetEndpoints(
		router.Endpoint{Node: "node-1", Address: c.agents[0].ClusterAddress()},
		router.Endpoint{Node: "node-2", Address: c.agents[1].ClusterAddress()})
	r, err := router.New(router.Config{Cluster: all, Ledger: c.ledger.Replica(), Credentials: credentials.NewTLS(source.Client(mtls.Agent))})
	if err != nil {
		tb.Fatal(err)
	}
	c.socket = agenttest.Options(tb).Socket
	l, err := driver.Listen(c.socket)
	if err != nil {
		tb.Fatal(err)
	}
	srv := driver.NewServer(driver.Services{Identity: driver.NewIdentity(r.Ready), Controller: r}, driver.NewMetrics(prometheus.NewRegistry()))
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 2)
	go func() { ended <- driver.Serve(ctx, srv, l, agent.DefaultGrace) }()
	go func() { r.Run(ctx); ended <- nil }()
	conn, err := grpc.NewClient("unix:"+c.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		stop()
		for range cap(ended) {
			if err := <-ended; err != nil {
				tb.Errorf("the router: %v", err)
			}
		}
	})
	return conn
}

// chooseClass has the spec that comes make its volumes in the class for it.
func (r *round) chooseClass(spec types.SpecReport) {
	if r.cluster == nil {
		return
	}
	class := bothHave
	if slices.ContainsFunc(spec.ContainerHierarchyTexts, func(text string) bool { return strings.HasPrefix(text, nodeService) }) {
		class = firstHas
	}
	r.config.TestVolumeParameters[driver.ParamDriveClass] = class
}

// leftovers is what the round left on the second node and with the router. That
// both nodes had volumes is looked at too: else the router was not tried.
func (c *cluster) leftovers(tb testing.TB) []string {
	tb.Helper()
	left := leftovers(c.nodes[1].leftovers(tb, c.agents[1]))
	if owed := c.ledger.All(); len(owed) > 0 {
		left.Errorf("the router owes the deletions %+v", owed)
	}
	for i, b := range c.nodes {
		if n, ok := b.Runner.(*counted); !ok || n.made.Load() == 0 {
			left.Errorf("no volume was ever made on node-%d", i+1)
		}
	}
	return left
}

func TestChooseClass(t *testing.T) {
	for name, want := range map[string]string{"Node Service": firstHas, "ExpandVolume [Controller Server]": bothHave, "Identity Service": bothHave} {
		r := &round{cluster: &cluster{}}
		r.config.TestVolumeParameters = map[string]string{}
		r.chooseClass(types.SpecReport{ContainerHierarchyTexts: []string{fmt.Sprintf("router %s", r.name()), name}})
		if got := r.config.TestVolumeParameters[driver.ParamDriveClass]; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

package sanity

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"google.golang.org/grpc"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// Sizes are multiples of an extent, since csi-sanity wants what it gets to be
// exactly what it asked for. Five volumes of one spec stand at once, and of
// deleted thick ones some are still being wiped: 2 drives of 4 GiB are enough.
const (
	volumeBytes   = 320 << 20
	expandedBytes = 384 << 20
)

// round is one run of all specs against one agent, or against a router and two
// agents, the first of which is the node.
type round struct {
	where  string
	kind   volume.Type
	access string // mount or block
	host   func(testing.TB) *bench
	routed bool
	number int

	cluster *cluster // nil without a router

	bench   *bench
	agent   *agenttest.Running
	config  sanity.TestConfig
	offered map[string]bool // the agent's capabilities
	specs   []types.SpecReport
	left    []string // what was left behind, or not as it should be
}

func (r *round) name() string { return string(r.kind) + "-" + r.access }

// register registers the specs of the round and what surrounds them.
func (r *round) register() {
	r.config = sanity.NewTestConfig()
	calls := sanity.GinkgoTest(&r.config)
	ginkgo.BeforeAll(func() { r.begin(ginkgo.GinkgoTB()) })
	ginkgo.BeforeEach(func() { r.chooseClass(ginkgo.CurrentSpecReport()) })
	ginkgo.AfterAll(func() {
		calls.Finalize()
		r.left = r.bench.leftovers(ginkgo.GinkgoTB(), r.agent)
		if r.cluster != nil {
			r.left = append(r.left, r.cluster.leftovers(ginkgo.GinkgoTB())...)
		}
	})
	ginkgo.ReportAfterEach(func(spec ginkgo.SpecReport) { r.specs = append(r.specs, spec) })
}

// begin starts the agent, which takes the drives by itself, and what else there
// is in a cluster.
func (r *round) begin(tb testing.TB) {
	tb.Helper()
	r.bench = r.host(tb)
	o := agenttest.Options(tb)
	o.Config, o.KubeletDir = r.classes(), r.bench.root
	controller := func() *grpc.ClientConn { return r.agent.Conn }
	if r.routed {
		r.cluster = newCluster(tb)
		o = r.cluster.first(tb, o)
		controller = func() *grpc.ClientConn { return r.cluster.begin(tb, r) }
	}
	r.bench.options = o
	r.agent = agenttest.Start(tb, o, r.bench.Host).WaitOpen()
	r.bench.awaitRoom(tb, r.agent, r.kind)
	r.offered = offered(tb, r.agent.Conn, controller())
	r.configure(tb, o)
}

// classes are those of a node for thick volumes alone, which has neither
// snapshots nor clones, or of one for both.
func (r *round) classes() drive.Config {
	c := drive.DefaultConfig()
	class := c.Default()
	class.Auto, class.Thin.Share, class.Thick.Share = true, 60, 30
	if r.kind == volume.Thick {
		class.Thin.Share, class.Thick.Share = 0, 90
	}
	c.Classes = []drive.Class{class}
	return c
}

// configure completes the configuration that the specs have a pointer to.
func (r *round) configure(tb testing.TB, o agent.Options) {
	tb.Helper()
	c := &r.config
	c.Address = "unix:" + o.Socket
	if r.cluster != nil {
		c.ControllerAddress = "unix:" + r.cluster.socket
	}
	c.TargetPath, c.StagingPath = filepath.Join(r.bench.root, "target"), filepath.Join(r.bench.root, "staging")
	c.TestVolumeSize, c.TestVolumeExpandSize = volumeBytes, expandedBytes
	c.TestVolumeAccessType = r.access
	c.TestVolumeParameters = map[string]string{driver.ParamType: string(r.kind)}
	if r.kind == volume.Thick {
		c.TestVolumeParameters[driver.ParamFSType] = "xfs" // thin volumes have the default, ext4
	}
	store := r.agent.Store()
	c.IDGen = &ids{store: store.Key(), vg: store.Pools(tb.Context())[0].ID, next: r.number}
}

// ids makes the ids of volumes that do not exist, of three kinds in turn. The
// rounds begin with different ones, so that a spec meets each of them.
type ids struct {
	sanity.DefaultIDGenerator
	store, vg string
	next      int
}

// GenerateUniqueValidVolumeID implements sanity.IDGenerator. An id of another
// store is none of these: its volume may exist, on another node.
func (g *ids) GenerateUniqueValidVolumeID() string {
	g.next++
	key := volume.Key{Store: g.store, VG: g.vg, LV: "v-nobody-" + strconv.Itoa(g.next)}
	switch g.next % 3 {
	case 0:
		return g.DefaultIDGenerator.GenerateUniqueValidVolumeID() // of nobody
	case 1:
		return key.String()
	default:
		key.VG = "gonegone"
		return key.String()
	}
}

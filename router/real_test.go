package router_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
	"github.com/lvme/lvme/volume"
)

// slowCreate holds back each lvcreate of a volume until it is let go.
type slowCreate struct {
	run.Runner
	held, let chan struct{}
}

func (s *slowCreate) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if slices.Contains(c.Args, "lvcreate") && slices.ContainsFunc(c.Args, func(a string) bool { return strings.Contains(a, "v-") }) {
		select {
		case s.held <- struct{}{}:
		case <-s.let:
		}
		<-s.let
	}
	return s.Runner.Run(ctx, c)
}

// realAgent is an agent on a host in memory, in a cluster. It returns what lets
// it create volumes.
func realAgent(t *testing.T, trust *routertest.Trust) (e router.Endpoint, store string, slow *slowCreate) {
	t.Helper()
	o := agenttest.Options(t)
	o.ClusterAddress, o.TLSDir = "127.0.0.1:0", t.TempDir()
	trust.WriteAgent(o.TLSDir)
	h := agenttest.NewHost(t, 1).Agent()
	slow = &slowCreate{Runner: h.Runner, held: make(chan struct{}), let: make(chan struct{})}
	h.Runner = slow
	s, err := volume.Open(t.Context(), h.StoreOptions(o.StateDir, o.Config))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Init(t.Context(), s.Plan(nil), func(string) {}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	a := agenttest.Start(t, o, h).WaitOpen()
	return router.Endpoint{Node: o.NodeID, Address: a.ClusterAddress()}, s.Key(), slow
}

// TestRealAgent: over TLS to a true agent. What it promises and the router
// builds upon: a creation that still runs when its tombstone is paid is seen,
// and what it makes in the end is deleted.
func TestRealAgent(t *testing.T) {
	t.Parallel()
	trust := routertest.NewTrust(t)
	p := &place{T: t, cluster: &routertest.Cluster{}, ledger: &routertest.Ledger{}}
	endpoint, store, slow := realAgent(t, trust)
	stranger := routertest.NewAgent(t, "stranger", "stranger", routertest.NewDrives("stranger", gib, ""))
	p.cluster.SetEndpoints(endpoint, stranger.Endpoint())
	c := quick()
	c.Credentials = trust.Router()
	r := p.start(c)
	r.agents("serving", 1)
	r.agents("away", 1) // it speaks plain text

	ctx, leave := context.WithCancel(t.Context())
	go func() { <-slow.held; leave() }()
	_, err := r.CreateVolume(ctx, volumeOf("slow", in(store)))
	wantCode(t, "a creation that its caller does not wait for", err, codes.Canceled)
	if err := p.ledger.Replica().Add(t.Context(), tombstone(store, "slow")); err != nil {
		t.Fatal(err)
	}
	<-time.After(10 * quick().Tend)
	if owed := p.owed(); owed == "" {
		t.Error("paid while the creation runs")
	}
	close(slow.let)
	r.until("what was made is deleted", func() bool { return p.owed() == "" })
	list, err := r.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{SnapshotId: store + "/00000000/s-x"})
	if err != nil || len(list.GetEntries()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	v := r.create(volumeOf("slow", nil))
	if storeOf(t, v.GetVolumeId()) != store {
		t.Errorf("made %s", v.GetVolumeId())
	}
	if available, _ := r.capacity(driver.Topology(store), ""); available == 0 {
		t.Error("no capacity")
	}
	_, err = r.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
	wantCode(t, "delete", err, codes.OK)
}

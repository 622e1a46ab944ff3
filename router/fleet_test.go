package router_test

import (
	"context"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
)

// serves says which agent is asked for the store.
func serves(t *testing.T, r *running, p *place, store string) int {
	t.Helper()
	before := make([]int, len(p.agents))
	for i, a := range p.agents {
		before[i] = a.Calls("ControllerGetVolume")
	}
	_, err := r.ControllerGetVolume(within(t, patience), &csi.ControllerGetVolumeRequest{VolumeId: store + "/vg000001/v-x"})
	for i, a := range p.agents {
		if a.Calls("ControllerGetVolume") > before[i] {
			return i
		}
	}
	t.Logf("nobody serves %s: %v", store, err)
	return -1
}

// TestTwoAgentsWithOneKey: whoever has the store keeps it, until he has been
// away for long.
func TestTwoAgentsWithOneKey(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	copyOf := p.add(storeKey(0)) // on node-1
	r := p.start(quick())
	r.agents("serving", 1)
	p.tell()
	r.agents("refused", 1)
	if i := serves(t, r, p, storeKey(0)); i != 0 {
		t.Errorf("agent %d serves", i)
	}
	if n := r.metric("lvme_router_refusals_total", ""); n != 1 {
		t.Errorf("%v refusals", n)
	}
	if holder, _ := p.cluster.Holder(storeKey(0)); holder != nodeName(0) || p.cluster.Claims() != 1 {
		t.Errorf("the label is on %s after %d claims", holder, p.cluster.Claims())
	}
	p.agents[0].Stop()
	r.agents("away", 1)
	_, err := r.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: storeKey(0) + "/vg000001/v-x"})
	wantCode(t, "delete while the incumbent is away", err, codes.Unavailable)
	if n := copyOf.Calls("DeleteVolume"); n > 0 {
		t.Error("the newcomer was asked")
	}
	p.agents[0].Start()
	r.until("the incumbent is back", func() bool { return serves(t, r, p, storeKey(0)) == 0 })

	p.agents[0].Stop()
	start := time.Now()
	r.until("the newcomer takes over", func() bool { return serves(t, r, p, storeKey(0)) == 1 })
	if took := time.Since(start); took < quick().Displace-100*time.Millisecond {
		t.Errorf("after %s", took)
	}
	r.until("the label is moved", func() bool { holder, _ := p.cluster.Holder(storeKey(0)); return holder == nodeName(1) })
	p.agents[0].Start()
	r.agents("refused", 1)
	if i := serves(t, r, p, storeKey(0)); i != 1 {
		t.Errorf("agent %d serves", i)
	}
}

// TestIncumbentAfterARestart: a router that has just started believes the label.
func TestIncumbentAfterARestart(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.add(storeKey(0))
	p.tell(0)
	p.cluster.SetHolder(storeKey(0), nodeName(0))
	r := p.start(quick())
	r.agents("refused", 1)
	if i := serves(t, r, p, storeKey(0)); i != -1 {
		t.Errorf("agent %d serves", i)
	}
	p.tell()
	r.until("the incumbent comes", func() bool { return serves(t, r, p, storeKey(0)) == 0 })
	r.agents("refused", 1)
}

// TestChassisSwap: the drives, and the label with them, move to another node.
func TestChassisSwap(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	r := p.start(quick())
	r.until("claimed", func() bool { return p.cluster.Claims() == 1 })
	p.add(storeKey(0))
	p.agents[0].Stop()
	p.cluster.SetDown(true) // the label cannot be moved at first
	p.tell(0)
	r.until("it is served from the other node", func() bool { return serves(t, r, p, storeKey(0)) == 1 })
	p.cluster.SetDown(false)
	r.until("the label is moved", func() bool { holder, _ := p.cluster.Holder(storeKey(0)); return holder == nodeName(1) })
}

// TestLabelLetsIn: when the incumbent is away, a node that has the label, or one
// of a store whose node was deleted, need not wait.
func TestLabelLetsIn(t *testing.T) {
	t.Parallel()
	for _, holder := range []string{"", nodeName(1)} {
		c := quick()
		c.Displace = time.Hour
		p := newPlace(t, 1)
		p.add(storeKey(0))
		r := p.start(c)
		r.until("claimed", func() bool { return p.cluster.Claims() == 1 })
		p.tell()
		p.agents[0].Stop()
		r.agents("away", 1)
		r.agents("refused", 1)
		p.cluster.SetHolder(storeKey(0), holder)
		r.until("the newcomer is let in", func() bool { return serves(t, r, p, storeKey(0)) == 1 })
	}
}

func TestUnknownIncumbent(t *testing.T) {
	p := newPlace(t, 1)
	p.cluster.SetDown(true)
	r := p.start(quick())
	r.agents("refused", 1)
	p.cluster.SetDown(false)
	r.agents("serving", 1)
}

// TestCutFromTheAPI: while the cluster cannot be asked, an agent that restarts
// gets its own seat back.
func TestCutFromTheAPI(t *testing.T) {
	p := newPlace(t, 1)
	c := quick()
	c.Displace = time.Hour
	r := p.start(c)
	r.agents("serving", 1)
	p.cluster.SetDown(true)
	p.agents[0].Stop()
	r.agents("away", 1)
	p.agents[0].Start()
	r.agents("serving", 1)
}

func TestAgentOfAnotherNode(t *testing.T) {
	p := newPlace(t, 1)
	p.agents[0].Say(storeKey(0), "node-9")
	r := p.start(quick())
	r.agents("refused", 1)
	_, err := r.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
	wantCode(t, "list", err, codes.Unavailable)
	p.agents[0].Say(storeKey(0), nodeName(0))
	r.agents("serving", 1)
}

// withVolume is a router that waits long for its one agent, and get, which asks
// for a volume there.
func withVolume(t *testing.T) (p *place, r *running, get func(when string, want codes.Code)) {
	t.Helper()
	c := quick()
	c.Restart = patience
	p = newPlace(t, 1)
	r = p.start(c)
	id := r.create(volumeOf("v", nil)).GetVolumeId()
	return p, r, func(when string, want codes.Code) {
		t.Helper()
		_, err := r.ControllerGetVolume(within(t, patience), &csi.ControllerGetVolumeRequest{VolumeId: id})
		wantCode(t, when, err, want)
	}
}

// TestRestartIsWaitedFor: calls outlive the restart of an agent, in its place or
// as a new pod, and its store may come up later.
func TestRestartIsWaitedFor(t *testing.T) {
	t.Parallel()
	p, r, get := withVolume(t)
	for range 3 {
		p.agents[0].Stop()
		r.agents("away", 1)
		time.AfterFunc(100*time.Millisecond, p.agents[0].Start)
		get("a restart in its place", codes.OK)
	}
	old := p.agents[0]
	p.agents[0] = routertest.NewAgent(t, nodeName(0), "", p.drives[0])
	p.tell()
	old.Stop()
	time.AfterFunc(200*time.Millisecond, func() { p.agents[0].Say(storeKey(0), nodeName(0)) })
	get("a new pod whose store opens late", codes.OK)
	if n := r.metric("lvme_router_agents", "serving"); n != 1 {
		t.Errorf("%v agents serve", n)
	}
}

// TestCutOff: a call that was with the agent as it ended is made once more to
// the one that comes, and no more often.
func TestCutOff(t *testing.T) {
	t.Parallel()
	p, _, get := withVolume(t)
	left := 1
	p.agents[0].SetHook(func(ctx context.Context, method string, next func() (any, error)) (any, error) {
		if method == "ControllerGetVolume" && left > 0 {
			left--
			go func() { p.agents[0].Stop(); p.agents[0].Start() }()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return next()
	})
	get("cut off once", codes.OK)
	left = 2
	get("cut off twice", codes.Unavailable)
}

func TestReady(t *testing.T) {
	c := quick()
	c.Cluster, c.Ledger, c.Credentials = &routertest.Cluster{}, (&routertest.Ledger{}).Replica(), plainText
	r, err := router.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Ready(t.Context()) == nil {
		t.Error("ready before it runs")
	}
	_, err = r.DeleteVolume(within(t, 100*time.Millisecond), &csi.DeleteVolumeRequest{VolumeId: storeKey(0) + "/vg000001/v-x"})
	if err == nil {
		t.Error("deleted by nobody")
	}
	if resp, err := r.ControllerGetCapabilities(t.Context(), nil); err != nil || len(resp.GetCapabilities()) < 10 {
		t.Errorf("capabilities %v, %v", resp, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	for r.Ready(t.Context()) != nil {
		<-time.After(time.Millisecond)
	}
	stop()
	<-done
}

func TestConfig(t *testing.T) {
	good := router.Config{Cluster: &routertest.Cluster{}, Ledger: (&routertest.Ledger{}).Replica(), Credentials: plainText}
	for name, spoil := range map[string]func(*router.Config){
		"no cluster":        func(c *router.Config) { c.Cluster = nil },
		"no ledger":         func(c *router.Config) { c.Ledger = nil },
		"no credentials":    func(c *router.Config) { c.Credentials = nil },
		"a negative time":   func(c *router.Config) { c.GiveUp = -1 },
		"a negative number": func(c *router.Config) { c.Changes = -1 },
	} {
		c := good
		spoil(&c)
		if _, err := router.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := router.New(good); err != nil {
		t.Error(err)
	}
}

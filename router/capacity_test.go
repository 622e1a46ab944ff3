package router_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router/routertest"
)

// capacity asks for the capacity of a class there, as csi-provisioner does.
func (r *running) capacity(where *csi.Topology, class string) (available, largest int64) {
	r.Helper()
	req := &csi.GetCapacityRequest{AccessibleTopology: where}
	if class != "" {
		req.Parameters = map[string]string{driver.ParamDriveClass: class}
	}
	resp, err := r.GetCapacity(within(r, patience), req)
	if err != nil || resp.GetMaximumVolumeSize() == nil {
		r.Errorf("capacity of %q in %v: %v, %v", class, where, resp, err)
	}
	return resp.GetAvailableCapacity(), resp.GetMaximumVolumeSize().GetValue()
}

func TestCapacity(t *testing.T) {
	p := newPlace(t, 3)
	p.cluster.SetSegments(nodeName(2), map[string]string{zone: "c"})
	r := p.start(quick())
	const all = 100 * gib
	for _, tc := range []struct {
		name           string
		where          *csi.Topology
		class          string
		available, max int64
	}{
		{"one store", driver.Topology(storeKey(1)), "", all, all},
		{"everywhere", nil, "", 3 * all, all},
		{"everywhere, said otherwise", segments(), "", 3 * all, all},
		{"a class of one node, there", driver.Topology(storeKey(1)), "fast-1", all, all},
		{"a class of one node, elsewhere", driver.Topology(storeKey(0)), "fast-1", 0, 0},
		{"a class of one node, everywhere", nil, "fast-1", all, all},
		{"a class of nobody", nil, "none", 0, 0},
		{"a zone", segments(zone, "c"), "", all, all},
		{"a store in its zone", segments(zone, "c", driver.TopologyKey, storeKey(2)), "", all, all},
		{"a store in another zone", segments(zone, "c", driver.TopologyKey, storeKey(1)), "", 0, 0},
		{"a zone of nobody", segments(zone, "z"), "", 0, 0},
		{"a store of nobody", driver.Topology("nobodys0"), "", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if available, largest := r.capacity(tc.where, tc.class); available != tc.available || largest != tc.max {
				t.Errorf("%d, at most %d; want %d and %d", available, largest, tc.available, tc.max)
			}
		})
	}
}

// TestCapacityIsFresh: right after each change that goes through the router,
// and soon after any other.
func TestCapacityIsFresh(t *testing.T) {
	p := newPlace(t, 2)
	slow := quick()
	slow.Refresh = time.Hour
	r := p.start(slow)
	here := driver.Topology(storeKey(0))
	wantFree := func(after string, want int64) {
		t.Helper()
		// Quantised to 7 bits: 64 to 128 GiB in whole GiB.
		if got, _ := r.capacity(here, ""); got != want*gib {
			t.Errorf("after %s: %d GiB, want %d", after, got/gib, want)
		}
	}
	wantFree("the start", 100)
	asked := p.agents[0].Calls("GetCapacity")
	for range 20 {
		wantFree("no change", 100)
	}
	if n := p.agents[0].Calls("GetCapacity"); n != asked {
		t.Errorf("asked the agent %d times more", n-asked)
	}
	id := r.create(volumeOf("v", in(storeKey(0)))).GetVolumeId()
	wantFree("a volume was made", 99)
	if _, err := r.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 3 * gib}}); err != nil {
		t.Fatal(err)
	}
	wantFree("it has grown", 97)
	if _, err := r.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
		t.Fatal(err)
	}
	wantFree("it was deleted", 100)
	p.drives[0].SetRoom(70*gib + 5)
	wantFree("a change that nobody told", 100)

	r.stop()
	r = p.start(quick())
	wantFree("a restart", 70)
	p.drives[0].SetRoom(80 * gib)
	r.until("it is refreshed", func() bool { got, _ := r.capacity(here, ""); return got == 80*gib })
	if r.metric("lvme_router_capacity_entries", "") != 1 || r.metric("lvme_router_capacity_refreshes_total", "ok") < 2 {
		t.Error("entries or refreshes are not counted")
	}
}

// TestChangeWhileAsked: a value that was read before a change is not believed
// after it.
func TestChangeWhileAsked(t *testing.T) {
	p := newPlace(t, 1)
	c := quick()
	c.Refresh, c.CapacityWait = time.Hour, patience
	r := p.start(c)
	read, send := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		resp, err := next()
		if method == "GetCapacity" {
			once.Do(func() { close(read); <-send })
		}
		return resp, err
	})
	asked := make(chan int64)
	go func() { got, _ := r.capacity(nil, ""); asked <- got }()
	<-read
	r.create(volumeOf("v", in(storeKey(0))))
	close(send)
	<-asked
	if got, _ := r.capacity(nil, ""); got != 99*gib {
		t.Errorf("%d GiB, want 99", got/gib)
	}
}

// TestCapacityWaitsForNobody: a node that is away has none at once, and one that
// hangs holds nobody up for long, and not twice.
func TestCapacityWaitsForNobody(t *testing.T) {
	p := newPlace(t, 3)
	c := quick()
	c.CapacityWait, c.Restart, c.Refresh = 300*time.Millisecond, time.Millisecond, time.Hour
	r := p.start(c)
	r.agents("serving", 3)
	p.agents[0].SetHook(routertest.Hang("GetCapacity"))
	p.agents[1].Stop()
	r.agents("away", 1)
	took := func(where *csi.Topology, want int64) time.Duration {
		t.Helper()
		start := time.Now()
		if got, _ := r.capacity(where, ""); got != want {
			t.Errorf("capacity in %v is %d GiB, want %d", where, got/gib, want/gib)
		}
		return time.Since(start)
	}
	if d := took(driver.Topology(storeKey(1)), 0); d > 100*time.Millisecond {
		t.Errorf("away: %s", d)
	}
	if d := took(driver.Topology(storeKey(0)), 0); d > 600*time.Millisecond || d < 200*time.Millisecond {
		t.Errorf("hung: %s", d)
	}
	if d := took(driver.Topology(storeKey(0)), 0); d > 100*time.Millisecond {
		t.Errorf("hung again: %s", d)
	}
	if d := took(nil, 100*gib); d > 100*time.Millisecond {
		t.Errorf("everywhere: %s", d)
	}
	if n := p.agents[0].Calls("GetCapacity"); n != 1 {
		t.Errorf("the hung agent was asked %d times", n)
	}
}

// TestCapacityDuringARestart: an agent that is replaced keeps its capacity for
// as long as calls wait for it.
func TestCapacityDuringARestart(t *testing.T) {
	p := newPlace(t, 1)
	r := p.start(quick())
	here := driver.Topology(storeKey(0))
	if got, _ := r.capacity(here, ""); got != 100*gib {
		t.Fatalf("%d GiB", got/gib)
	}
	start := time.Now()
	p.agents[0].Stop()
	r.agents("away", 1)
	r.until("the store has no room", func() bool { got, _ := r.capacity(here, ""); return got == 0 })
	if took := time.Since(start); took < quick().Restart {
		t.Errorf("after %s", took)
	}
}

// TestCapacityOfAnArrival: what an agent that has just come has is not known, and
// not none; in the end it is.
func TestCapacityOfAnArrival(t *testing.T) {
	p := newPlace(t, 2)
	for i, a := range p.agents {
		a.Stop()
		p.cluster.SetHolder(storeKey(i), nodeName(i))
	}
	r := p.start(quick())
	r.agents("away", 2)
	ask := func(i int) error {
		_, err := r.GetCapacity(within(t, patience), &csi.GetCapacityRequest{AccessibleTopology: driver.Topology(storeKey(i))})
		return err
	}
	for i := range p.agents {
		wantCode(t, "capacity of an arrival", ask(i), codes.Unavailable)
	}
	p.agents[0].Start()
	r.agents("serving", 1)
	if got, _ := r.capacity(driver.Topology(storeKey(0)), ""); got != 100*gib {
		t.Errorf("%d GiB of one that has arrived", got/gib)
	}
	wantCode(t, "capacity of the other", ask(1), codes.Unavailable)
	r.stop()

	late := quick()
	late.Arrive = time.Millisecond
	r = p.start(late)
	r.agents("serving", 1)
	if got, _ := r.capacity(driver.Topology(storeKey(1)), ""); got != 0 {
		t.Errorf("%d GiB of one that is away", got/gib)
	}
}

// TestCapacityThatIsNotKnownYet: an agent that takes its first drives says so,
// and is believed until it has said a value.
func TestCapacityThatIsNotKnownYet(t *testing.T) {
	p := newPlace(t, 2)
	var taking atomic.Bool
	taking.Store(true)
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		if method == "GetCapacity" && taking.Load() {
			return nil, driver.ToStatus(driver.ErrStarting)
		}
		return next()
	})
	r := p.start(quick())
	here := driver.Topology(storeKey(0))
	_, err := r.GetCapacity(within(t, patience), &csi.GetCapacityRequest{AccessibleTopology: here})
	wantCode(t, "capacity of one that takes drives", err, codes.Unavailable)
	if !strings.Contains(err.Error(), nodeName(0)) {
		t.Errorf("the node is not named: %v", err)
	}
	if got, _ := r.capacity(nil, ""); got != 100*gib {
		t.Errorf("%d GiB everywhere", got/gib)
	}
	taking.Store(false)
	if got, _ := r.capacity(here, ""); got != 100*gib {
		t.Errorf("%d GiB when it has taken them", got/gib)
	}
	taking.Store(true)
	<-time.After(2 * quick().Refresh)
	if got, _ := r.capacity(here, ""); got != 100*gib {
		t.Errorf("%d GiB of one that says nothing for a moment", got/gib)
	}
}

// TestCapacityIsSharedByClaims: what sidecars add to the parameters makes no
// value of its own.
func TestCapacityIsSharedByClaims(t *testing.T) {
	p := newPlace(t, 2)
	r := p.start(quick())
	for _, name := range []string{"a", "b", "c"} {
		req := volumeOf(name, nil)
		req.Parameters = map[string]string{"csi.storage.k8s.io/pvc/name": name}
		r.create(req)
	}
	if n := r.metric("lvme_router_capacity_entries", ""); n != 2 {
		t.Errorf("%v entries for two stores", n)
	}
}

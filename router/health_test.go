package router_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
	"github.com/lvme/lvme/volume"
)

// ear hears what a router tells, as lines "+node VG Reason" and "-node VG Reason".
type ear struct {
	mu    sync.Mutex
	heard []string
	stop  func()
}

// watch has the router watch, until stop.
func (r *running) watch() *ear {
	ctx, cancel := context.WithCancel(r.Context())
	e, done := &ear{}, make(chan struct{})
	go func() { defer close(done); r.router.Watch(ctx, e.hear) }()
	e.stop = func() { cancel(); <-done }
	r.Cleanup(e.stop)
	return e
}

func (e *ear) hear(n router.News) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range n.Came {
		e.heard = append(e.heard, fmt.Sprintf("+%s %s %s", n.Node, h.VG, h.Ailment.Reason))
	}
	for _, h := range n.Ended {
		e.heard = append(e.heard, fmt.Sprintf("-%s %s %s", n.Node, h.VG, h.Ailment.Reason))
	}
}

// lines are what was heard.
func (e *ear) lines() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// hears waits until exactly that was heard, in any order.
func (r *running) hears(e *ear, want ...string) {
	r.Helper()
	slices.Sort(want)
	r.until(fmt.Sprintf("%q is heard", want), func() bool {
		got := e.lines()
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

// asked waits until each of these agents was asked n times more.
func (r *running) asked(n int, agents ...*routertest.Agent) {
	r.Helper()
	for _, a := range agents {
		before := a.Calls("NodeGetStorageHealth")
		r.until("an agent is asked", func() bool { return a.Calls("NodeGetStorageHealth") >= before+n })
	}
}

func ailing(vg string, e volume.Effect, r volume.Reason) volume.PoolHealth {
	return volume.PoolHealth{VG: vg, Ailment: volume.Ailment{Effect: e, Reason: r, Message: "m"}}
}

const (
	vgA = "lvme-aaaaaaaa"
	vgB = "lvme-bbbbbbbb"
)

func watchful() router.Config {
	c := quick()
	c.Health = 50 * time.Millisecond
	return c
}

// TestWatchTellsChanges: once each, and to nobody who does not watch.
func TestWatchTellsChanges(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3)
	p.agents[1].SetHealth(ailing(vgB, volume.Inaccessible, volume.DriveAway))
	r := p.start(watchful())
	r.agents("serving", 3)
	<-time.After(5 * watchful().Health)
	if n := p.agents[1].Calls("NodeGetStorageHealth"); n > 0 {
		t.Errorf("asked %d times though nobody watches", n)
	}
	e := r.watch()
	r.hears(e, "+node-1 "+vgB+" DriveAway")
	p.agents[0].SetHealth(ailing(vgA, volume.Early, volume.PoolFilling))
	r.hears(e, "+node-1 "+vgB+" DriveAway", "+node-0 "+vgA+" PoolFilling")
	if a, b, c := r.metric("lvme_router_ailing_nodes", "PoolFilling"), r.metric("lvme_router_ailing_nodes", "DriveAway"), r.metric("lvme_router_ailing_nodes", "PoolFull"); a != 1 || b != 1 || c != 0 {
		t.Errorf("%v nodes fill up, %v lack a drive, %v are full", a, b, c)
	}
	p.agents[0].SetHealth()
	r.hears(e, "+node-1 "+vgB+" DriveAway", "+node-0 "+vgA+" PoolFilling", "-node-0 "+vgA+" PoolFilling")
	r.asked(3, p.agents...) // and nothing is told again
	if got := e.lines(); len(got) != 3 {
		t.Errorf("heard %q", got)
	}
	e.stop()
	// Who watches next knows nothing yet.
	r.hears(r.watch(), "+node-1 "+vgB+" DriveAway")
}

// TestWatchOfOneThatIsAway: it is not asked, what is known of it stays, and is not
// told anew when it is back.
func TestWatchOfOneThatIsAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2)
	p.agents[0].SetHealth(ailing(vgA, volume.Degraded, volume.DriveFailing))
	r := p.start(watchful())
	r.agents("serving", 2)
	e := r.watch()
	r.hears(e, "+node-0 "+vgA+" DriveFailing")
	p.agents[0].Stop()
	r.agents("away", 1)
	r.asked(3, p.agents[1])
	if n := r.metric("lvme_router_ailing_nodes", "DriveFailing"); n != 0 {
		t.Errorf("%v nodes that cannot be asked are counted", n)
	}
	before := r.metric("lvme_router_health_questions_total", "error")
	r.asked(3, p.agents[1])
	if n := r.metric("lvme_router_health_questions_total", "error"); n != before {
		t.Errorf("who is away was asked %v times", n-before)
	}
	p.agents[0].Start()
	r.agents("serving", 2)
	r.asked(3, p.agents...)
	r.hears(e, "+node-0 "+vgA+" DriveFailing")
}

// TestWatchOfOneThatHangs: it holds up nobody, and is heard when it answers.
func TestWatchOfOneThatHangs(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3)
	p.agents[0].SetHook(routertest.Hang("NodeGetStorageHealth"))
	r := p.start(watchful())
	r.agents("serving", 3)
	e := r.watch()
	r.asked(1, p.agents[0])
	start := time.Now()
	r.asked(10, p.agents[1], p.agents[2])
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the others were asked 10 times in %s", took)
	}
	if n := p.agents[0].Calls("NodeGetStorageHealth"); n > 2 {
		t.Errorf("one that hangs was asked %d times", n)
	}
	p.agents[1].SetHealth(ailing(vgA, volume.Inaccessible, volume.PoolFailed))
	r.hears(e, "+node-1 "+vgA+" PoolFailed")
	p.agents[0].SetHook(nil)
	p.agents[0].SetHealth(ailing(vgB, volume.Early, volume.MetadataFilling))
	r.hears(e, "+node-1 "+vgA+" PoolFailed", "+node-0 "+vgB+" MetadataFilling")
}

// TestWatchMany: a fleet is asked over the whole of the time, and each about once.
func TestWatchMany(t *testing.T) {
	t.Parallel()
	const nodes = 40
	p := newPlace(t, nodes)
	c := quick()
	c.Health = 2 * time.Second
	r := p.start(c)
	r.agents("serving", nodes)
	e := r.watch()
	asked := func() (n int) {
		for _, a := range p.agents {
			n += a.Calls("NodeGetStorageHealth")
		}
		return n
	}
	r.until("some are asked", func() bool { return asked() >= 5 })
	if n := asked(); n > nodes/2 {
		t.Errorf("%d of %d were asked at once", n, nodes)
	}
	r.until("all are asked", func() bool { return asked() >= nodes })
	for _, a := range p.agents {
		if n := a.Calls("NodeGetStorageHealth"); n > 2 {
			t.Errorf("%s was asked %d times in a round", a.Endpoint().Node, n)
		}
	}
	e.stop()
	n := asked()
	<-time.After(200 * time.Millisecond)
	if asked() != n {
		t.Error("agents are asked after the end")
	}
}

// TestWatchOfMovedDrives: on another node their trouble is new.
func TestWatchOfMovedDrives(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.agents[0].SetHealth(ailing(vgA, volume.Degraded, volume.DriveFailing))
	r := p.start(watchful())
	r.agents("serving", 1)
	e := r.watch()
	r.hears(e, "+node-0 "+vgA+" DriveFailing")
	p.add(storeKey(0)).SetHealth(ailing(vgA, volume.Degraded, volume.DriveFailing))
	p.agents[0].Stop()
	p.tell(0)
	p.cluster.SetHolder(storeKey(0), nodeName(1))
	r.hears(e, "+node-0 "+vgA+" DriveFailing", "+node-1 "+vgA+" DriveFailing")
}

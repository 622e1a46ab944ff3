package router

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

const (
	// askTime bounds one question for an agent's health, which it answers from
	// memory.
	askTime = 5 * time.Second
	// askers is how many agents are asked at the same time: as many may hang
	// before one waits for another.
	askers = 64
)

// News are what has changed in the storage of a node.
type News struct {
	Node, Store string
	// Came is what is wrong now and was not, or was less or more so; Ended what
	// was wrong and is not any more.
	Came, Ended []volume.PoolHealth
}

// Watch asks each agent that serves a store how its storage is, each in turn and
// again and again until ctx ends, and tells what has changed since. At first all
// that is wrong is new. Tell may be called by several at the same time, for one
// store by one after another, and must not wait. Who is away is not asked, and what
// was known of it stays.
func (r *Router) Watch(ctx context.Context, tell func(News)) {
	w := &watch{router: r, tell: tell, stores: map[string]*record{}, free: make(chan struct{}, askers)}
	r.watching.Store(w)
	defer r.watching.CompareAndSwap(w, nil)
	defer w.asking.Wait()
	for ctx.Err() == nil {
		w.round(ctx)
	}
}

// watch is one time of watching.
type watch struct {
	router *Router
	tell   func(News)
	free   chan struct{} // has an element for each question that is under way
	asking sync.WaitGroup

	mu     sync.Mutex
	stores map[string]*record
}

// record is what is known of a store.
type record struct {
	node   string
	asking bool
	known  ailments
}

// round asks each agent once, spread over the time that a round has.
func (w *watch) round(ctx context.Context) {
	every, seats := w.router.config.Health, w.router.fleet.serving()
	if len(seats) == 0 {
		pause(ctx, every, w.router.fleet.change())
	}
	for store, a := range seats {
		select {
		case w.free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		w.asking.Go(func() {
			w.ask(ctx, store, a)
			<-w.free
		})
		if !pause(ctx, every/time.Duration(len(seats)), nil) {
			return
		}
	}
}

// ask asks one agent, unless it has gone meanwhile or has not answered the question
// before.
func (w *watch) ask(ctx context.Context, store string, a *agent) {
	if now, _, _ := w.router.fleet.look(store, false); now != a {
		return
	}
	rec := w.begin(store)
	if rec == nil {
		return
	}
	defer w.end(rec)
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	resp, err := a.nodes.NodeGetStorageHealth(ctx, &csi.NodeGetStorageHealthRequest{})
	w.router.metrics.asked(err)
	if err != nil {
		klog.FromContext(ctx).V(2).Info("an agent did not say how its storage is", "node", a.Node, "err", driver.AnsweredBy(a.Node, err).Error())
		return
	}
	news := News{Node: a.Node, Store: store}
	w.mu.Lock()
	if rec.node != a.Node { // The drives are somewhere else now.
		rec.node, rec.known = a.Node, ailments{}
	}
	news.Came, news.Ended = rec.known.learn(driver.PoolsHealth(resp))
	w.mu.Unlock()
	if len(news.Came)+len(news.Ended) > 0 {
		w.tell(news)
	}
}

// begin is the record of a store that is asked now, nil if it is being asked.
func (w *watch) begin(store string) *record {
	w.mu.Lock()
	defer w.mu.Unlock()
	rec := w.stores[store]
	if rec == nil {
		rec = &record{known: ailments{}}
		w.stores[store] = rec
	}
	if rec.asking {
		return nil
	}
	rec.asking = true
	return rec
}

func (w *watch) end(rec *record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rec.asking = false
}

// ailing counts the nodes that are connected, by what is wrong there.
func (w *watch) ailing() map[volume.Reason]int {
	seats := w.router.fleet.serving()
	w.mu.Lock()
	defer w.mu.Unlock()
	count := map[volume.Reason]int{}
	for store, rec := range w.stores {
		if seats[store] == nil {
			continue
		}
		reasons := map[volume.Reason]bool{}
		for is := range rec.known {
			reasons[is.reason] = true
		}
		for reason := range reasons {
			count[reason]++
		}
	}
	return count
}

// ailment is what tells ailments of a store apart.
type ailment struct {
	vg     string
	reason volume.Reason
}

// ailments are what is known to be wrong with a store.
type ailments map[ailment]*known

// known is one of them. Missed says that the last answer did not have it.
type known struct {
	volume.PoolHealth
	missed bool
}

// learn takes over an answer, and says what of it is new. Two answers must agree
// that something has ended: an agent that has just started may not have looked at
// its pools yet. And while a pool has something worse, what is less is not judged:
// it may be hidden by it, as a pool that fills up is by one that is full.
func (k ailments) learn(now []volume.PoolHealth) (came, ended []volume.PoolHealth) {
	worst := map[string]volume.Effect{}
	seen := map[ailment]bool{}
	for _, h := range now {
		is := ailment{h.VG, h.Ailment.Reason}
		if seen[is] {
			continue
		}
		seen[is] = true
		if h.Ailment.Effect.Exceeds(worst[h.VG]) {
			worst[h.VG] = h.Ailment.Effect
		}
		if was := k[is]; was == nil || was.Ailment.Effect != h.Ailment.Effect {
			came = append(came, h)
		}
		k[is] = &known{PoolHealth: h}
	}
	for is, was := range k {
		switch {
		case seen[is]:
		case worst[is.vg].Exceeds(was.Ailment.Effect):
			was.missed = false
		case !was.missed:
			was.missed = true
		default:
			ended = append(ended, was.PoolHealth)
		}
	}
	for _, h := range ended {
		delete(k, ailment{h.VG, h.Ailment.Reason})
	}
	slices.SortFunc(ended, func(a, b volume.PoolHealth) int {
		return cmp.Or(cmp.Compare(a.VG, b.VG), cmp.Compare(a.Ailment.Reason, b.Ailment.Reason))
	})
	return came, ended
}

// serving are the agents that serve a store now, by its key.
func (f *fleet) serving() map[string]*agent {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := make(map[string]*agent, len(f.seats))
	for key, s := range f.seats {
		if s.agent != nil {
			all[key] = s.agent
		}
	}
	return all
}

// change is closed at the next change of a seat.
func (f *fleet) change() <-chan struct{} {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.changed
}

// reasonsOf are the reasons that are counted: lvme's own, and "Other" for what an
// agent says that is newer, or not lvme's.
func reasonsOf(count map[volume.Reason]int) map[volume.Reason]int {
	all := map[volume.Reason]int{"Other": 0}
	for _, r := range volume.Reasons {
		all[r] = count[r]
	}
	for r, n := range count {
		if !slices.Contains(volume.Reasons, r) {
			all["Other"] += n
		}
	}
	return all
}

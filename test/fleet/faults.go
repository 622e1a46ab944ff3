package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// badPatience is how long callers wait for an answer about a bad node, and badPause about how long until they ask again.
	badPatience = 10 * time.Second
	badPause    = time.Second
	// perHung is how many callers each hung node has: more than the router has on one node at a time.
	perHung = 12
	// lookEvery is how often each dead node's capacity is looked at, countEvery how often the agents that are away are counted.
	lookEvery  = 250 * time.Millisecond
	countEvery = 10 * time.Millisecond
)

// breakage is one round in which nodes go bad and get well.
type breakage struct {
	died, silent, hung, healthy []int
	begun, noticed, healed      atomic.Int64 // Unix time in ns, 0 for not yet

	// What was measured: when the router knew of one more death, those without a word last, and when a node had no capacity; calls that are for healthy nodes before, while deaths are being noticed, and
	// then; capacities asked of all that is bad; what became of calls for bad nodes; how soon calls fail for dead ones that are known
	// to be; how soon a volume was made on what was healed.
	away                        []time.Duration
	emptyDied, emptySilent      []time.Duration
	before, during, after       sample
	asked, bad, refused, healOf *recorder

	mu  sync.Mutex // of the lists
	ids []string   // of what was made on bad nodes in the end
}

func (b *bench) breakNodes(ctx context.Context) error {
	if b.Dead+b.Hung == 0 {
		return nil
	}
	var rounds []*breakage
	for i := range b.Rounds {
		b.say(fmt.Sprintf("break, round %d of %d", i+1, b.Rounds))
		r, err := b.breakOnce(ctx)
		if err != nil {
			return err
		}
		rounds = append(rounds, r)
	}
	b.report.Faults = joined(rounds)
	a, err := b.router.ask(order{Do: "count"})
	b.report.Tombstones = a.Counts[tombstones]
	return err
}

// breakOnce is one round.
func (b *bench) breakOnce(ctx context.Context) (*breakage, error) {
	order := rand.Perm(b.Agents)
	dead, hung := order[:b.Dead], order[b.Dead:b.Dead+b.Hung]
	r := &breakage{
		died: dead[:b.Dead/2], silent: dead[b.Dead/2:], hung: hung, healthy: order[b.Dead+b.Hung:],
		asked: newRecorder(), bad: newRecorder(), refused: newRecorder(), healOf: newRecorder(),
	}
	end := time.Now().Add(b.Window)
	r.before = b.load(ctx, r.healthy, func() bool { return time.Now().Before(end) })
	if err := b.hurt(r); err != nil {
		return nil, err
	}
	callers := make(chan error, 1)
	go func() { callers <- b.insist(ctx, r) }()
	looked := make(chan error, 1)
	go func() { looked <- b.notice(ctx, r) }()
	r.during = b.load(ctx, r.healthy, func() bool { return r.noticed.Load() == 0 && len(looked) == 0 })
	noticed := <-looked
	end = time.Now().Add(b.Window)
	r.after = b.load(ctx, r.healthy, func() bool { return time.Now().Before(end) })
	r.healed.Store(time.Now().UnixNano())
	_, healed := b.agents.ask(orderFor("heal", dead, hung))
	if err := errors.Join(noticed, healed, <-callers, b.removeAll(ctx, r.ids)); err != nil {
		return nil, err
	}
	return r, b.await(ctx, servingAgents, b.Agents)
}

func orderFor(do string, lists ...[]int) order {
	o := order{Do: do}
	for _, l := range lists {
		o.Nodes = append(o.Nodes, l...)
	}
	return o
}

// hurt has the nodes go bad.
func (b *bench) hurt(r *breakage) error {
	r.begun.Store(time.Now().UnixNano())
	for _, o := range []order{orderFor("silence", r.silent), orderFor("hang", r.hung), orderFor("die", r.died)} {
		if _, err := b.agents.ask(o); err != nil {
			return err
		}
	}
	return nil
}

// load has all callers create and delete volumes on these nodes while on is true. Times are those of the creations.
func (b *bench) load(ctx context.Context, nodes []int, on func() bool) sample {
	rec := newRecorder()
	_ = crowd(b.Callers, func(int) (bool, error) { // what fails is counted
		at, id := nodes[rand.N(len(nodes))], ""
		err := rec.time(func() (err error) {
			id, err = create(ctx, b.routed, b.request(b.name(), at))
			return err
		})
		if err == nil {
			if err = remove(ctx, b.routed, id); err != nil {
				rec.add(0, err)
			}
		}
		return on() && ctx.Err() == nil, nil
	})
	return rec.end()
}

// notice waits until the router knows of each death, and until no dead node has capacity. The hung ones are looked at as long: their
// answers must not fail either.
func (b *bench) notice(ctx context.Context, r *breakage) error {
	var dead, hung sync.WaitGroup
	for _, i := range r.died {
		dead.Go(func() { b.lookAt(ctx, r, i, &r.emptyDied) })
	}
	for _, i := range r.silent {
		dead.Go(func() { b.lookAt(ctx, r, i, &r.emptySilent) })
	}
	for _, i := range r.hung {
		hung.Go(func() { b.lookAt(ctx, r, i, nil) })
	}
	err := b.countAway(ctx, r)
	dead.Wait()
	r.noticed.Store(time.Now().UnixNano())
	hung.Wait()
	if n := len(r.emptyDied) + len(r.emptySilent); n < b.Dead {
		err = errors.Join(err, fmt.Errorf("%d of %d dead nodes still have room", b.Dead-n, b.Dead))
	}
	return err
}

// countAway notes when the router counts one more agent as away, until it counts all dead ones.
func (b *bench) countAway(ctx context.Context, r *breakage) error {
	for {
		since := time.Since(time.Unix(0, r.begun.Load()))
		a, err := b.router.ask(order{Do: "count"})
		if err != nil {
			return err
		}
		for len(r.away) < min(a.Counts[awayAgents], b.Dead) {
			r.away = append(r.away, since)
		}
		switch {
		case len(r.away) == b.Dead:
			return nil
		case since > patience || ctx.Err() != nil:
			return fmt.Errorf("the router knows of %d of %d deaths", len(r.away), b.Dead)
		}
		time.Sleep(countEvery)
	}
}

// lookAt looks at one node's capacity until it is none, which it notes in list, or all deaths have been noticed.
func (b *bench) lookAt(ctx context.Context, r *breakage, i int, list *[]time.Duration) {
	begun := time.Unix(0, r.begun.Load())
	for r.noticed.Load() == 0 && time.Since(begun) < patience && ctx.Err() == nil {
		var bytes int64
		err := r.asked.time(func() (err error) { bytes, err = b.room(ctx, i); return err })
		if err == nil && bytes == 0 && list != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			*list = append(*list, time.Since(begun))
			return
		}
		time.Sleep(lookEvery)
	}
}

// insist asks each bad node for a volume, over and over, until it makes it.
func (b *bench) insist(ctx context.Context, r *breakage) error {
	var work sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	ask := func(i int, dead bool) {
		work.Go(func() {
			if err := b.insistOn(ctx, r, i, dead); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for _, list := range [][]int{r.died, r.silent} {
		for _, i := range list {
			ask(i, true)
		}
	}
	for _, i := range r.hung {
		for range perHung {
			ask(i, false)
		}
	}
	work.Wait()
	return errors.Join(errs...)
}

// insistOn is one of these callers.
func (b *bench) insistOn(ctx context.Context, r *breakage, i int, dead bool) error {
	name := b.name()
	for {
		known, begun := r.noticed.Load() != 0, time.Now()
		id, err := b.createPatiently(ctx, name, i)
		healed := r.healed.Load()
		switch {
		case err == nil && !b.isOn(id, i):
			return fmt.Errorf("volume %s was wanted on %s", id, b.nodes[i].Name)
		case err == nil:
			r.mu.Lock()
			r.ids = append(r.ids, id)
			r.mu.Unlock()
			if healed != 0 {
				r.healOf.add(time.Since(time.Unix(0, healed)), nil)
			}
			return nil
		case dead && known && healed == 0:
			r.refused.add(time.Since(begun), nil)
		}
		r.bad.add(0, err)
		if healed != 0 && time.Since(time.Unix(0, healed)) > 2*patience || ctx.Err() != nil {
			return fmt.Errorf("%s makes no volumes %s after it was healed: %w", b.nodes[i].Name, 2*patience, err)
		}
		time.Sleep(badPause/2 + rand.N(badPause)) // they do not come all at once
	}
}

func (b *bench) createPatiently(ctx context.Context, name string, i int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, badPatience)
	defer cancel()
	return create(ctx, b.routed, b.request(name, i))
}

// joined is what all rounds say together.
func joined(rounds []*breakage) faults {
	var f faults
	var died, silent, emptyDied, emptySilent, refused, healed []time.Duration
	var before, during, after, asked, bad []sample
	var duringP99, afterP99 []float64
	for _, r := range rounds {
		died, silent = append(died, r.away[:len(r.died)]...), append(silent, r.away[len(r.died):]...)
		emptyDied, emptySilent = append(emptyDied, r.emptyDied...), append(emptySilent, r.emptySilent...)
		refused, healed = append(refused, r.refused.took...), append(healed, r.healOf.took...)
		before, during, after = append(before, r.before), append(during, r.during), append(after, r.after)
		duringP99, afterP99 = append(duringP99, by(r.during.P99, r.before.P99)), append(afterP99, by(r.after.P99, r.before.P99))
		asked, bad = append(asked, r.asked.end()), append(bad, r.bad.end())
	}
	f.NoticeDied, f.NoticeSilent, f.EmptyDied, f.EmptySilent = sampleOf(died), sampleOf(silent), sampleOf(emptyDied), sampleOf(emptySilent)
	f.DuringP99, f.AfterP99 = median(duringP99), median(afterP99)
	f.Refused, f.Healed = sampleOf(refused), sampleOf(healed)
	f.Before, f.During, f.After, f.Asked, f.Bad = middle(before), middle(during), middle(after), middle(asked), middle(bad)
	return f
}

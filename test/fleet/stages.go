package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
)

// fill makes the volumes through the router, evenly.
func (b *bench) fill(ctx context.Context) error {
	rec := newRecorder()
	var next atomic.Int64
	err := crowd(b.Callers, func(int) (bool, error) {
		i := int(next.Add(1)) - 1
		if i >= b.Volumes || ctx.Err() != nil {
			return false, ctx.Err()
		}
		return true, rec.time(func() error { return b.createAt(ctx, i%b.Agents) })
	})
	b.report.Fill = rec.end()
	if err != nil {
		return err
	}
	return b.weigh(fmt.Sprintf("%d volumes made", b.Volumes))
}

// createAt creates a volume through the router and looks whether it is on that node.
func (b *bench) createAt(ctx context.Context, i int) error {
	id, err := create(ctx, b.routed, b.request(b.name(), i))
	if err == nil && !b.isOn(id, i) {
		err = fmt.Errorf("volume %s was wanted in store %s", id, b.nodes[i].Store)
	}
	return err
}

func (b *bench) isOn(id string, i int) bool {
	store := b.nodes[i].Store
	return len(id) > len(store) && id[:len(store)+1] == store+"/"
}

// room asks for the room on a node, as csi-provisioner does for each node and class.
func (b *bench) room(ctx context.Context, i int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := b.routed.GetCapacity(ctx, &csi.GetCapacityRequest{AccessibleTopology: driver.Topology(b.nodes[i].Store)})
	return resp.GetAvailableCapacity(), err
}

// capacity asks for the room on each node once, and then over and over.
func (b *bench) capacity(ctx context.Context) error {
	rec := newRecorder()
	for i := range b.nodes {
		if err := rec.time(func() error { return b.haveRoom(ctx, i) }); err != nil {
			return err
		}
	}
	b.report.Capacity.First = rec.end()
	if err := b.weigh("a capacity kept of each node"); err != nil {
		return err
	}
	var one, many []sample
	for range b.Rounds {
		for _, by := range []struct {
			callers int
			rounds  *[]sample
		}{{1, &one}, {b.Callers, &many}} {
			asked, took, err := b.forwarded(func() (sample, error) { return b.askAround(ctx, by.callers) })
			if err != nil {
				return err
			}
			*by.rounds = append(*by.rounds, took)
			b.report.Capacity.Forwarded += asked
		}
	}
	b.report.Capacity.One, b.report.Capacity.Many = middle(one), middle(many)
	return nil
}

// rest has the router do nothing but keep its connections and capacities.
func (b *bench) rest(context.Context) error {
	if err := b.weigh("before a rest"); err != nil {
		return err
	}
	time.Sleep(3 * b.Window)
	return b.weigh(fmt.Sprintf("after %s of rest", 3*b.Window))
}

func (b *bench) haveRoom(ctx context.Context, i int) error {
	bytes, err := b.room(ctx, i)
	if err == nil && bytes <= 0 {
		err = fmt.Errorf("node %s has no room", b.nodes[i].Name)
	}
	return err
}

// forwarded is how often agents were asked for their capacity meanwhile.
func (b *bench) forwarded(during func() (sample, error)) (n int, s sample, err error) {
	before, err := b.agents.ask(order{Do: "count"})
	if err != nil {
		return 0, s, err
	}
	if s, err = during(); err != nil {
		return 0, s, err
	}
	after, err := b.agents.ask(order{Do: "count"})
	return after.Counts["GetCapacity"] - before.Counts["GetCapacity"], s, err
}

// askAround has so many callers ask for the room on nodes at random.
func (b *bench) askAround(ctx context.Context, callers int) (sample, error) {
	rec, end := newRecorder(), time.Now().Add(b.Window)
	err := crowd(callers, func(int) (bool, error) {
		_ = rec.time(func() error { return b.haveRoom(ctx, rand.N(b.Agents)) }) // it is counted
		return time.Now().Before(end), ctx.Err()
	})
	return rec.end(), err
}

// compare has volumes created by the agents themselves and through the router, in turn: with commands of no length and of a length
// as LVM's have, and through the router with all nodes to choose from.
func (b *bench) compare(ctx context.Context) error {
	var quick, slow []comparison
	var named, free []sample
	for range b.Rounds {
		c, err := b.inTurn(ctx, b.Calls, 0)
		if err != nil {
			return err
		}
		quick = append(quick, c)
		if c, err = b.inTurn(ctx, max(b.Calls/4, 1), b.Command); err != nil {
			return err
		}
		slow = append(slow, c)
		s, err := b.anywhere(ctx, max(b.Calls/8, 1), all(b.Agents))
		if err != nil {
			return err
		}
		named = append(named, s)
		if s, err = b.anywhere(ctx, max(b.Calls/8, 1), nil); err != nil {
			return err
		}
		free = append(free, s)
	}
	b.report.Quick, b.report.Slow = compareAll(quick), compareAll(slow)
	b.report.AnyNamed, b.report.AnyFree = middle(named), middle(free)
	return nil
}

func all(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// fewNodes is how many agents are called directly: each has a connection.
const fewNodes = 50

// inTurn creates n volumes each way, one call after the other, each pair on the same node and in an order that changes.
func (b *bench) inTurn(ctx context.Context, n int, command time.Duration) (comparison, error) {
	if _, err := b.agents.ask(order{Do: "delay", Delay: command}); err != nil {
		return comparison{}, err
	}
	direct, routed := newRecorder(), newRecorder()
	var ids []string
	for i := range n {
		at := rand.N(min(fewNodes, b.Agents))
		agent, err := b.agent(at)
		if err != nil {
			return comparison{}, err
		}
		ways := []func() error{
			func() error { return b.timed(ctx, direct, agent, at, &ids) },
			func() error { return b.timed(ctx, routed, b.routed, at, &ids) },
		}
		for k := range ways {
			if err := ways[(i+k)%2](); err != nil {
				return comparison{}, err
			}
		}
	}
	if _, err := b.agents.ask(order{Do: "delay"}); err != nil {
		return comparison{}, err
	}
	return comparison{Direct: direct.end(), Routed: routed.end()}, b.removeAll(ctx, ids)
}

// timed creates a volume and times it.
func (b *bench) timed(ctx context.Context, rec *recorder, c csi.ControllerClient, at int, ids *[]string) error {
	req := b.request(b.name(), at)
	if _, err := c.ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{}); err != nil {
		return err // the connection is there before the time counts
	}
	return rec.time(func() error {
		id, err := create(ctx, c, req)
		*ids = append(*ids, id)
		return err
	})
}

// anywhere creates n volumes that may be on any of these nodes, nil for wherever the router likes.
func (b *bench) anywhere(ctx context.Context, n int, nodes []int) (sample, error) {
	rec := newRecorder()
	var ids []string
	for range n {
		req := b.request(b.name(), nodes...)
		err := rec.time(func() error {
			id, err := create(ctx, b.routed, req)
			ids = append(ids, id)
			return err
		})
		if err != nil {
			return sample{}, err
		}
	}
	return rec.end(), b.removeAll(ctx, ids)
}

func (b *bench) removeAll(ctx context.Context, ids []string) error {
	var next atomic.Int64
	return crowd(b.Callers, func(int) (bool, error) {
		i := int(next.Add(1)) - 1
		if i >= len(ids) {
			return false, nil
		}
		return true, remove(ctx, b.routed, ids[i])
	})
}

// pageSize is how many volumes are listed at a time.
const pageSize = 1000

// list lists all volumes through the router, and looks whether each is there once.
func (b *bench) list(ctx context.Context) error {
	pages, begun := newRecorder(), time.Now()
	seen, token := map[string]bool{}, ""
	for {
		var resp *csi.ListVolumesResponse
		err := pages.time(func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			resp, err = b.routed.ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: pageSize, StartingToken: token})
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range resp.GetEntries() {
			if id := e.GetVolume().GetVolumeId(); seen[id] {
				return fmt.Errorf("volume %s is listed twice", id)
			}
			seen[e.GetVolume().GetVolumeId()] = true
		}
		if token = resp.GetNextToken(); token == "" {
			break
		}
	}
	b.report.List, b.report.ListAll = pages.end(), inMS(time.Since(begun))
	b.report.Listed = len(seen)
	a, err := b.agents.ask(order{Do: "count"})
	b.report.Present = a.Counts[volumesCount]
	return err
}

// last looks whether what the agents have is what they should have.
func (b *bench) last(ctx context.Context) error {
	if err := b.weigh("at the end"); err != nil {
		return err
	}
	return b.list(ctx)
}

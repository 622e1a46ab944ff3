package data

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// attempt is how long a caller waits for one answer here: shorter than what
// some calls take, so that they are given up and made again while they run.
const attempt = 5 * time.Second

// twice makes a call twice at once and once more afterwards, each as often as
// it takes. All three answers must be the same.
func twice[Q any, R proto.Message](ctx context.Context, rpc func(context.Context, Q, ...grpc.CallOption) (R, error), request Q) (R, error) {
	var answers [3]R
	var errs [3]error
	once := func(i int) {
		errs[i] = insist(ctx, func(ctx context.Context) (err error) {
			ctx, cancel := context.WithTimeout(ctx, attempt)
			defer cancel()
			answers[i], err = rpc(ctx, request)
			return err
		})
	}
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() { once(i) })
	}
	both.Wait()
	once(2)
	err := errors.Join(errs[:]...)
	for _, a := range answers[1:] {
		if err == nil && !proto.Equal(answers[0], a) {
			err = fmt.Errorf("%T was answered with %v and with %v", request, answers[0], a)
		}
	}
	if err != nil {
		err = fmt.Errorf("%v: %w", request, err)
	}
	return answers[0], err
}

// career is one volume among many and what was made of it.
type career struct {
	n    *node
	r    *rand.Rand
	v    *vol
	made []string // ids, in the order of their making
}

// begin makes the volume and, as chance has it, more of it.
func (c *career) begin(ctx context.Context) error {
	r, err := twice(ctx, c.n.CreateVolume, c.v.request())
	if err != nil {
		return err
	}
	c.v.id, c.v.size, c.v.root = r.GetVolume().GetVolumeId(), r.GetVolume().GetCapacityBytes(), c.n.root
	c.made = append(c.made, c.v.id)
	if c.r.IntN(4) == 0 {
		if err := c.use(ctx); err != nil {
			return err
		}
	}
	if c.r.IntN(3) > 0 || c.v.thick {
		return nil // Thick volumes have no copies.
	}
	if c.r.IntN(4) == 0 {
		larger := c.v.size + int64(1+c.r.IntN(8))*mib
		if _, err := twice(ctx, c.n.ControllerExpandVolume, c.v.expandRequest(larger)); err != nil {
			return err
		}
	}
	return c.copy(ctx)
}

// use stages, publishes and ends that again.
func (c *career) use(ctx context.Context) error {
	if err := c.v.makeDirs(); err != nil {
		return err
	}
	if _, err := twice(ctx, c.n.NodeStageVolume, c.v.stageRequest()); err != nil {
		return err
	}
	if _, err := twice(ctx, c.n.NodePublishVolume, c.v.publishRequest()); err != nil {
		return err
	}
	if c.r.IntN(2) == 0 {
		return nil // It is ended before it is deleted.
	}
	return c.leave(ctx)
}

func (c *career) leave(ctx context.Context) error {
	if _, err := twice(ctx, c.n.NodeUnpublishVolume, c.v.unpublishRequest()); err != nil {
		return err
	}
	_, err := twice(ctx, c.n.NodeUnstageVolume, c.v.unstageRequest())
	return err
}

// copy takes a snapshot and restores it.
func (c *career) copy(ctx context.Context) error {
	s, err := twice(ctx, c.n.CreateSnapshot, &csi.CreateSnapshotRequest{Name: c.v.name, SourceVolumeId: c.v.id})
	if err != nil {
		return err
	}
	id := s.GetSnapshot().GetSnapshotId()
	c.made = append(c.made, id)
	if c.r.IntN(2) == 0 {
		return nil
	}
	restored := spec{name: c.v.name + "-restored", source: id}
	if c.r.IntN(2) == 0 {
		restored.bytes = c.v.size + 64*mib
	}
	r, err := twice(ctx, c.n.CreateVolume, restored.request())
	if err != nil {
		return err
	}
	c.made = append(c.made, r.GetVolume().GetVolumeId())
	return nil
}

// end deletes all of it in any order, each twice at once.
func (c *career) end(ctx context.Context) error {
	if err := c.v.makeDirs(); err != nil {
		return err
	}
	if err := c.leave(ctx); err != nil {
		return err
	}
	c.r.Shuffle(len(c.made), func(i, k int) { c.made[i], c.made[k] = c.made[k], c.made[i] })
	for _, id := range c.made {
		var errs [2]error
		var both sync.WaitGroup
		for i := range errs {
			both.Go(func() {
				errs[i] = insist(ctx, func(ctx context.Context) error { return c.n.drop(ctx, id) })
			})
		}
		both.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
	}
	return nil
}

// testConcurrency: many volumes at once, everything asked for twice at once;
// afterwards there is each of them once, and in the end nothing.
func testConcurrency(t *testing.T, n *node) {
	const count = 50
	r := chance(t)
	careers := make([]*career, count)
	for i := range careers {
		c := &career{n: n, r: rand.New(rand.NewPCG(r.Uint64(), 0))}
		c.v = &vol{spec: spec{name: fmt.Sprintf("pvc-%d", i), bytes: int64(4+c.r.IntN(3)) * mib, thick: c.r.IntN(10) == 0}}
		careers[i] = c
	}
	all := func(what string, do func(*career) error) {
		errs := make([]error, count)
		var wait sync.WaitGroup
		for i, c := range careers {
			wait.Go(func() { errs[i] = do(c) })
		}
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	all("begin", func(c *career) error { return c.begin(t.Context()) })
	want := map[string]bool{}
	for _, c := range careers {
		for _, id := range c.made {
			want[id] = true
		}
	}
	known := n.known(t)
	if have := slices.Sorted(maps.Keys(known)); !slices.Equal(have, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the agent lists\n%v\nmade were\n%v", have, slices.Sorted(maps.Keys(want)))
	}
	t.Logf("%d volumes and snapshots stand", len(known))
	n.consistent(t)
	all("end", func(c *career) error { return c.end(t.Context()) })
}

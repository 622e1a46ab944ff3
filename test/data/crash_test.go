package data

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// existence is one tenant's use of a node from the first call to the last. The
// agent dies in it.
type existence struct {
	*node
	r                         *rand.Rand
	thin, same, larger, thick *vol
	snapshot                  string
	content                   sums
}

// verb is one call in it.
type verb struct {
	name string
	call func(ctx context.Context, e *existence) error
	// whole verifies what must hold once the call was answered, if anything.
	whole func(t *testing.T, e *existence)
	// objects is how many volumes and snapshots there are then.
	objects int
	// wipes: what the call begins goes on after it was answered.
	wipes bool
}

var verbs = []verb{
	{"create", func(ctx context.Context, e *existence) error {
		return e.make(ctx, &e.thin, spec{name: "thin", fs: "ext4", bytes: minBytes("ext4")})
	}, nil, 1, false},
	{"stage", func(ctx context.Context, e *existence) error {
		_, err := e.NodeStageVolume(ctx, e.thin.stageRequest())
		return err
	}, nil, 1, false},
	{"publish", func(ctx context.Context, e *existence) error {
		_, err := e.NodePublishVolume(ctx, e.thin.publishRequest())
		return err
	}, func(t *testing.T, e *existence) { e.content = e.fill(t, e.r, e.thin) }, 1, false},
	{"snapshot", func(ctx context.Context, e *existence) error {
		r, err := e.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: e.thin.id})
		e.snapshot = r.GetSnapshot().GetSnapshotId()
		return err
	}, func(t *testing.T, e *existence) { e.holds(t, e.content, e.thin) }, 2, false},
	{"restore", func(ctx context.Context, e *existence) error {
		return e.make(ctx, &e.same, spec{name: "same", fs: "ext4", source: e.snapshot})
	}, nil, 3, false},
	{"restore larger", func(ctx context.Context, e *existence) error {
		return e.make(ctx, &e.larger, spec{name: "larger", fs: "ext4", bytes: e.thin.size + 16*mib, source: e.snapshot})
	}, nil, 4, false},
	{"stage a copy", func(ctx context.Context, e *existence) error {
		_, err := e.NodeStageVolume(ctx, e.larger.stageRequest())
		return err
	}, func(t *testing.T, e *existence) {
		e.publish(t, e.larger, e.same)
		e.holds(t, e.content, e.thin, e.larger, e.same)
		e.roomy(t, e.larger)
		e.unpublish(t, e.same, e.larger)
	}, 4, false},
	{"expand", func(ctx context.Context, e *existence) error {
		r, err := e.ControllerExpandVolume(ctx, e.thin.expandRequest(minBytes("ext4")+32*mib))
		if err == nil {
			e.thin.size = r.GetCapacityBytes()
		}
		return err
	}, nil, 4, false},
	{"expand on the node", func(ctx context.Context, e *existence) error {
		_, err := e.NodeExpandVolume(ctx, e.thin.nodeExpandRequest(e.thin.size))
		return err
	}, func(t *testing.T, e *existence) { e.roomy(t, e.thin); e.holds(t, e.content, e.thin) }, 4, false},
	{"unpublish", func(ctx context.Context, e *existence) error {
		_, err := e.NodeUnpublishVolume(ctx, e.thin.unpublishRequest())
		return err
	}, nil, 4, false},
	{"unstage", func(ctx context.Context, e *existence) error {
		_, err := e.NodeUnstageVolume(ctx, e.thin.unstageRequest())
		return err
	}, nil, 4, false},
	{"delete the snapshot", func(ctx context.Context, e *existence) error { return e.drop(ctx, e.snapshot) }, nil, 3, false},
	{"delete", func(ctx context.Context, e *existence) error { return e.drop(ctx, e.thin.id) }, func(t *testing.T, e *existence) {
		e.node.publish(t, e.same)
		e.holds(t, e.content, e.same)
		e.node.unpublish(t, e.same)
		e.remove(t, e.same.id, e.larger.id)
	}, 2, false},
	{"create thick", func(ctx context.Context, e *existence) error {
		return e.make(ctx, &e.thick, spec{name: "thick", bytes: minBytes(""), thick: true})
	}, func(t *testing.T, e *existence) {
		e.node.publish(t, e.thick)
		e.zero(t, e.thick, 0, e.thick.size)
		e.fill(t, e.r, e.thick)
		e.node.unpublish(t, e.thick)
	}, 1, false},
	{"delete thick", func(ctx context.Context, e *existence) error { return e.drop(ctx, e.thick.id) }, nil, 0, true},
}

// make creates a volume and notes it.
func (e *existence) make(ctx context.Context, v **vol, s spec) error {
	r, err := e.CreateVolume(ctx, s.request())
	if err != nil {
		return err
	}
	*v = &vol{spec: s, id: r.GetVolume().GetVolumeId(), size: r.GetVolume().GetCapacityBytes(), root: e.root}
	if (*v).size < s.bytes {
		return fmt.Errorf("volume %s has %d bytes, not %d", s.name, (*v).size, s.bytes)
	}
	return (*v).makeDirs()
}

// do makes a call, as often as it takes: callers give up on nothing.
func (e *existence) do(t *testing.T, v verb) {
	t.Helper()
	end := time.After(patience)
	for {
		err := v.call(t.Context(), e)
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-end:
			t.Fatalf("%s is never done: %v", v.name, err)
		}
	}
}

// look verifies what must hold after the call.
func (e *existence) look(t *testing.T, v verb) {
	t.Helper()
	if v.wipes {
		e.wiped(t)
	}
	if known := e.known(t); v.whole == nil && len(known) != v.objects {
		t.Errorf("after %s there are %d volumes and snapshots, not %d: %v", v.name, len(known), v.objects, known)
	}
	if v.whole != nil {
		v.whole(t, e)
	}
	if e.fake != nil || v.whole == nil {
		e.consistent(t)
	}
}

// testKilled kills the agent's process in the middle of each verb, measured by
// what the verb takes undisturbed, and lets another one carry on.
func testKilled(t *testing.T, n *node) {
	took := make([]time.Duration, len(verbs))
	e := &existence{node: n, r: chance(t)}
	for i, v := range verbs {
		began := time.Now()
		e.do(t, v)
		took[i] = time.Since(began)
		if v.wipes {
			e.wiped(t)
			took[i] = time.Since(began)
		}
		e.look(t, v)
	}
	n.empty(t)
	moments := [][]float64{{0.3, 0.6, 0.9}}
	if full() {
		moments = [][]float64{{0.1}, {0.25}, {0.4}, {0.55}, {0.7}, {0.85}, {0.95}}
	}
	for _, m := range moments {
		e := &existence{node: n, r: e.r}
		for i, v := range verbs {
			wait := time.Duration(float64(took[i]) * m[i%len(m)])
			e.killIn(t, v, wait)
			began := time.Now()
			e.do(t, v)
			t.Logf("%s, which takes %.1f s, was killed after %.1f s and done in another %.1f s", v.name, took[i].Seconds(), wait.Seconds(), time.Since(began).Seconds())
			e.look(t, v)
		}
		n.empty(t)
		n.world.(*realWorld).commandsEnded(t)
	}
}

// killIn makes the call and kills the agent a moment later.
func (e *existence) killIn(t *testing.T, v verb, wait time.Duration) {
	t.Helper()
	// The call writes its results where the next attempt does.
	attempt := *e
	done := make(chan error, 1)
	go func() { done <- v.call(t.Context(), &attempt) }()
	<-time.After(wait)
	e.kill(t)
	if err := <-done; err == nil {
		t.Logf("%s was answered before its agent was killed", v.name)
	}
	e.connect(t)
}

// zero verifies that a part of a published block volume reads as zeros.
func (n *node) zero(t *testing.T, v *vol, from, to int64) {
	t.Helper()
	if !n.real {
		return
	}
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0))
	if foreign := nonZero(t, v.target(), from, to); foreign != 0 {
		t.Errorf("%s: %d bytes from %d to %d are not zero", v.name, foreign, from, to)
	}
}

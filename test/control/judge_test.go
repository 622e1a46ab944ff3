package control

import (
	"context"
	"testing"
	"time"

	"github.com/lvme/lvme/test/e2e/check"
)

// scenario runs a scenario, compares what is left of it with what Kubernetes says, and clears up.
func (r *rig) scenario(t *testing.T, name string, play func(*testing.T, *rig)) {
	t.Run(name, func(t *testing.T) {
		began := time.Now()
		play(t, r)
		r.settle(t, "in the end")
		r.clear(t)
		v := r.settle(t, "after all was deleted")
		if v.Volumes+v.Snapshots > 0 {
			t.Errorf("%d volumes and %d snapshots are left", v.Volumes, v.Snapshots)
		}
		for _, n := range r.all() {
			n.host.LVM.Check(t)
		}
		t.Logf("took %.0f s; sidecars and controllers were started anew %d times so far", time.Since(began).Seconds(), r.restarts())
	})
}

// judge compares what Kubernetes says with what LVM has on all nodes.
func (r *rig) judge(ctx context.Context) (check.Verdict, error) {
	var s check.State
	err := s.Cluster(ctx, func(ctx context.Context, args ...string) ([]byte, error) { return r.plane.Kubectl(ctx, nil, args...) })
	if err != nil {
		return check.Verdict{}, err
	}
	for _, n := range r.all() {
		if n.shadow {
			continue
		}
		lvs, err := n.scan(ctx)
		if err != nil {
			return check.Verdict{}, err
		}
		s.LVs = append(s.LVs, lvs...)
	}
	return check.Judge(s), nil
}

// settle waits until there is nothing to complain of and nothing under way, and prints what was compared.
func (r *rig) settle(t *testing.T, when string) (v check.Verdict) {
	t.Helper()
	took := await(t, "the volumes of Kubernetes and of LVM are the same", func(ctx context.Context) (bool, string) {
		var err error
		if v, err = r.judge(ctx); err != nil {
			return false, err.Error()
		}
		state := v.String()
		if err := v.Err(); err != nil {
			state += "\n" + err.Error()
		}
		return v.Settled() && v.Err() == nil, state
	})
	t.Logf("%s, settled after %.1f s: %s", when, took.Seconds(), v)
	return v
}

// innocent fails the test unless all that is wrong is explained: the cluster may still be at work.
func (r *rig) innocent(t *testing.T, when string) (v check.Verdict) {
	t.Helper()
	v, err := r.judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Err(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	t.Logf("%s: %s", when, v)
	return v
}

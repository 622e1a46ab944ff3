package control

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	if err := r.excuse(ctx, &s); err != nil {
		return check.Verdict{}, err
	}
	return check.Judge(s), nil
}

// excuse leaves out the volumes that are being deleted and whose logical volumes are gone already: their objects follow.
func (r *rig) excuse(ctx context.Context, s *check.State) error {
	list, err := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, lv := range s.LVs {
		there[lv.Store+"/"+strings.TrimPrefix(lv.VG, "lvme-")+"/"+lv.Name] = true
	}
	kept := map[string]bool{}
	for _, v := range list.Items {
		kept["pv/"+v.Name] = v.Status.Phase != corev1.VolumeReleased
	}
	s.Volumes = slices.DeleteFunc(s.Volumes, func(v check.Volume) bool {
		return v.Store != "" && !kept[v.Object] && !there[v.ID]
	})
	return nil
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

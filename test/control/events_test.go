package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

// testEvents: a pool that fills up, and room again; a drive that says it fails. Each is told of the node and, where
// volumes are concerned, of their claims.
func testEvents(t *testing.T, r *rig) {
	n, m := r.node("node3"), r.node("node2")
	once := n.overcommit(t, 2)
	r.awaitPublished(t, "twice as much may be promised")
	r.claim(t, "filling", "waits", "14Gi") // more than one of its pools has
	r.pod(t, "filling", "node3", "filling")
	r.claim(t, "bystander", "thick", "1Gi") // of the same node, and it does not mind a thin pool
	r.pod(t, "bystander", "node3", "bystander")
	r.claim(t, "ailing", "thick", "1Gi")
	r.pod(t, "ailing", "node2", "ailing")
	volumes, _ := r.bound(t, "filling", "ailing", "bystander")
	of := func(v *corev1.PersistentVolume) volume.Key {
		key, err := volume.ParseKey(v.Spec.CSI.VolumeHandle)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	fills, fails := n.pool(t, of(volumes[0]).VG), m.pool(t, of(volumes[1]).VG)
	fill := func(percent int64) {
		n.host.LVM.Unmap(fills.VG, of(volumes[0]).LV)
		n.host.LVM.Map(fills.VG, of(volumes[0]).LV, fills.ThinBytes/100*percent)
	}
	health := func(h drive.Health) {
		m.host.Change(fails.Drives[0].Path, func(d *drive.Drive) { d.Health = h })
		m.host.Tell()
	}

	fill(85)
	health(drive.Health{Status: drive.HealthCritical, Reasons: []string{"the drive has put its media into read-only mode"}})
	r.told(t, "Node", "node3", "Warning PoolFilling", fills.VG, "% full", "fstrim", fills.Drives[0].Serial)
	r.told(t, "Node", "node2", "Warning DriveFailing", fails.VG, fails.Drives[0].Serial, "read-only mode", "replace it", "claims with volumes there: 1")
	r.told(t, claimKind, "ailing", "Warning DriveFailing", fails.VG, "on node node2")
	if said := r.said(t.Context(), claimKind, "filling"); strings.Contains(said, "PoolFilling") {
		t.Errorf("a pool that only fills up is told of a claim: %s", said)
	}

	fill(92)
	health(drive.Health{Status: drive.HealthGood})
	r.told(t, "Node", "node3", "Warning PoolNearlyFull", fills.VG, "takes no new volumes", "claims with volumes there: 1")
	r.told(t, claimKind, "filling", "Warning PoolNearlyFull", fills.VG, "on node node3")
	r.told(t, "Node", "node2", "Normal StorageRecovered", fails.VG, "DriveFailing")
	r.told(t, claimKind, "ailing", "Normal StorageRecovered", fails.VG, "DriveFailing")
	if out, err := r.plane.Kubectl(t.Context(), nil, "describe", "node", "node3"); err != nil || !strings.Contains(string(out), "PoolNearlyFull") {
		t.Errorf("kubectl describe does not show it: %v: %s", err, out)
	}

	n.host.LVM.Unmap(fills.VG, of(volumes[0]).LV)
	r.told(t, "Node", "node3", "Normal StorageRecovered", fills.VG, "PoolFilling", "PoolNearlyFull")
	r.told(t, claimKind, "filling", "Normal StorageRecovered", fills.VG, "PoolNearlyFull")
	for of, want := range map[string]int{"Node/node3": 3, "Node/node2": 2, "Node/node1": 0, claimKind + "/bystander": 0} {
		kind, name, _ := strings.Cut(of, "/")
		if said := r.said(t.Context(), kind, name); strings.Count(said, "(lvme-controller)") != want {
			t.Errorf("%d events of %s are wanted: %s", want, of, said)
		}
	}
	r.clear(t)
	n.overcommit(t, once)
	r.awaitPublished(t, "as much as there is may be promised")
}

const claimKind = "PersistentVolumeClaim"

// overcommit starts the agent anew with that in its configuration, and returns what was there.
func (n *node) overcommit(t *testing.T, times float64) (was float64) {
	t.Helper()
	n.kill()
	n.options.Config.Classes = slices.Clone(n.options.Config.Classes)
	was, n.options.Config.Classes[0].Thin.Overcommit = n.options.Config.Classes[0].Thin.Overcommit, times
	n.boot(t)
	return was
}

// pool is the pool of that short id, as the agent sees it.
func (n *node) pool(t *testing.T, id string) volume.Pool {
	t.Helper()
	for _, p := range n.running.Store().Pools(t.Context()) {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("%s has no pool %s", n.name, id)
	return volume.Pool{}
}

// said is what events say of an object.
func (r *rig) said(ctx context.Context, kind, name string) string {
	list, err := r.client.CoreV1().Events(users).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",involvedObject.kind=" + kind})
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, e := range list.Items {
		all = append(all, fmt.Sprintf("%s %s (%s): %s", e.Type, e.Reason, e.Source.Component, e.Message))
	}
	return strings.Join(all, "\n")
}

// told waits until an event of an object has these words, in one line that begins with what.
func (r *rig) told(t *testing.T, kind, name, what string, words ...string) {
	t.Helper()
	took := await(t, fmt.Sprintf("%s of %s %s", what, kind, name), func(ctx context.Context) (bool, string) {
		said := r.said(ctx, kind, name)
		return slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
			return strings.HasPrefix(line, what+" ") && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
		}), said
	})
	t.Logf("after %.1f s more: %s: %s", took.Seconds(), name, what)
}

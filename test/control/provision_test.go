package control

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testProvision: volumes are made where they must be, and only there.
func testProvision(t *testing.T, r *rig) {
	r.claim(t, "waits", "waits", "1Gi")
	r.pod(t, "waits", "node2", "waits")
	volumes, took := r.bound(t, "waits")
	if n := r.nodeOf(t, volumes[0]); n.name != "node2" {
		t.Errorf("the volume of a pod of node2 is on %s", n.name)
	}
	if node := r.scheduled(t, "waits"); node != "node2" {
		t.Errorf("the pod is on %s", node)
	}
	t.Logf("for its first consumer: bound after %.1f s", took.Seconds())

	r.claim(t, "one-pod", "waits", "1Gi", func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	})
	r.pod(t, "one-pod", "", "one-pod")
	r.claim(t, "thick", "thick", "1Gi")
	r.pod(t, "thick", "", "thick")
	volumes, _ = r.bound(t, "one-pod", "thick")
	if modes := volumes[0].Spec.AccessModes; len(modes) != 1 || modes[0] != corev1.ReadWriteOncePod {
		t.Errorf("the claim for one pod has a volume for %v", modes)
	}
	if type_ := volumes[1].Spec.CSI.FSType; type_ != "xfs" && type_ != "" {
		t.Errorf("the thick volume is of %s", type_)
	}
	t.Run("at once", func(t *testing.T) { testImmediate(t, r) })
	t.Run("a class of some nodes", func(t *testing.T) { testSomeNodes(t, r) })
}

func testImmediate(t *testing.T, r *rig) {
	const count = 9
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("now-%d", i))
		r.claim(t, names[i], "now", "1Gi")
	}
	volumes, took := r.bound(t, names...)
	nodes := map[string]int{}
	for _, v := range volumes {
		nodes[r.nodeOf(t, v).name]++
	}
	if len(nodes) < 2 {
		t.Errorf("all are on one node: %v", nodes)
	}
	t.Logf("%d at once: bound after %.1f s, on %v", count, took.Seconds(), nodes)
}

func testSomeNodes(t *testing.T, r *rig) {
	r.claim(t, "nowhere", "fast", "1Gi")
	r.pod(t, "nowhere", "node3", "nowhere") // which has no drive of that class
	r.claim(t, "fast", "fast", "1Gi")
	r.pod(t, "fast", "node3?", "fast")
	var names []string
	for i := range 4 {
		names = append(names, fmt.Sprintf("fast-now-%d", i))
		r.claim(t, names[i], "fast-now", "1Gi")
	}
	volumes, took := r.bound(t, append(names, "fast")...)
	for _, v := range volumes {
		if n := r.nodeOf(t, v); n.name == "node3" {
			t.Errorf("%s is on %s, which has no drive of its class", v.Name, n.name)
		}
	}
	time.Sleep(5 * time.Second)
	c, err := r.client.CoreV1().PersistentVolumeClaims(users).Get(t.Context(), "nowhere", metav1.GetOptions{})
	if err != nil || c.Status.Phase != corev1.ClaimPending {
		t.Errorf("a claim for what its pod's node does not have is %s: %v", c.Status.Phase, err)
	}
	t.Logf("%d of a class that 2 of 3 nodes have: bound after %.1f s; one that cannot be had: %s", len(volumes), took.Seconds(), r.events(t.Context(), "nowhere"))
	r.deletePods(t)
	r.deleteClaims(t, "nowhere")
}

package control

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
)

// labels are the stores that the Node objects bear.
func (r *rig) labels(ctx context.Context) (map[string]string, error) {
	list, err := r.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for _, n := range list.Items {
		labels[n.Name] = n.Labels[driver.TopologyKey]
	}
	return labels, nil
}

// twin is another node with the drives and the host record of n.
func (n *node) twin(t *testing.T, name, address string) *node {
	t.Helper()
	m := newNode(t, n.rig, name, address, 0, false)
	m.host, m.options.Config = n.host, n.options.Config
	if err := os.CopyFS(m.options.StateDir, os.DirFS(n.options.StateDir)); err != nil {
		t.Fatal(err)
	}
	return m
}

// forget takes a node out of the test.
func (r *rig) forget(n *node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.nodes, n.name)
}

// testImpostor: an agent with the key of one that lives is not asked for anything, and gets no label.
func testImpostor(t *testing.T, r *rig) {
	n := r.node("node1")
	r.awaitRoom(t, n, "waits")
	m := n.twin(t, "impostor", "10.88.0.19")
	m.shadow = true
	m.boot(t)
	m.makeNode(t, "")
	m.makeEndpoint(t)
	for i := range 5 {
		name := fmt.Sprintf("genuine-%d", i)
		r.claim(t, name, "waits", "1Gi")
		r.pod(t, name, "node1", name)
		r.bound(t, name)
		time.Sleep(2 * time.Second)
	}
	for _, x := range r.replicas {
		if refused := x.metric(t, `lvme_router_agents{state="refused"}`); refused != "1" {
			t.Errorf("%s has refused %q agents", x.pod, refused)
		}
	}
	n.kill() // now it is the only one, and the seat is still that of the other
	r.claim(t, "patient", "waits", "1Gi")
	r.pod(t, "patient", "node1", "patient")
	time.Sleep(10 * time.Second)
	n.boot(t)
	r.bound(t, "patient")
	labels, err := r.labels(t.Context())
	if err != nil || labels["node1"] != n.store() || labels["impostor"] != "" {
		t.Errorf("the labels are %v, %v", labels, err)
	}
	if made := m.made.Load(); made != 0 {
		t.Errorf("the impostor was asked for %d volumes", made)
	}
	t.Logf("6 volumes were made by the genuine one, which was away for a while; none by the other")
	m.kill()
	m.deleteNode(t)
	r.forget(m)
}

// testChassis: drives with their volumes come up under another node's name after the first is gone.
func testChassis(t *testing.T, r *rig) {
	n := r.node("node2")
	for _, name := range []string{"moved", "moved-away"} {
		r.claim(t, name, "waits", "1Gi")
		r.pod(t, name, "node2", name)
	}
	r.bound(t, "moved", "moved-away")
	r.deletePods(t)
	store := n.store()
	n.kill()
	n.deleteNode(t)
	m := n.twin(t, "node4", "10.88.0.14")
	r.forget(n)
	m.boot(t)
	if m.store() != store {
		t.Fatalf("the store was %s and is %s", store, m.store())
	}
	m.makeNode(t, "")
	m.makeEndpoint(t)
	took := await(t, "node4 bears the label", func(ctx context.Context) (bool, string) {
		labels, err := r.labels(ctx)
		return labels["node4"] == store, fmt.Sprint(labels, err)
	})
	t.Logf("the label was moved after %.1f s", took.Seconds())
	r.expand(t, "moved", "2Gi")
	r.deleteClaims(t, "moved-away")
	r.pod(t, "moved", "", "moved")
	if node := r.scheduled(t, "moved"); node != "node4" {
		t.Errorf("the pod is on %s", node)
	}
	r.claim(t, "new", "waits", "1Gi")
	r.pod(t, "new", "node4", "new")
	if volumes, _ := r.bound(t, "new"); storeOf(volumes[0]) != store {
		t.Errorf("a new volume of node4 is %s", volumes[0].Spec.CSI.VolumeHandle)
	}
}

// testOtherName: drives come up under another node's name, and nobody has deleted the first, which may be about to come
// back. It keeps its store for five minutes.
func testOtherName(t *testing.T, r *rig) {
	n := r.node("node1")
	r.claim(t, "renamed", "waits", "1Gi")
	r.pod(t, "renamed", "node1", "renamed")
	r.bound(t, "renamed")
	r.deletePods(t)
	store, killed := n.store(), time.Now()
	n.kill()
	m := n.twin(t, "node5", "10.88.0.15")
	r.forget(n)
	m.boot(t)
	m.register(t) // both Nodes bear the label
	r.expand(t, "renamed", "2Gi")
	if after := time.Since(killed); after < router.DefaultDisplace {
		t.Errorf("the store was given to another node after %s", after)
	}
	await(t, "the first Node has lost the label", func(ctx context.Context) (bool, string) {
		labels, err := r.labels(ctx)
		return labels["node5"] == store && labels["node1"] == "", fmt.Sprint(labels, err)
	})
}

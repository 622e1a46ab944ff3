package control

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/router"
)

// debts are the tombstones of a store, as they are recorded in ConfigMaps.
func (r *rig) debts(ctx context.Context, store string) (debts []router.Tombstone, err error) {
	maps, err := r.client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: "lvme.dev/tombstones"})
	if err != nil {
		return nil, err
	}
	for _, m := range maps.Items {
		for key, text := range m.Data {
			var d router.Tombstone
			if err := json.Unmarshal([]byte(text), &d); err != nil {
				return nil, fmt.Errorf("%s in %s: %w", key, m.Name, err)
			}
			if d.Store == store {
				debts = append(debts, d)
			}
		}
	}
	return debts, nil
}

// awaitPaid waits until nothing is owed to a store.
func (r *rig) awaitPaid(t *testing.T, store string) (took time.Duration) {
	t.Helper()
	return await(t, "nothing is owed to "+store, func(ctx context.Context) (bool, string) {
		debts, err := r.debts(ctx, store)
		return err == nil && len(debts) == 0, fmt.Sprint(debts, err)
	})
}

// testCutOff: nobody is at the agent's address, and pods that may be elsewhere go there.
func testCutOff(t *testing.T, r *rig) {
	n := r.node("node1")
	r.awaitRoom(t, n, "waits")
	n.wire.cut()
	var names []string
	for i := range 4 {
		names = append(names, fmt.Sprintf("cut-%d", i))
		r.claim(t, names[i], "waits", "1Gi")
		r.pod(t, names[i], "node1?", names[i])
	}
	r.claim(t, "cut-now", "now", "1Gi")
	volumes, took := r.bound(t, append(names, "cut-now")...)
	for i, v := range volumes {
		if storeOf(v) == n.store() {
			t.Errorf("%s was made on a node that is cut off", v.Name)
		}
		if i == len(names) {
			continue // it has no pod
		}
		if node := r.scheduled(t, names[i]); node == n.name {
			t.Errorf("pod %s is on %s", names[i], node)
		}
	}
	debts, err := r.debts(t.Context(), n.store())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods that had rather been on %s: bound elsewhere after %.1f s; %d names are owed to it", len(names), n.name, took.Seconds(), len(debts))
	n.wire.connect(t, n.running.ClusterAddress())
	took = r.awaitPaid(t, n.store())
	t.Logf("paid %.1f s after it was back", took.Seconds())
}

// testHang: the network swallows everything while the agent makes a volume, which is then made elsewhere.
func testHang(t *testing.T, r *rig) {
	n := r.node("node1")
	r.awaitRoom(t, n, "waits")
	hold := n.host.LVM.Hold("lvcreate")
	r.claim(t, "hang", "waits", "1Gi")
	r.pod(t, "hang", "node1?", "hang")
	wait(t, hold, n)
	n.wire.swallow(true)
	volumes, took := r.bound(t, "hang")
	if storeOf(volumes[0]) == n.store() {
		t.Fatalf("%s was made on a node that is cut off", volumes[0].Name)
	}
	t.Logf("bound elsewhere after %.1f s", took.Seconds())
	hold.Release()
	name := lvOf(volumes[0].Spec.CSI.VolumeHandle)
	await(t, "the volume is made on the first node too", func(context.Context) (bool, string) { return n.has(t, name) == 1, "" })
	if v := r.innocent(t, "with two of them"); len(v.Owed) != 1 {
		t.Errorf("%d are owed", len(v.Owed))
	}
	n.wire.swallow(false)
	took = await(t, "the one that nobody wants is gone", func(context.Context) (bool, string) { return n.has(t, name) == 0, "" })
	t.Logf("deleted %.1f s after the node was back", took.Seconds())
	r.awaitPaid(t, n.store())
}

// testLost: a node is deleted from the cluster. Its volumes can be deleted, and are when its drives come back.
func testLost(t *testing.T, r *rig) {
	n := r.node("node3")
	for _, name := range []string{"deleted", "kept"} {
		r.claim(t, name, "waits", "1Gi")
		r.pod(t, name, "node3", name)
	}
	volumes, _ := r.bound(t, "deleted", "kept")
	r.snapshot(t, "deleted", "deleted")
	n.wire.cut()
	r.deletePods(t)
	err := r.snapshots.SnapshotV1().VolumeSnapshots(users).Delete(t.Context(), "deleted", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.deleteClaims(t, "deleted")
	time.Sleep(20 * time.Second)
	if _, err := r.client.CoreV1().PersistentVolumes().Get(t.Context(), volumes[0].Name, metav1.GetOptions{}); err != nil {
		t.Errorf("a volume is gone whose node is merely away: %v", err)
	}
	n.deleteNode(t)
	took := await(t, "the volume and the snapshot are gone", func(ctx context.Context) (bool, string) {
		list, err1 := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		contents, err2 := r.snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{})
		if err1 != nil || err2 != nil {
			return false, fmt.Sprint(err1, err2)
		}
		return len(list.Items) == 1 && len(contents.Items) == 0, fmt.Sprintf("%d and %d, %s", len(list.Items), len(contents.Items), r.events(ctx, volumes[0].Name))
	})
	debts, err := r.debts(t.Context(), n.store())
	if err != nil || len(debts) != 2 {
		t.Errorf("owed are %+v, %v", debts, err)
	}
	if v := r.innocent(t, "while the node is lost"); len(v.Owed) != 2 {
		t.Errorf("the drives have %q that are owed", v.Owed)
	}
	t.Logf("deletable %.1f s after the node was deleted; %d deletions are recorded", took.Seconds(), len(debts))
	n.register(t)
	n.wire.connect(t, n.running.ClusterAddress())
	took = r.awaitPaid(t, n.store())
	for _, d := range debts {
		if n.has(t, lvOf(d.ID)) != 0 {
			t.Errorf("%s is still there", d.ID)
		}
	}
	t.Logf("done %.1f s after the drives were back", took.Seconds())
	r.expand(t, "kept", "2Gi")
}

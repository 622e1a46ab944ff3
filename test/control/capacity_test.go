package control

import (
	"context"
	"fmt"
	"math/bits"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/driver"
)

// told is a capacity as the router tells it: rounded down to seven bits.
func told(bytes int64) int64 {
	low := max(bits.Len64(uint64(bytes))-7, 0)
	return bytes >> low << low
}

// room is what an agent itself says of a class, in bytes: in all, and for one volume.
func (n *node) room(ctx context.Context, class *storagev1.StorageClass) (available, largest int64) {
	resp, err := csi.NewControllerClient(n.running.Conn).GetCapacity(ctx, &csi.GetCapacityRequest{
		Parameters: class.Parameters, AccessibleTopology: driver.Topology(n.store()),
	})
	if err != nil {
		return 0, 0 // it does not know the class
	}
	return told(resp.GetAvailableCapacity()), told(resp.GetMaximumVolumeSize().GetValue())
}

// published compares the CSIStorageCapacity objects with what the agents say.
func (r *rig) published(ctx context.Context) (count int, differences string) {
	classes, err1 := r.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	objects, err2 := r.client.StorageV1().CSIStorageCapacities(namespace).List(ctx, metav1.ListOptions{})
	if err1 != nil || err2 != nil {
		return 0, fmt.Sprint(err1, err2)
	}
	have := map[string]storagev1.CSIStorageCapacity{}
	for _, o := range objects.Items {
		have[o.StorageClassName+" "+o.NodeTopology.MatchLabels[driver.TopologyKey]] = o
	}
	for _, class := range classes.Items {
		if *class.VolumeBindingMode == storagev1.VolumeBindingImmediate {
			continue // the scheduler has no say in it
		}
		for _, n := range r.all() {
			available, largest := n.room(ctx, &class)
			o, ok := have[class.Name+" "+n.store()]
			delete(have, class.Name+" "+n.store())
			switch {
			case !ok:
				differences += fmt.Sprintf("%s on %s: nothing is published\n", class.Name, n.name)
			case o.Capacity == nil || o.Capacity.Value() != available || o.MaximumVolumeSize == nil || o.MaximumVolumeSize.Value() != largest:
				differences += fmt.Sprintf("%s on %s: %s, %s published, it is %d, %d\n", class.Name, n.name, o.Capacity, o.MaximumVolumeSize, available, largest)
			}
			count++
		}
	}
	for key := range have {
		differences += key + " is published and is not there\n"
	}
	return count, differences
}

// awaitPublished waits until what is published is true, and prints how long it took.
func (r *rig) awaitPublished(t *testing.T, after string) {
	t.Helper()
	count := 0
	took := await(t, "the capacities are published", func(ctx context.Context) (bool, string) {
		var differences string
		count, differences = r.published(ctx)
		return count > 0 && differences == "", differences
	})
	t.Logf("after %s: all %d capacities are right after %.1f s", after, count, took.Seconds())
}

// testCapacity: the scheduler is told the room on each node, and every change of it.
func testCapacity(t *testing.T, r *rig) {
	r.awaitPublished(t, "the start")
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "late"}, Provisioner: driver.Name, Parameters: map[string]string{driver.ParamType: "thick", driver.ParamFSType: "xfs"},
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer), AllowVolumeExpansion: new(true),
	}
	if _, err := r.client.StorageV1().StorageClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitPublished(t, "a new class")
	before, _ := r.node("node1").room(t.Context(), class)
	r.claim(t, "late", "late", "4Gi")
	r.pod(t, "late", "node1", "late")
	r.claim(t, "large", "waits", "6Gi")
	r.pod(t, "large", "node2", "large")
	r.bound(t, "late", "large")
	if after, _ := r.node("node1").room(t.Context(), class); after >= before {
		t.Errorf("the agent of node1 has room for %d, and had for %d before", after, before)
	}
	r.awaitPublished(t, "two volumes were made")
	r.deletePods(t)
	r.deleteClaims(t, "late", "large")
	r.gone(t)
	r.awaitPublished(t, "they were deleted")
	r.node("node3").host.Plug()
	await(t, "the agent has taken the drive", func(ctx context.Context) (bool, string) {
		available, largest := r.node("node3").room(ctx, class)
		return available > 3*largest, fmt.Sprint(available, largest)
	})
	r.awaitPublished(t, "a drive was plugged in")
	if err := r.client.StorageV1().StorageClasses().Delete(t.Context(), "late", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitPublished(t, "the class was deleted")
}

// awaitRoom waits until the scheduler is told that a node has room.
func (r *rig) awaitRoom(t *testing.T, n *node, class string) {
	t.Helper()
	await(t, "room on "+n.name+" is published", func(ctx context.Context) (bool, string) {
		objects, err := r.client.StorageV1().CSIStorageCapacities(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, o := range objects.Items {
			if o.StorageClassName == class && o.NodeTopology.MatchLabels[driver.TopologyKey] == n.store() {
				return o.Capacity != nil && o.Capacity.Value() > 0, o.Capacity.String()
			}
		}
		return false, "nothing is"
	})
}

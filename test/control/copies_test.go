package control

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// testCopies: snapshot, restore and clone on the right node at once, expansion, deletion in any order.
func testCopies(t *testing.T, r *rig) {
	r.claim(t, "source", "waits", "1Gi")
	r.pod(t, "source", "node3", "source")
	volumes, _ := r.bound(t, "source")
	source := volumes[0]
	r.snapshot(t, "snapshot", "source")

	r.claim(t, "restored", "waits", "2Gi", of("VolumeSnapshot", "snapshot"))
	r.claim(t, "cloned", "waits", "1Gi", of("PersistentVolumeClaim", "source"))
	r.claim(t, "restored-now", "now", "1Gi", of("VolumeSnapshot", "snapshot"))
	volumes, took := r.bound(t, "restored", "cloned", "restored-now")
	for _, v := range volumes {
		if storeOf(v) != storeOf(source) {
			t.Errorf("%s is %s, its source %s", v.Spec.ClaimRef.Name, v.Spec.CSI.VolumeHandle, source.Spec.CSI.VolumeHandle)
		}
	}
	for _, name := range []string{"restored", "cloned"} {
		if said := r.events(t.Context(), name); !strings.Contains(said, "SourceNodeSelected") {
			t.Errorf("that %s was steered is not told: %s", name, said)
		}
	}
	t.Logf("restore, clone and restore of immediate binding, without pods: bound after %.1f s, all on node3", took.Seconds())
	r.pod(t, "restored", "", "restored")
	r.pod(t, "cloned", "", "cloned")
	for _, pod := range []string{"restored", "cloned"} {
		if node := r.scheduled(t, pod); node != "node3" {
			t.Errorf("pod %s is on %s", pod, node)
		}
	}
	r.expand(t, "source", "3Gi")
	r.deletePods(t)
	r.deleteClaims(t, "source") // its copies live on
	await(t, "the source is gone", func(ctx context.Context) (bool, string) {
		_, err := r.client.CoreV1().PersistentVolumes().Get(ctx, source.Name, metav1.GetOptions{})
		return err != nil, r.events(ctx, source.Name)
	})
	v := r.settle(t, "without the source")
	if v.Volumes != 3 || v.Snapshots != 1 {
		t.Errorf("%d volumes and %d snapshots are left", v.Volumes, v.Snapshots)
	}
}

// expand asks for a larger volume and waits until it is.
func (r *rig) expand(t *testing.T, claim, size string) {
	t.Helper()
	r.enlarge(t, claim, size)
	took := r.awaitSize(t, claim, size)
	t.Logf("%s expanded to %s after %.1f s", claim, size, took.Seconds())
}

// enlarge asks for a larger volume.
func (r *rig) enlarge(t *testing.T, claim, size string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"resources":{"requests":{"storage":%q}}}}`, size)
	_, err := r.client.CoreV1().PersistentVolumeClaims(users).Patch(t.Context(), claim, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitSize waits until a claim's volume has that size.
func (r *rig) awaitSize(t *testing.T, claim, size string) (took time.Duration) {
	t.Helper()
	return await(t, claim+" has "+size, func(ctx context.Context) (bool, string) {
		c, err := r.client.CoreV1().PersistentVolumeClaims(users).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		v, err := r.client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		have := v.Spec.Capacity[corev1.ResourceStorage]
		return have.String() == size, have.String() + ", " + r.events(ctx, claim)
	})
}

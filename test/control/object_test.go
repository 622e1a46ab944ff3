package control

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// users is the namespace of claims and pods.
const users = "default"

// claim makes a claim for a volume of a class.
func (r *rig) claim(t *testing.T, name, class, size string, edit ...func(*corev1.PersistentVolumeClaim)) {
	t.Helper()
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Spec.StorageClassName = &class
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	for _, change := range edit {
		change(c)
	}
	if _, err := r.client.CoreV1().PersistentVolumeClaims(users).Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// of has a claim begin as a copy of a snapshot or of another claim.
func of(kind, name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: kind, Name: name}
		if kind == "VolumeSnapshot" {
			c.Spec.DataSource.APIGroup = new(snapshotv1.GroupName)
		}
	}
}

// snapshot makes a snapshot of a claim's volume and waits until it can be used.
func (r *rig) snapshot(t *testing.T, name, claim string) {
	t.Helper()
	r.takeSnapshot(t, name, claim)
	r.awaitSnapshot(t, name)
}

// takeSnapshot asks for a snapshot of a claim's volume.
func (r *rig) takeSnapshot(t *testing.T, name, claim string) {
	t.Helper()
	s := &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.Spec.Source.PersistentVolumeClaimName = &claim
	if _, err := r.snapshots.SnapshotV1().VolumeSnapshots(users).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitSnapshot waits until a snapshot can be used.
func (r *rig) awaitSnapshot(t *testing.T, name string) {
	t.Helper()
	await(t, "snapshot "+name+" is ready", func(ctx context.Context) (bool, string) {
		s, err := r.snapshots.SnapshotV1().VolumeSnapshots(users).Get(ctx, name, metav1.GetOptions{})
		if err != nil || s.Status == nil || s.Status.ReadyToUse == nil {
			return false, fmt.Sprint(err)
		}
		return *s.Status.ReadyToUse, fmt.Sprintf("%+v", s.Status)
	})
}

// pod makes a pod that uses claims. It has to be on that node, or, if the name ends with "?", had better be there; with
// "" it may be anywhere.
func (r *rig) pod(t *testing.T, name, where string, claims ...string) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "none"}}
	p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} // nobody says that nodes are ready
	p.Spec.TerminationGracePeriodSeconds = new(int64(0))
	wish, only := strings.CutSuffix(where, "?")
	if only {
		term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{wish}},
		}}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: term}},
		}}
	} else if where != "" {
		p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: where}
	}
	for _, c := range claims {
		v := corev1.Volume{Name: c}
		v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
	await(t, "pod "+name+" is accepted", func(ctx context.Context) (bool, string) {
		_, err := r.client.CoreV1().Pods(users).Create(ctx, p, metav1.CreateOptions{})
		return err == nil, fmt.Sprint(err)
	})
}

// bound waits until claims have volumes, and returns those.
func (r *rig) bound(t *testing.T, claims ...string) (volumes []*corev1.PersistentVolume, took time.Duration) {
	t.Helper()
	began := time.Now()
	for _, name := range claims {
		await(t, "claim "+name+" is bound", func(ctx context.Context) (bool, string) {
			c, err := r.client.CoreV1().PersistentVolumeClaims(users).Get(ctx, name, metav1.GetOptions{})
			if err != nil || c.Status.Phase != corev1.ClaimBound {
				return false, fmt.Sprintf("%v, %v, %s", err, c.Annotations, r.events(ctx, name))
			}
			v, err := r.client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
			if err == nil {
				volumes = append(volumes, v)
			}
			return err == nil, fmt.Sprint(err)
		})
	}
	return volumes, time.Since(began)
}

// events are what was said of an object.
func (r *rig) events(ctx context.Context, name string) string {
	list, err := r.client.CoreV1().Events(users).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, e := range list.Items {
		all = append(all, fmt.Sprintf("%s x%d: %s", e.Reason, e.Count, e.Message))
	}
	return strings.Join(all, "; ")
}

// scheduled waits until a pod has a node, and returns its name.
func (r *rig) scheduled(t *testing.T, pod string) (node string) {
	t.Helper()
	await(t, "pod "+pod+" has a node", func(ctx context.Context) (bool, string) {
		p, err := r.client.CoreV1().Pods(users).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		node = p.Spec.NodeName
		return node != "", r.events(ctx, pod)
	})
	return node
}

// storeOf is the store that a volume is in.
func storeOf(v *corev1.PersistentVolume) string {
	key, _, _ := strings.Cut(v.Spec.CSI.VolumeHandle, "/")
	return key
}

// nodeOf is the node that a volume is on.
func (r *rig) nodeOf(t *testing.T, v *corev1.PersistentVolume) *node {
	t.Helper()
	for _, n := range r.all() {
		if !n.shadow && n.store() == storeOf(v) {
			return n
		}
	}
	t.Fatalf("%s is in a store of nobody: %s", v.Name, v.Spec.CSI.VolumeHandle)
	return nil
}

// deletePods deletes all pods of users.
func (r *rig) deletePods(t *testing.T) {
	t.Helper()
	err := r.client.CoreV1().Pods(users).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// deleteClaims deletes claims, which are gone once no pod uses them.
func (r *rig) deleteClaims(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := r.client.CoreV1().PersistentVolumeClaims(users).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}

// claimGone waits until a claim that was deleted is gone, and its volume with it.
func (r *rig) claimGone(t *testing.T, name string) {
	t.Helper()
	await(t, "the volume of "+name+" is gone", func(ctx context.Context) (bool, string) {
		list, err := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, v := range list.Items {
			if v.Spec.ClaimRef.Name == name {
				return false, string(v.Status.Phase) + ", " + r.events(ctx, v.Name)
			}
		}
		return true, ""
	})
}

// gone waits until no claim, volume or snapshot is left.
func (r *rig) gone(t *testing.T) (took time.Duration) {
	t.Helper()
	return await(t, "all claims, volumes and snapshots are gone", func(ctx context.Context) (bool, string) {
		claims, err1 := r.client.CoreV1().PersistentVolumeClaims(users).List(ctx, metav1.ListOptions{})
		volumes, err2 := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		contents, err3 := r.snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{})
		if err1 != nil || err2 != nil || err3 != nil {
			return false, fmt.Sprint(err1, err2, err3)
		}
		for _, v := range volumes.Items {
			return false, fmt.Sprintf("%d claims, %d volumes, %d contents; %s is %s: %s", len(claims.Items), len(volumes.Items), len(contents.Items),
				v.Name, v.Status.Phase, r.events(ctx, v.Name))
		}
		return len(claims.Items)+len(contents.Items) == 0, fmt.Sprintf("%d claims, %d contents", len(claims.Items), len(contents.Items))
	})
}

// clear deletes everything that users have made, and waits until it is gone.
func (r *rig) clear(t *testing.T) (took time.Duration) {
	t.Helper()
	r.deletePods(t)
	err := r.snapshots.SnapshotV1().VolumeSnapshots(users).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.client.CoreV1().PersistentVolumeClaims(users).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	return r.gone(t)
}

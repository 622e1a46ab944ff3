package kube

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

const (
	// selectedNode is the annotation by which the scheduler tells provisioners
	// where to provision a claim that waits for its first consumer. It binds
	// the scheduler too.
	selectedNode = "volume.kubernetes.io/selected-node"

	snapshotGroup = "snapshot.storage.k8s.io"
	snapshotKind  = "VolumeSnapshot"
	claimKind     = "PersistentVolumeClaim"
)

var (
	// errNotOurs says that a claim or its source is not lvme's: it is left alone.
	errNotOurs = errors.New("not ours")
	// errNotYet says that the source of a claim is not there yet.
	errNotYet = errors.New("not yet")
)

// stripClaim leaves of a claim what steering reads: nothing for most.
func stripClaim(o any) (any, error) {
	c, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok {
		return o, nil
	}
	s := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Name: c.Name, Namespace: c.Namespace, UID: c.UID, ResourceVersion: c.ResourceVersion, DeletionTimestamp: c.DeletionTimestamp,
	}}
	s.Spec.VolumeName = c.Spec.VolumeName
	s.Spec.StorageClassName = c.Spec.StorageClassName
	if c.Spec.VolumeName == "" {
		s.Spec.DataSource, s.Spec.DataSourceRef = c.Spec.DataSource, c.Spec.DataSourceRef
		if node := c.Annotations[selectedNode]; node != "" {
			s.Annotations = map[string]string{selectedNode: node}
		}
	}
	return s, nil
}

// source is what a claim is to be filled from; kind is "" for nothing that is
// steered.
type source struct{ kind, name string }

// sourceOf leaves alone what is in another namespace: that is not decided by
// the claim alone.
func sourceOf(c *corev1.PersistentVolumeClaim) source {
	group, s := (*string)(nil), source{}
	switch ref, local := c.Spec.DataSourceRef, c.Spec.DataSource; {
	case ref != nil && ref.Namespace != nil && *ref.Namespace != "" && *ref.Namespace != c.Namespace:
		return source{}
	case ref != nil:
		group, s = ref.APIGroup, source{ref.Kind, ref.Name}
	case local != nil:
		group, s = local.APIGroup, source{local.Kind, local.Name}
	}
	of := ""
	if group != nil {
		of = *group
	}
	if s.kind == snapshotKind && of == snapshotGroup || s.kind == claimKind && of == "" {
		return s
	}
	return source{}
}

// waits says that the claim may be one to be steered.
func waits(c *corev1.PersistentVolumeClaim) bool {
	class := c.Spec.StorageClassName
	return c.DeletionTimestamp == nil && c.Spec.VolumeName == "" && class != nil && *class != "" &&
		c.Annotations[selectedNode] == "" && sourceOf(c).kind != ""
}

// locator finds the store that holds the source of a claim. It asks the API
// server each time: restores are rare, and what is not watched need not be
// there, such as the kinds of snapshots.
type locator struct {
	client    kubernetes.Interface
	snapshots snapshotclient.Interface
}

// locate returns the key of the store, errNotOurs or errNotYet.
func (l *locator) locate(ctx context.Context, c *corev1.PersistentVolumeClaim) (store string, err error) {
	class, err := l.client.StorageV1().StorageClasses().Get(ctx, *c.Spec.StorageClassName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("look at storage class %s: %w", *c.Spec.StorageClassName, err)
	}
	mode := class.VolumeBindingMode
	if class.Provisioner != driver.Name || mode == nil || *mode != storagev1.VolumeBindingWaitForFirstConsumer {
		return "", fmt.Errorf("storage class %s: %w", class.Name, errNotOurs)
	}
	id, err := l.id(ctx, c.Namespace, sourceOf(c))
	if err != nil {
		return "", err
	}
	key, err := volume.ParseKey(id)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return key.Store, nil
}

// id is the CSI id of the source.
func (l *locator) id(ctx context.Context, namespace string, s source) (string, error) {
	if s.kind == snapshotKind {
		return l.snapshotID(ctx, namespace, s.name)
	}
	c, err := l.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, s.name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("look at claim %s/%s: %w", namespace, s.name, err)
	}
	if c.Spec.VolumeName == "" {
		return "", fmt.Errorf("claim %s/%s is not bound: %w", namespace, s.name, errNotYet)
	}
	pv, err := l.client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("look at persistent volume %s: %w", c.Spec.VolumeName, err)
	}
	id := handle(pv)
	if id == "" {
		return "", fmt.Errorf("persistent volume %s: %w", pv.Name, errNotOurs)
	}
	return id, nil
}

func (l *locator) snapshotID(ctx context.Context, namespace, name string) (string, error) {
	s, err := l.snapshots.SnapshotV1().VolumeSnapshots(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("look at snapshot %s/%s: %w", namespace, name, err)
	}
	st := s.Status
	if st == nil || st.BoundVolumeSnapshotContentName == nil || st.ReadyToUse == nil || !*st.ReadyToUse {
		return "", fmt.Errorf("snapshot %s/%s is not ready: %w", namespace, name, errNotYet)
	}
	content, err := l.snapshots.SnapshotV1().VolumeSnapshotContents().Get(ctx, *st.BoundVolumeSnapshotContentName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("look at snapshot content %s: %w", *st.BoundVolumeSnapshotContentName, err)
	}
	if content.Spec.Driver != driver.Name {
		return "", fmt.Errorf("snapshot content %s: %w", content.Name, errNotOurs)
	}
	if content.Status == nil || content.Status.SnapshotHandle == nil {
		return "", fmt.Errorf("snapshot content %s has no handle: %w", content.Name, errNotYet)
	}
	return *content.Status.SnapshotHandle, nil
}

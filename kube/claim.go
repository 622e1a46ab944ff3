package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// pageSize bounds the lists that are read from the API server itself.
const pageSize = 500

// claim moves the store's label to that node. It is set there first, so that
// the store has a bearer all the time, and taken off the others then; after a
// crash in between there are two, and the next claim ends it.
func claim(ctx context.Context, client kubernetes.Interface, store, node string) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		bearers, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: driver.TopologyKey + "=" + store})
		if err != nil {
			return err
		}
		if !hasNode(bearers.Items, node) {
			// If the node bore another store, its drives are elsewhere now.
			if err := label(ctx, client, node, "", &store); err != nil {
				return err
			}
		}
		for _, n := range bearers.Items {
			if n.Name == node {
				continue
			}
			// Only while it is what was looked at: it may bear another store since.
			err := label(ctx, client, n.Name, n.ResourceVersion, nil)
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return unavailable(fmt.Errorf("make node %s the one of store %s: %w", node, store, err))
	}
	return nil
}

func hasNode(nodes []corev1.Node, name string) bool {
	for _, n := range nodes {
		if n.Name == name {
			return true
		}
	}
	return false
}

// label sets the topology label of a node, or removes it for nil; if a version
// is given, only if the node is of that version. It touches nothing else.
func label(ctx context.Context, client kubernetes.Interface, node, version string, store *string) error {
	meta := map[string]any{"labels": map[string]*string{driver.TopologyKey: store}}
	if version != "" {
		meta["resourceVersion"] = version
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	if store == nil {
		klog.FromContext(ctx).Info("topology label taken off", "node", node)
	} else {
		klog.FromContext(ctx).Info("topology label set", "node", node, "store", *store)
	}
	return nil
}

// wanted says that a PersistentVolume of ours has that id. csi-provisioner gives
// a volume's PersistentVolume the CSI name of the volume; under any other name
// it was made by hand, or by a restore of the cluster's own records, and counts
// as much.
func wanted(ctx context.Context, client kubernetes.Interface, name, id string) (bool, error) {
	volumes := client.CoreV1().PersistentVolumes()
	if name != "" {
		pv, err := volumes.Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil && handle(pv) == id:
			return true, nil
		case err != nil && !apierrors.IsNotFound(err):
			return false, unavailable(fmt.Errorf("look for persistent volume %s: %w", name, err))
		}
	}
	for page := (metav1.ListOptions{Limit: pageSize}); ; {
		list, err := volumes.List(ctx, page)
		if err != nil {
			return false, unavailable(fmt.Errorf("look for a persistent volume of %s: %w", id, err))
		}
		for i := range list.Items {
			if handle(&list.Items[i]) == id {
				return true, nil
			}
		}
		if page.Continue = list.Continue; page.Continue == "" {
			return false, nil
		}
	}
}

// handle is the CSI id of a persistent volume, "" if it is none of ours.
func handle(pv *corev1.PersistentVolume) string {
	if csi := pv.Spec.CSI; csi != nil && csi.Driver == driver.Name {
		return csi.VolumeHandle
	}
	return ""
}

// unavailable makes the failure of a request to the API server one that callers
// of CSI try again.
func unavailable(err error) error { return fmt.Errorf("%w: %w", volume.ErrUnavailable, err) }

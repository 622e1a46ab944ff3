package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// pool is a pool of a store, by the short id of its VG.
type pool struct{ store, id string }

// owner is a claim that has a volume in a pool.
type owner struct {
	claim *corev1.ObjectReference
	thick bool
}

// ownersIn are the claims that have volumes in these pools, in the order of their
// names. The volumes are read from the API server itself: that something is wrong
// with a pool is rare, and nothing else needs to know of all volumes.
func ownersIn(ctx context.Context, client kubernetes.Interface, pools map[pool]bool) (map[pool][]owner, error) {
	if len(pools) == 0 {
		return nil, nil
	}
	thick, err := thickClasses(ctx, client)
	if err != nil {
		return nil, err
	}
	all := map[pool][]owner{}
	for page := (metav1.ListOptions{Limit: pageSize}); ; {
		list, err := client.CoreV1().PersistentVolumes().List(ctx, page)
		if err != nil {
			return nil, fmt.Errorf("look for volumes in ailing pools: %w", err)
		}
		for i := range list.Items {
			pv := &list.Items[i]
			key, err := volume.ParseKey(handle(pv))
			if p := (pool{key.Store, key.VG}); err == nil && pools[p] && pv.Status.Phase == corev1.VolumeBound && pv.Spec.ClaimRef != nil {
				all[p] = append(all[p], owner{claimOf(pv), thick[pv.Spec.StorageClassName]})
			}
		}
		if page.Continue = list.Continue; page.Continue == "" {
			break
		}
	}
	for _, some := range all {
		slices.SortFunc(some, func(a, b owner) int {
			return cmp.Or(cmp.Compare(a.claim.Namespace, b.claim.Namespace), cmp.Compare(a.claim.Name, b.claim.Name))
		})
	}
	return all, nil
}

func claimOf(pv *corev1.PersistentVolume) *corev1.ObjectReference {
	c := pv.Spec.ClaimRef
	return &corev1.ObjectReference{APIVersion: "v1", Kind: claimKind, Namespace: c.Namespace, Name: c.Name, UID: c.UID}
}

// thickClasses are the StorageClasses whose volumes are thick. One that is not
// there any more is not among them: better one too many is told than one too few.
func thickClasses(ctx context.Context, client kubernetes.Interface) (map[string]bool, error) {
	list, err := client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("look which storage classes are thick: %w", err)
	}
	thick := map[string]bool{}
	for _, c := range list.Items {
		profile, err := volume.LookupProfile(c.Parameters[driver.ParamProfile])
		kind := cmp.Or(volume.Type(c.Parameters[driver.ParamType]), profile.Type)
		if c.Provisioner == driver.Name && err == nil && kind == volume.Thick {
			thick[c.Name] = true
		}
	}
	return thick, nil
}

package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/mtls"
)

// newLeaf returns an informer that has a source use what the keeper, in whatever
// replica it runs, puts into the router's Secret. It asks for that one alone.
func newLeaf(ctx context.Context, client kubernetes.Interface, namespace string, source *mtls.Source) (cache.SharedIndexInformer, error) {
	informer := coreinformers.NewFilteredSecretInformer(client, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, SecretRouter).String()
	})
	put := func(o any) {
		s, ok := o.(*corev1.Secret)
		if !ok || s.Name != SecretRouter {
			return
		}
		if err := wear(source, s); err != nil {
			klog.FromContext(ctx).Error(err, "secret is of no use; the certificate before it is used on", "secret", klog.KObj(s))
			return
		}
		klog.FromContext(ctx).Info("certificate read", "secret", klog.KObj(s), "expires", source.Expiry())
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    put,
		UpdateFunc: func(_, o any) { put(o) },
		// If it is removed, what was in it is good until it expires.
	})
	return informer, err
}

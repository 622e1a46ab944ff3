package control

import (
	"net"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/kube"
)

// register makes the objects that a kubelet makes of its node and of the driver on it, and the endpoint of the agent.
func (n *node) register(t *testing.T) {
	t.Helper()
	n.makeNode(t, n.store())
	n.makeEndpoint(t)
}

// makeNode makes the Node object, which bears that store unless it is "", and the CSINode object.
func (n *node) makeNode(t *testing.T, store string) {
	t.Helper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{corev1.LabelHostname: n.name}}}
	if store != "" {
		object.Labels[driver.TopologyKey] = store
	}
	object.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"), corev1.ResourcePods: resource.MustParse("500"),
	}
	object.Status.Capacity = object.Status.Allocatable
	object, err := n.rig.client.CoreV1().Nodes().Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csi := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{
		Name: n.name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.name, UID: object.UID}},
	}}
	csi.Spec.Drivers = []storagev1.CSINodeDriver{{
		Name: driver.Name, NodeID: n.name, TopologyKeys: []string{driver.TopologyKey}, Allocatable: &storagev1.VolumeNodeResources{Count: new(int32(500))},
	}}
	if _, err := n.rig.client.StorageV1().CSINodes().Create(t.Context(), csi, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// makeEndpoint makes the agent's address known.
func (n *node) makeEndpoint(t *testing.T) {
	t.Helper()
	host, port, err := net.SplitHostPort(n.wire.address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-" + n.name, Labels: map[string]string{
			discoveryv1.LabelServiceName: kube.DefaultAgentService, discoveryv1.LabelManagedBy: "test.lvme.dev",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, NodeName: &n.name, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("cluster"), Port: new(int32(number))}},
	}
	if _, err := n.rig.client.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// deleteNode takes the node out of the cluster, as its administrator does, and its endpoint, as Kubernetes does then.
func (n *node) deleteNode(t *testing.T) {
	t.Helper()
	for what, err := range map[string]error{
		"Node":          n.rig.client.CoreV1().Nodes().Delete(t.Context(), n.name, metav1.DeleteOptions{}),
		"CSINode":       n.rig.client.StorageV1().CSINodes().Delete(t.Context(), n.name, metav1.DeleteOptions{}),
		"EndpointSlice": n.rig.client.DiscoveryV1().EndpointSlices(namespace).Delete(t.Context(), "agent-"+n.name, metav1.DeleteOptions{}),
	} {
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatalf("delete the %s of %s: %v", what, n.name, err)
		}
	}
}

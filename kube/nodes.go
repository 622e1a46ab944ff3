package kube

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/lvme/lvme/driver"
)

// nodes follow the Node objects: which bears which store, which was there last.
type nodes struct {
	informer  cache.SharedIndexInformer
	handler   cache.ResourceEventHandlerRegistration
	topology  []string // labels that become segments
	grace     time.Duration
	now       func() time.Time
	mu        sync.Mutex
	all       map[string]nodeInfo            // by name
	bearers   map[string]map[string]struct{} // names by store, never empty
	unborneAt map[string]time.Time           // when a store lost its last bearer
	vigil     vigil
}

// nodeInfo is what is kept of a Node.
type nodeInfo struct {
	uid      types.UID
	store    string
	created  time.Time
	segments map[string]string
}

func newNodes(client kubernetes.Interface, topology []string, grace time.Duration, now func() time.Time) (*nodes, error) {
	n := &nodes{
		topology: topology, grace: grace, now: now,
		all: map[string]nodeInfo{}, bearers: map[string]map[string]struct{}{}, unborneAt: map[string]time.Time{}, vigil: newVigil(),
	}
	n.informer = coreinformers.NewNodeInformer(client, 0, cache.Indexers{})
	if err := n.informer.SetTransform(n.strip); err != nil {
		return nil, err
	}
	var err error
	n.handler, err = n.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    n.put,
		UpdateFunc: func(_, o any) { n.put(o) },
		DeleteFunc: n.remove,
	})
	return n, err
}

// strip leaves of a Node what is read here: of thousands of Nodes with their
// images and conditions that is a hundredth.
func (n *nodes) strip(o any) (any, error) {
	node, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	labels := map[string]string{}
	for _, key := range append([]string{driver.TopologyKey}, n.topology...) {
		if value, ok := node.Labels[key]; ok {
			labels[key] = value
		}
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, CreationTimestamp: node.CreationTimestamp, Labels: labels,
	}}, nil
}

func (n *nodes) put(o any) {
	node, ok := o.(*corev1.Node)
	if !ok {
		return
	}
	info := nodeInfo{uid: node.UID, store: node.Labels[driver.TopologyKey], created: node.CreationTimestamp.Time}
	for _, key := range n.topology {
		if value, ok := node.Labels[key]; ok {
			if info.segments == nil {
				info.segments = map[string]string{}
			}
			info.segments[key] = value
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if was, ok := n.all[node.Name]; ok && was.store != info.store {
		n.unbear(was.store, node.Name)
	}
	n.all[node.Name] = info
	if info.store == "" {
		return
	}
	if n.bearers[info.store] == nil {
		n.bearers[info.store] = map[string]struct{}{}
	}
	n.bearers[info.store][node.Name] = struct{}{}
	delete(n.unborneAt, info.store)
}

func (n *nodes) remove(o any) {
	if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = d.Obj
	}
	node, ok := o.(*corev1.Node)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unbear(n.all[node.Name].store, node.Name)
	delete(n.all, node.Name)
}

// unbear takes a bearer from a store. The caller holds mu.
func (n *nodes) unbear(store, node string) {
	if store == "" {
		return
	}
	delete(n.bearers[store], node)
	if len(n.bearers[store]) == 0 {
		delete(n.bearers, store)
		n.unborneAt[store] = n.now()
	}
}

// holder is the node that bears the store, "" for none. Of several, as there
// are while drives move to another chassis, it is the one whose Node object is
// the oldest, of the same age the first by name: a newcomer displaces nobody
// before the router claims the store for it.
func (n *nodes) holder(store string) (string, error) {
	if !n.handler.HasSynced() {
		return "", fmt.Errorf("which node holds store %s: %w", store, driver.ErrStarting)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for name := range n.bearers[store] {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", nil
	}
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(n.all[a].created.Compare(n.all[b].created), cmp.Compare(a, b))
	}), nil
}

// uid is that of a Node object, "" for none.
func (n *nodes) uid(node string) types.UID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[node].uid
}

// segments are those that the labels of a node add.
func (n *nodes) segments(node string) map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[node].segments // nobody changes it
}

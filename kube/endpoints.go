package kube

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/lvme/lvme/router"
)

// clusterPort is the name of the agents' port in their Service. If the Service
// has one port, that is it whatever its name.
const clusterPort = "cluster"

// endpoints follow the EndpointSlices of the agents' Service.
type endpoints struct {
	informer cache.SharedIndexInformer

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
}

func newEndpoints(client kubernetes.Interface, namespace, service string) (*endpoints, error) {
	e := &endpoints{changed: make(chan struct{})}
	e.informer = discoveryinformers.NewFilteredEndpointSliceInformer(client, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = discovery.LabelServiceName + "=" + service
	})
	_, err := e.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { e.change() },
		UpdateFunc: func(any, any) { e.change() },
		DeleteFunc: func(any) { e.change() },
	})
	return e, err
}

func (e *endpoints) change() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

// next is closed at the next change.
func (e *endpoints) next() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// follow sends the list once it is known and after each change, until ctx ends.
func (e *endpoints) follow(ctx context.Context) <-chan []router.Endpoint {
	out := make(chan []router.Endpoint)
	go func() {
		defer close(out)
		if cache.WaitForCacheSync(ctx.Done(), e.informer.HasSynced) {
			e.send(ctx, out)
		}
	}()
	return out
}

func (e *endpoints) send(ctx context.Context, out chan<- []router.Endpoint) {
	var sent []router.Endpoint
	for first := true; ; {
		changed := e.next() // before the list is made: a change in between is not missed
		list := e.list()
		offer := out
		if !first && slices.Equal(list, sent) {
			offer = nil
		}
		select {
		case offer <- list:
			first, sent = false, list
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		case <-changed: // nobody took it, and there is a newer one
		case <-ctx.Done():
			return
		}
	}
}

// list is the best endpoint of each node, by the name of the node.
func (e *endpoints) list() []router.Endpoint {
	best := map[string]candidate{}
	for _, o := range e.informer.GetStore().List() {
		s, ok := o.(*discovery.EndpointSlice)
		if !ok {
			continue
		}
		for _, c := range candidates(s) {
			if b, ok := best[c.Node]; !ok || c.compare(b) < 0 {
				best[c.Node] = c
			}
		}
	}
	var list []router.Endpoint
	for _, node := range slices.Sorted(maps.Keys(best)) {
		list = append(list, best[node].Endpoint)
	}
	return list
}

// candidate is one endpoint with what makes it better or worse than others of
// the same node, of which there are two while a pod replaces another, and where
// a cluster has two families of addresses.
type candidate struct {
	router.Endpoint
	// terminating endpoints are those of pods that are being deleted. The
	// Service publishes addresses that are not ready, and these as well.
	terminating bool
	unready     bool
	ipv6        bool
}

// compare orders candidates: the better one first.
func (c candidate) compare(d candidate) int {
	return cmp.Or(compareBool(c.terminating, d.terminating), compareBool(c.unready, d.unready),
		compareBool(c.ipv6, d.ipv6), cmp.Compare(c.Address, d.Address))
}

// compareBool puts false first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func candidates(s *discovery.EndpointSlice) []candidate {
	port := portOf(s.Ports)
	if port == 0 || s.AddressType == discovery.AddressTypeFQDN {
		return nil
	}
	var all []candidate
	for _, e := range s.Endpoints {
		if e.NodeName == nil || *e.NodeName == "" || len(e.Addresses) == 0 {
			continue
		}
		all = append(all, candidate{
			Endpoint:    router.Endpoint{Node: *e.NodeName, Address: net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(port)))},
			terminating: is(e.Conditions.Terminating, false),
			unready:     !is(e.Conditions.Serving, true),
			ipv6:        s.AddressType == discovery.AddressTypeIPv6,
		})
	}
	return all
}

// is reads a condition, of which nil stands for unknown.
func is(condition *bool, unknown bool) bool {
	if condition == nil {
		return unknown
	}
	return *condition
}

// portOf is the agents' port, 0 for none.
func portOf(ports []discovery.EndpointPort) int32 {
	for _, p := range ports {
		if p.Port != nil && (len(ports) == 1 || p.Name != nil && *p.Name == clusterPort) {
			return *p.Port
		}
	}
	return 0
}

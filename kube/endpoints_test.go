package kube

import (
	"context"
	"slices"
	"testing"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/router"
)

func slice(name string, family discovery.AddressType, endpoints ...discovery.Endpoint) *discovery.EndpointSlice {
	return &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: "ns", Labels: map[string]string{discovery.LabelServiceName: "agents"}},
		AddressType: family, Ports: []discovery.EndpointPort{{Port: new(int32(9811))}}, Endpoints: endpoints,
	}
}

func at(node, address string, change ...func(*discovery.Endpoint)) discovery.Endpoint {
	e := discovery.Endpoint{NodeName: &node, Addresses: []string{address}}
	for _, c := range change {
		c(&e)
	}
	return e
}

func terminating(e *discovery.Endpoint) { e.Conditions.Terminating = new(true) }
func unready(e *discovery.Endpoint)     { e.Conditions.Serving = new(false) }

func TestEndpointsOfSlices(t *testing.T) {
	const v4, v6 = discovery.AddressTypeIPv4, discovery.AddressTypeIPv6
	named := slice("named", v4, at("a", "1.1.1.1"))
	named.Ports = []discovery.EndpointPort{{Name: new("http"), Port: new(int32(80))}, {Name: new("cluster"), Port: new(int32(7))}}
	nameless := slice("nameless", v4, at("a", "1.1.1.1"))
	nameless.Ports = append(named.Ports[:1:1], named.Ports[0])
	for _, tc := range []struct {
		name   string
		slices []*discovery.EndpointSlice
		want   []router.Endpoint
	}{
		{"none", nil, nil},
		{"several slices", []*discovery.EndpointSlice{slice("1", v4, at("b", "1.1.1.2")), slice("2", v4, at("a", "1.1.1.1"))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.1:9811"}, {Node: "b", Address: "1.1.1.2:9811"}}},
		{"a pod replaces another", []*discovery.EndpointSlice{slice("1", v4, at("a", "1.1.1.1", terminating), at("a", "1.1.1.2", unready))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.2:9811"}}},
		{"nothing but a terminating one", []*discovery.EndpointSlice{slice("1", v4, at("a", "1.1.1.1", terminating))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.1:9811"}}},
		{"one that is ready", []*discovery.EndpointSlice{slice("1", v4, at("a", "1.1.1.1", unready), at("a", "1.1.1.2"))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.2:9811"}}},
		{"the same twice", []*discovery.EndpointSlice{slice("1", v4, at("a", "1.1.1.1")), slice("2", v4, at("a", "1.1.1.1"))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.1:9811"}}},
		{"two that differ in nothing", []*discovery.EndpointSlice{slice("1", v4, at("a", "1.1.1.2"), at("a", "1.1.1.1"))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.1:9811"}}},
		{"two families", []*discovery.EndpointSlice{slice("1", v6, at("a", "fd00::1"), at("b", "fd00::2")), slice("2", v4, at("a", "1.1.1.1"))},
			[]router.Endpoint{{Node: "a", Address: "1.1.1.1:9811"}, {Node: "b", Address: "[fd00::2]:9811"}}},
		{"no node", []*discovery.EndpointSlice{slice("1", v4, discovery.Endpoint{Addresses: []string{"1.1.1.1"}}, at("", "1.1.1.2"))}, nil},
		{"the port by its name", []*discovery.EndpointSlice{named}, []router.Endpoint{{Node: "a", Address: "1.1.1.1:7"}}},
		{"no such port", []*discovery.EndpointSlice{nameless}, nil},
		{"names", []*discovery.EndpointSlice{slice("1", discovery.AddressTypeFQDN, at("a", "a.example"))}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := newEndpoints(newAPIServer(), "ns", "agents")
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range tc.slices {
				if err := e.informer.GetStore().Add(s); err != nil {
					t.Fatal(err)
				}
			}
			if got := e.list(); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEndpointsFollow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	other := slice("other", discovery.AddressTypeIPv4, at("z", "9.9.9.9"))
	other.Labels[discovery.LabelServiceName] = "others"
	api := newAPIServer(slice("1", discovery.AddressTypeIPv4, at("a", "1.1.1.1")), other)
	e, err := newEndpoints(api, "ns", "agents")
	if err != nil {
		t.Fatal(err)
	}
	go e.informer.RunWithContext(ctx)
	lists := e.follow(ctx)
	if got := <-lists; len(got) != 1 || got[0].Address != "1.1.1.1:9811" {
		t.Fatalf("first list: %v", got)
	}
	// Nobody reads while it changes: what comes then is the newest.
	next := e.next()
	for _, address := range []string{"1.1.1.2", "1.1.1.3"} {
		s := slice("1", discovery.AddressTypeIPv4, at("a", address))
		if _, err := api.DiscoveryV1().EndpointSlices("ns").Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change is seen", func() bool { return e.list()[0].Address == address+":9811" })
	}
	<-next
	eventually(t, "the newest list comes", func() bool { l := <-lists; return l[0].Address == "1.1.1.3:9811" })
	cancel()
	if _, open := <-lists; open {
		t.Error("a list after the end")
	}
}

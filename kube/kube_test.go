package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/volume"
)

func newKube(t *testing.T, api *apiServer, identity string, source *mtls.Source) (*Kube, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	k, err := New(t.Context(), Config{
		Clients: Clients{api, snapshotfake.NewSimpleClientset()}, Namespace: "ns", AgentService: "agents", Identity: identity, Grace: DefaultGrace, //nolint:staticcheck // what it is deprecated for is not made for these kinds
		TopologyLabels: []string{zone}, Certificates: source, Registerer: registry, Now: time.Now,
	})
	must(t, err)
	return k, registry
}

// gauge is the value of a metric without labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestKube starts two replicas before the API server, ends the one that leads,
// and lets the other go on.
func TestKube(t *testing.T) {
	api := newAPIServer(slice("1", discovery.AddressTypeIPv4, at("a", "1.1.1.1")), node("a", "aaaaaaaa", time.Hour))
	api.setDown(true)
	ctx, cancel := context.WithCancel(t.Context())
	first, metrics := newKube(t, api, "first", nil)
	told := make(news)
	first.Herald(told)
	ended := make(chan struct{})
	go func() { first.Run(ctx); close(ended) }()
	if err := first.Ready(ctx); !errors.Is(err, driver.ErrStarting) {
		t.Errorf("ready without an API server: %v", err)
	}
	api.setDown(false)
	eventually(t, "it is ready", func() bool { return first.Ready(ctx) == nil })
	if gauge(t, metrics, "lvme_controller_leader") != 1 || gauge(t, metrics, "lvme_certificate_expiry_timestamp_seconds") == 0 {
		t.Error("it is ready and its metrics say no")
	}
	if got := <-first.Endpoints(ctx); len(got) != 1 || got[0].Node != "a" {
		t.Errorf("endpoints %v", got)
	}
	if h, err := first.Holder("aaaaaaaa"); h != "a" || err != nil {
		t.Errorf("holder %q, %v", h, err)
	}

	told <- router.News{Node: "a", Store: "aaaaaaaa", Came: []volume.PoolHealth{ailing(vgV, volume.Early, volume.PoolFilling)}}
	eventually(t, "the Node has an event", func() bool {
		list, err := api.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 1 && list.Items[0].InvolvedObject.UID == first.nodes.uid("a")
	})

	second, metrics := newKube(t, api, "second", nil)
	second.Herald(told)
	go second.Run(t.Context())
	eventually(t, "the second is ready", func() bool { return second.Ready(t.Context()) == nil })
	if gauge(t, metrics, "lvme_controller_leader") != 0 {
		t.Error("two lead")
	}
	cancel()
	<-ended
	eventually(t, "the second leads", func() bool { return gauge(t, metrics, "lvme_controller_leader") == 1 })
	told <- router.News{} // it listens, the first one does not

	// What is known is known on without an API server.
	api.setDown(true)
	if err := second.Ready(t.Context()); err != nil {
		t.Errorf("not ready any more: %v", err)
	}
	if h, err := second.Holder("aaaaaaaa"); h != "a" || err != nil {
		t.Errorf("holder %q, %v", h, err)
	}
	api.setDown(false)
}

// TestKubeWithCertificatesFromElsewhere makes no Secret.
func TestKubeWithCertificatesFromElsewhere(t *testing.T) {
	api := newAPIServer()
	source := mtls.FromCode()
	k, metrics := newKube(t, api, "one", source)
	go k.Run(t.Context())
	eventually(t, "it leads", func() bool { return gauge(t, metrics, "lvme_controller_leader") == 1 && k.synced() })
	if err := k.Ready(t.Context()); !errors.Is(err, mtls.ErrNone) || !errors.Is(err, driver.ErrStarting) {
		t.Errorf("ready without a certificate: %v", err)
	}
	a, err := mtls.NewAuthority(time.Now())
	must(t, err)
	p, err := a.Issue(mtls.Router, time.Now(), time.Hour)
	must(t, err)
	must(t, source.Set(p, a.Cert()))
	if err := k.Ready(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	list, err := api.CoreV1().Secrets("ns").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("secrets: %v, %v", list, err)
	}
}

package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/router"
)

const (
	// DefaultNamespace is where lvme runs unless it is told otherwise.
	DefaultNamespace = "lvme-system"
	// DefaultAgentService is the headless Service of the agents.
	DefaultAgentService = "lvme-agent"
	// DefaultGrace is how long a store's node is to be missing until the store
	// counts as lost.
	DefaultGrace = 15 * time.Minute

	// sayUnsynced is how often it is said that the API server is waited for.
	sayUnsynced = 30 * time.Second
)

// Clients speak to the API server.
type Clients struct {
	Kubernetes kubernetes.Interface
	Snapshots  snapshotclient.Interface
}

// Config says what a Kube is for.
type Config struct {
	Clients Clients
	// Namespace is that of the driver: of its Service, Secrets, ConfigMaps and Lease.
	Namespace string
	// AgentService is the name of the agents' headless Service.
	AgentService string
	// Identity tells this replica from all others, and from itself before a restart.
	Identity string
	// Grace is how long a store's node is to be missing until the store is lost.
	Grace time.Duration
	// TopologyLabels are labels of Nodes that become topology segments of volumes.
	TopologyLabels []string
	// Certificates is where the router's certificate is from. Nil has them made,
	// rotated and followed here, in Secrets.
	Certificates *mtls.Source
	// Registerer gets the metrics; nil for none.
	Registerer prometheus.Registerer
	// Now is the clock.
	Now func() time.Time
}

// Kube is the cluster as the router sees it, and the work that the controller
// does on the cluster's objects.
type Kube struct {
	config    Config
	endpoints *endpoints
	nodes     *nodes
	ledger    *Ledger
	source    *mtls.Source
	leaf      cache.SharedIndexInformer // nil when certificates are from elsewhere
	keeper    *keeper                   // nil when certificates are from elsewhere
	steering  *steering
	herald    *herald
	lead      lead
}

var _ router.Cluster = (*Kube)(nil)

// New returns a Kube that knows nothing before Run runs.
func New(ctx context.Context, c Config) (*Kube, error) {
	k := &Kube{config: c, source: c.Certificates}
	client := c.Clients.Kubernetes
	var errs [4]error
	k.endpoints, errs[0] = newEndpoints(client, c.Namespace, c.AgentService)
	k.nodes, errs[1] = newNodes(client, c.TopologyLabels, c.Grace, c.Now)
	k.ledger, errs[2] = newLedger(client, c.Namespace, c.Identity, c.Now)
	if c.Certificates == nil {
		k.source = mtls.FromCode()
		k.keeper = &keeper{client: client, namespace: c.Namespace, now: c.Now}
		k.leaf, errs[3] = newLeaf(ctx, client, c.Namespace, k.source)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("follow the cluster's objects: %w", err)
	}
	k.steering = &steering{locator: locator{client, c.Clients.Snapshots}, holder: k.nodes.holder, now: c.Now}
	k.herald = &herald{client: client, uid: k.nodes.uid, wake: make(chan struct{}, 1)}
	k.lead = lead{client: client, namespace: c.Namespace, identity: c.Identity, work: k.leading}
	k.measure(c.Registerer)
	return k, nil
}

// Ledger is the router's.
func (k *Kube) Ledger() *Ledger { return k.ledger }

// Certificates are the router's own.
func (k *Kube) Certificates() *mtls.Source { return k.source }

// Herald has events tell what changes in the storage of nodes, while this replica
// leads. It is called before Run.
func (k *Kube) Herald(s Storage) { k.herald.storage = s }

// Run follows the cluster, and does the leader's work while this replica leads,
// until ctx ends. While the API server cannot be reached it tries again.
func (k *Kube) Run(ctx context.Context) {
	var work sync.WaitGroup
	for _, i := range k.informers() {
		work.Go(func() { i.RunWithContext(ctx) })
	}
	work.Go(func() { k.nodes.watchOver(ctx, k.config.Clients.Kubernetes) })
	work.Go(func() { k.lead.run(ctx) })
	work.Go(func() { k.sayUnsynced(ctx) })
	work.Wait()
}

func (k *Kube) informers() []cache.SharedIndexInformer {
	all := []cache.SharedIndexInformer{k.endpoints.informer, k.nodes.informer, k.ledger.informer}
	if k.leaf != nil {
		all = append(all, k.leaf)
	}
	return all
}

// leading is what one replica does.
func (k *Kube) leading(ctx context.Context) {
	var work sync.WaitGroup
	if k.keeper != nil {
		work.Go(func() { k.keeper.run(ctx) })
	}
	work.Go(func() { k.steering.lead(ctx) })
	work.Go(func() { k.herald.lead(ctx) })
	work.Wait()
}

// Ready is nil once all that the router asks for is known and there is a
// certificate, else an ErrStarting: no start of this process anew would help.
func (k *Kube) Ready(context.Context) error {
	if !k.synced() {
		return fmt.Errorf("%w: the cluster's nodes, endpoints and tombstones are not known yet", driver.ErrStarting)
	}
	if err := k.source.Err(); err != nil {
		return fmt.Errorf("%w: certificate of the router: %w", driver.ErrStarting, err)
	}
	return nil
}

func (k *Kube) synced() bool {
	return k.endpoints.informer.HasSynced() && k.nodes.handler.HasSynced() && k.ledger.handler.HasSynced()
}

// sayUnsynced says what is waited for.
func (k *Kube) sayUnsynced(ctx context.Context) {
	ticker := time.NewTicker(sayUnsynced)
	defer ticker.Stop()
	for !k.synced() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			klog.FromContext(ctx).Info("waiting for the API server: the cluster's objects are not known yet")
		}
	}
}

// Endpoints implements router.Cluster.
func (k *Kube) Endpoints(ctx context.Context) <-chan []router.Endpoint {
	return k.endpoints.follow(ctx)
}

// Holder implements router.Cluster. Of several Nodes that bear one store it is
// the oldest, of the same age the first by name.
func (k *Kube) Holder(store string) (node string, err error) { return k.nodes.holder(store) }

// Lost implements router.Cluster.
func (k *Kube) Lost(store string) bool { return k.nodes.lost(store) }

// Segments implements router.Cluster.
func (k *Kube) Segments(node string) map[string]string { return k.nodes.segments(node) }

// Claim implements router.Cluster.
func (k *Kube) Claim(ctx context.Context, store, node string) error {
	return claim(ctx, k.config.Clients.Kubernetes, store, node)
}

// Wanted implements router.Cluster.
func (k *Kube) Wanted(ctx context.Context, name, id string) (bool, error) {
	return wanted(ctx, k.config.Clients.Kubernetes, name, id)
}

// measure registers the metrics.
func (k *Kube) measure(reg prometheus.Registerer) {
	k.steering.steered = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lvme_steered_claims_total",
		Help: "Times that a restore or clone was steered to the node of its source.",
	})
	if reg == nil {
		return
	}
	reg.MustRegister(k.steering.steered,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lvme_controller_leader",
			Help: "1 while this replica keeps certificates, steers claims and tells what changes in the storage of nodes.",
		}, k.lead.gauge),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lvme_certificate_expiry_timestamp_seconds",
			Help: "When this process's own certificate expires, in seconds since 1970; 0 without one.",
		}, func() float64 {
			_ = k.source.Err() // has it read what is new
			if t := k.source.Expiry(); !t.IsZero() {
				return float64(t.Unix())
			}
			return 0
		}))
}

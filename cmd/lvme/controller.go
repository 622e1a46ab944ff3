package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/internal/web"
	"github.com/lvme/lvme/kube"
	"github.com/lvme/lvme/router"
)

const controllerHelp = `Serve the CSI controller services of a cluster: the one driver that Kubernetes'
sidecars talk to, on a Unix socket. Each call goes to the agent of the node that
has the volume, over mutual TLS.

Of the cluster it needs EndpointSlices, Nodes, Secrets, ConfigMaps, Leases and
claims. While the API server is away, calls are routed by what was known before.
Several may run; one of them keeps the certificates, steers restores to the node
of their source, and tells by events what is wrong with the storage of nodes.`

// The ways to get certificates.
const (
	tlsInternal = "internal"
	tlsFiles    = "files"
)

// namespaceFile is where a pod finds the namespace that it is in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// controllerOptions are the flags of `lvme controller`.
type controllerOptions struct {
	socket, http, kubeconfig string
	namespace, agentService  string
	tls, tlsDir              string
	topologyLabels           []string
	lostGrace, grace         time.Duration
	maxInFlight              int
}

func newController(env *environment) *cobra.Command {
	var o controllerOptions
	cmd := &cobra.Command{
		Use: "controller", Short: "Route CSI calls to the agents of a cluster", Long: controllerHelp,
		Example: "  lvme controller\n  lvme controller --http 0.0.0.0:9820 --topology-labels topology.kubernetes.io/zone\n  lvme controller --kubeconfig ~/.kube/config --socket /tmp/lvme/csi.sock",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usageError{err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			context.AfterFunc(ctx, stop) // the second signal has its usual effect
			return env.control(ctx, o)
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

func (o *controllerOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.socket, "socket", "/run/csi/csi.sock", "Unix socket to serve CSI on, for the sidecars")
	fs.StringVar(&o.http, "http", "9820", "`address` to serve /metrics, /healthz and /readyz on, none if empty;\nwithout a host it is a loopback address: 9820 means 127.0.0.1:9820")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` to reach the API server with; if empty, the pod's service account")
	fs.StringVar(&o.namespace, "namespace", "", "namespace of the driver; if empty, $POD_NAMESPACE, that of the pod's\nservice account, or "+kube.DefaultNamespace)
	fs.StringVar(&o.agentService, "agent-service", kube.DefaultAgentService, "headless Service of the agents")
	fs.StringVar(&o.tls, "tls", tlsInternal, "where certificates are from: internal has them made and rotated, in Secrets;\nfiles reads those of --tls-dir")
	fs.StringVar(&o.tlsDir, "tls-dir", "/etc/lvme/tls", "`directory` with tls.crt, tls.key and ca.crt for --tls files, read again\nwhen they change")
	fs.StringSliceVar(&o.topologyLabels, "topology-labels", nil, "labels of nodes that become topology of volumes too, such as\ntopology.kubernetes.io/zone; separated by commas")
	fs.DurationVar(&o.lostGrace, "lost-node-grace", kube.DefaultGrace, "how long a store's node must be missing from the cluster until its volumes\ncan be deleted without it")
	fs.IntVar(&o.maxInFlight, "max-in-flight", router.DefaultChanges, "how many changes one agent is asked for at the same time")
	fs.DurationVar(&o.grace, "grace", 25*time.Second, "how long running calls may take to end after SIGTERM")
}

// validate names every fault at once.
func (o *controllerOptions) validate() error {
	var faults []error
	fault := func(flag string, value any, allowed string) {
		faults = append(faults, fmt.Errorf("--%s is %q, must be %s", flag, fmt.Sprint(value), allowed))
	}
	if !strings.HasPrefix(o.socket, "/") {
		fault("socket", o.socket, "an absolute path")
	}
	if _, err := web.Address(o.http); err != nil {
		fault("http", o.http, "empty, a port, or host:port ("+err.Error()+")")
	}
	if o.agentService == "" {
		fault("agent-service", o.agentService, "the name of a Service")
	}
	if o.tls != tlsInternal && o.tls != tlsFiles {
		fault("tls", o.tls, tlsInternal+" or "+tlsFiles)
	}
	if o.tls == tlsFiles && o.tlsDir == "" {
		fault("tls-dir", o.tlsDir, "a directory")
	}
	for _, label := range o.topologyLabels {
		if label == "" || label == driver.TopologyKey {
			fault("topology-labels", label, "labels of nodes other than "+driver.TopologyKey)
		}
	}
	if o.lostGrace <= 0 {
		fault("lost-node-grace", o.lostGrace, "more than 0s")
	}
	if o.grace < 0 {
		fault("grace", o.grace, "0s or more")
	}
	if o.maxInFlight < 1 {
		fault("max-in-flight", o.maxInFlight, "1 or more")
	}
	return errors.Join(faults...)
}

// control wires the controller and runs it until ctx ends.
func (env *environment) control(ctx context.Context, o controllerOptions) error {
	clients, err := env.cluster(o.kubeconfig)
	if err != nil {
		return fmt.Errorf("reach the API server: %w", err)
	}
	o.namespace = env.namespace(o.namespace)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c := kube.Config{
		Clients: clients, Namespace: o.namespace, AgentService: o.agentService, Identity: env.identity(),
		Grace: o.lostGrace, TopologyLabels: o.topologyLabels, Registerer: registry, Now: env.now,
	}
	if o.tls == tlsFiles {
		c.Certificates = mtls.FromDir(o.tlsDir, klog.FromContext(ctx))
	}
	k, err := kube.New(ctx, c)
	if err != nil {
		return err
	}
	r, err := router.New(router.Config{
		Cluster: k, Ledger: k.Ledger(), Credentials: credentials.NewTLS(k.Certificates().Client(mtls.Agent)),
		Registerer: registry, Changes: o.maxInFlight,
	})
	if err != nil {
		return err
	}
	k.Herald(r)
	return serveController(ctx, o, registry, k, r)
}

// serveController runs the parts until ctx ends: first calls end, then the rest.
func serveController(ctx context.Context, o controllerOptions, registry *prometheus.Registry, k *kube.Kube, r *router.Router) error {
	ready := func(ctx context.Context) error { return cmp.Or(k.Ready(ctx), r.Ready(ctx)) }
	server := driver.NewServer(driver.Services{Identity: driver.NewIdentity(ready), Controller: r}, driver.NewMetrics(registry))
	socket, err := driver.Listen(o.socket)
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var work sync.WaitGroup
	if address, err := web.Address(o.http); err == nil && address != "" {
		port, err := web.Listen(ctx, address, registry, ready)
		if err != nil {
			return errors.Join(err, socket.Close())
		}
		work.Go(func() { port.Serve(working) })
	}
	klog.FromContext(ctx).Info("controller starts", "version", driver.Version(), "namespace", o.namespace, "socket", o.socket, "http", o.http, "tls", o.tls)
	work.Go(func() { k.Run(working) })
	work.Go(func() { r.Run(working) })
	err = driver.Serve(ctx, server, socket, o.grace)
	stop()
	work.Wait()
	klog.FromContext(ctx).Info("controller stopped")
	return err
}

// namespace is the one that was asked for, else the one of this pod.
func (env *environment) namespace(asked string) string {
	text, _ := env.readFile(namespaceFile) // there is none outside a pod
	return cmp.Or(asked, env.getenv("POD_NAMESPACE"), strings.TrimSpace(string(text)), kube.DefaultNamespace)
}

// identity tells this process from all others, and from the one before it: two
// must never take each other's work for their own.
func (env *environment) identity() string {
	host, _ := env.hostname() // in a pod the name of the pod
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return cmp.Or(env.getenv("POD_NAME"), host, "lvme") + "-" + hex.EncodeToString(b)
}

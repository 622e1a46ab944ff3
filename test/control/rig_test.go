package control

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"

	"github.com/lvme/lvme/kube"
	"github.com/lvme/lvme/test/cluster/parts"
	"github.com/lvme/lvme/test/cluster/plane"
)

const (
	namespace  = kube.DefaultNamespace
	apiAddress = "10.88.0.1"
	// patience is how long anything may take. It says nothing of speed: the machine may be busy with other things, and
	// a router waits for five minutes before it gives a store to another node.
	patience = 10 * time.Minute
)

// values are those of the chart. Pauses are short, so that the test is.
const values = `
lostNodes: {grace: 10s}
timeouts: {call: 30s, retryMax: 5s}
snapshots: {class: {create: always}}
storageClasses:
  - {name: waits}
  - {name: now, volumeBindingMode: Immediate}
  - {name: fast, driveClass: fast}
  - {name: fast-now, driveClass: fast, volumeBindingMode: Immediate}
  - {name: thick, type: thick, fsType: xfs}
`

// rig is the cluster.
type rig struct {
	t         *testing.T // of the whole test
	dir       string     // of logs, and of all that belongs to the control plane
	set       *parts.Set
	plane     *plane.Plane
	client    kubernetes.Interface
	snapshots snapshotclient.Interface
	replicas  []*replica

	mu    sync.Mutex
	nodes map[string]*node
}

// start starts everything: the control plane, the chart, three nodes and two replicas of the controller. binaries is the
// directory with lvme.
func start(t *testing.T, set *parts.Set, binaries string) *rig {
	t.Helper()
	began := time.Now()
	r := &rig{t: t, set: set, nodes: map[string]*node{}}
	r.keepLogs(t)
	for _, args := range []string{"link set lo up", "addr add 10.88.0.1/24 dev lo"} { // all addresses of it are here
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	p, err := plane.Start(t.Context(), plane.Config{
		Parts: set, Dir: filepath.Join(r.dir, "plane"), Address: netip.MustParseAddr(apiAddress), Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	r.plane = p
	r.connect(t)
	r.install(t)
	for i, name := range []string{"node1", "node2", "node3"} {
		n := newNode(t, r, name, fmt.Sprintf("10.88.0.%d", 11+i), 3, i < 2)
		n.boot(t)
		n.register(t)
	}
	go r.bringCertificates()
	r.startReplicas(t, filepath.Join(binaries, "lvme"))
	await(t, "both controllers are ready", func(ctx context.Context) (bool, string) {
		for _, x := range r.replicas {
			if err := x.ready(ctx); err != nil {
				return false, err.Error()
			}
		}
		return true, ""
	})
	t.Logf("the cluster is ready after %.1f s", time.Since(began).Seconds())
	return r
}

// keepLogs makes the directory, which stays for a look when the test has failed.
func (r *rig) keepLogs(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lvme-control-")
	if err != nil {
		t.Fatal(err)
	}
	r.dir = dir
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs are in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	out, err := os.Create(filepath.Join(dir, "agents.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := errors.Join(flags.Set("logtostderr", "false"), flags.Set("stderrthreshold", "FATAL")); err != nil {
		t.Fatal(err)
	}
	klog.SetOutput(out)
}

// connect makes the clients of the test, who may do everything.
func (r *rig) connect(t *testing.T) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", r.plane.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 200, 400
	if r.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if r.snapshots, err = snapshotclient.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
}

// install installs the chart with Helm.
func (r *rig) install(t *testing.T) {
	t.Helper()
	file := filepath.Join(r.dir, "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), r.set.Path(parts.Helm), "--kubeconfig", r.plane.Kubeconfig(), "--namespace", namespace,
		"install", "--create-namespace", "--timeout", "5m", "--values", file, "lvme", filepath.Join("..", "..", "deploy", "chart", "lvme"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("helm install: %v: %s", err, out)
	}
}

// node is one of the nodes.
func (r *rig) node(name string) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[name]
}

// all are the nodes in the order of their names.
func (r *rig) all() []*node {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*node
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		list = append(list, r.nodes[name])
	}
	return list
}

// bringCertificates copies the agents' Secret to the agents whenever it has changed, until the test ends.
func (r *rig) bringCertificates() {
	ctx := r.t.Context()
	for ctx.Err() == nil {
		if s, err := r.secret(ctx, kube.SecretAgent); err == nil {
			for _, n := range r.all() {
				if err := n.put(s.ResourceVersion, s.Data); err != nil {
					r.t.Errorf("bring the certificate to %s: %v", n.name, err)
				}
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func (r *rig) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return r.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// await waits until done says so. What it says besides is told when it never does.
func await(t *testing.T, what string, done func(context.Context) (bool, string)) (took time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		ok, state := done(ctx)
		if ok {
			return time.Since(began)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s; it is: %s", patience, what, state)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

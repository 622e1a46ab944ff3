package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/cluster"
)

// releaseDir is in the environment of a test's process in its network namespace: where the first one built lvme.
const releaseDir = "LVME_CLUSTER_RELEASE"

// isolate runs the test in a process in a network namespace of its own, once what it needs has been built, and returns
// false; in that process it returns true.
func isolate(t *testing.T) bool {
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("brings up virtual machines and Kubernetes: set LVME_TESTS=bed, as root")
	}
	if os.Getenv(releaseDir) != "" {
		return true
	}
	if err := cluster.Build(t.Context(), cluster.Options{Log: t.Logf}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := cluster.MakeRelease(t.Context(), dir, "test"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), releaseDir+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cluster.Isolate(cmd)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return false
}

// busybox is an image that the nodes have.
const busybox = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"

// pod is one that waits on a node, at /data with the volume of the claim "data" if there is one.
func pod(name, node, claim string) string {
	text := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: %q, imagePullPolicy: Never, command: [sleep, "100000"]`, name, node, busybox)
	if claim == "" {
		return text + "}\n"
	}
	return text + fmt.Sprintf(`, volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
`, claim)
}

const claim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: lvme
  resources: {requests: {storage: 256Mi}}
`

// rig is a cluster that ends with the test.
type rig struct {
	*testing.T
	*cluster.Cluster
}

func up(t *testing.T) *rig {
	c, err := cluster.Up(t.Context(), cluster.Options{Dir: filepath.Join(t.TempDir(), "cluster"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t, c}
}

// kubectl must succeed.
func (r *rig) kubectl(stdin string, args ...string) string {
	r.Helper()
	out, err := r.Kubectl(r.Context(), strings.NewReader(stdin), args...)
	if err != nil {
		r.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// start makes a pod and waits until it is ready.
func (r *rig) start(name, node, claim string) {
	r.Helper()
	began := time.Now()
	r.kubectl(pod(name, node, claim), "apply", "-f", "-")
	r.kubectl("", "wait", "--for=condition=Ready", "--timeout=5m", "pod/"+name)
	r.Logf("pod %s ready after %.1fs", name, time.Since(began).Seconds())
}

// reaches tells whether a pod gets an answer of an address.
func (r *rig) reaches(from, address string) bool {
	_, err := r.Kubectl(r.Context(), nil, "exec", from, "--", "ping", "-c", "1", "-W", "3", address)
	return err == nil
}

func (r *rig) expectReach(from, address string, want bool) {
	r.Helper()
	if got := r.reaches(from, address); got != want {
		r.Errorf("pod %s reaches %s: %t, want %t", from, address, got, want)
	}
}

// TestCluster goes once through all that the cluster promises.
func TestCluster(t *testing.T) {
	if !isolate(t) {
		return
	}
	r := up(t)
	r.remote()
	r.start("one", "node1", "")
	r.start("two", "node2", "")
	r.network()
	r.apiServer()
	r.driver()
}

// network: pods reach each other and the control plane until it is cut.
func (r *rig) network() {
	far := r.kubectl("", "get", "pod", "two", "-o", "jsonpath={.status.podIP}")
	r.expectReach("one", far, true)
	r.expectReach("one", cluster.HostAddress, true)
	for _, tc := range []struct{ a, b int }{{1, 2}, {1, cluster.ControlPlane}} {
		address := far
		if tc.b == cluster.ControlPlane {
			address = cluster.HostAddress
		}
		r.do(r.Cut(tc.a, tc.b))
		r.expectGuestReach(1, address, false)
		r.do(r.Heal(tc.a, tc.b))
		r.expectGuestReach(1, address, true)
	}
	if err := r.Cut(1, 3); err == nil {
		r.Error("the network between a node and one that is not there can be cut")
	}
}

// expectGuestReach asks a node, which can be talked to past the network.
func (r *rig) expectGuestReach(node int, address string, want bool) {
	r.Helper()
	code, err := r.Node(node).Run(r.Context(), bed.Cmd{Args: []string{"busybox", "ping", "-c", "1", "-W", "3", address}})
	if err != nil || (code == 0) != want {
		r.Errorf("node %d reaches %s: exit %d, %v; want %t", node, address, code, err, want)
	}
}

func (r *rig) do(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// apiServer: it can be ended and started.
func (r *rig) apiServer() {
	r.do(r.KillAPI())
	if _, err := r.Kubectl(r.Context(), nil, "get", "nodes"); err == nil {
		r.Error("the API server answers after its end")
	}
	r.do(r.StartAPI(r.Context()))
	if got := r.kubectl("", "get", "nodes", "-o", "name"); got != "node/node1\nnode/node2" {
		r.Errorf("the nodes are %q", got)
	}
}

// driver: lvme is installed, a volume has its data after a power cut, and another process can watch.
func (r *rig) driver() {
	release, err := cluster.ReadRelease(os.Getenv(releaseDir))
	r.do(err)
	r.do(r.Install(r.Context(), release))
	r.kubectl(claim, "apply", "-f", "-")
	r.start("data", "node2", "data")
	r.kubectl("", "exec", "data", "--", "sh", "-c", "echo written > /data/file && sync")
	r.powerCycle()
	if got := r.kubectl("", "exec", "data", "--", "cat", "/data/file"); got != "written" {
		r.Errorf("the file holds %q", got)
	}
}

// powerCycle cuts the power of node 2 and waits until its pod runs again.
func (r *rig) powerCycle() {
	n := r.Node(2)
	n.PowerCut()
	if _, err := n.Run(r.Context(), bed.Cmd{Args: []string{"true"}}); err == nil {
		r.Error("a node runs commands with its power off")
	}
	began := time.Now()
	r.do(n.Boot(r.Context()))
	r.do(n.AwaitReady(r.Context()))
	r.Logf("node2 ready after %.1fs", time.Since(began).Seconds())
	for {
		state := r.kubectl("", "get", "pod", "data", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
		if state == "1 true" {
			break
		}
		if time.Since(began) > 5*time.Minute {
			r.Fatalf("the pod is not back: %s", r.kubectl("", "describe", "pod", "data"))
		}
		time.Sleep(time.Second)
	}
	r.Logf("the pod is back after %.1fs", time.Since(began).Seconds())
}

// remote: another process sees and does what this one can.
func (r *rig) remote() {
	socket := filepath.Join(r.TempDir(), "control")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, socket) }()
	far := cluster.Attach(socket)
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var out bytes.Buffer
	code, err := far.Run(ctx, "node1", []string{"sh", "-c", "cat; hostname; exit 7"}, strings.NewReader("in\n"), &out, nil)
	if err != nil || code != 7 || out.String() != "in\nnode1\n" {
		r.Errorf("run: exit %d, %v, output %q", code, err, out.String())
	}
	if _, err := far.Run(ctx, "node1", []string{"no-such-program"}, nil, &out, nil); err == nil || !strings.Contains(err.Error(), "not found") {
		r.Errorf("run what is not there: %v", err)
	}
	for _, words := range [][]string{{"off", "node3"}, {"cut", "node1"}, {"fly"}} {
		if err := far.Do(ctx, words[0], words[1:]...); err == nil {
			r.Errorf("%q is taken", words)
		}
	}
	nodes, err := far.Nodes(ctx)
	if err != nil || len(nodes) != 2 || nodes[1].Name != "node2" || len(nodes[1].Drives) != 2 {
		r.Errorf("nodes: %+v, %v", nodes, err)
	}
	cancel()
	if err := <-served; err != nil {
		r.Errorf("serve: %v", err)
	}
}

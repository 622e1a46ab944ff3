package plane_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvme/lvme/test/cluster/parts"
	"github.com/lvme/lvme/test/cluster/plane"
)

// address is one of the loopback device here: no node joins.
const address = "10.88.0.1"

// inside is in the environment of the process that runs the test in a network namespace of its own.
const inside = "LVME_PLANE_INSIDE"

// isolate runs this test anew in a network namespace of its own, in which it has the address.
func isolate(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v=true")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("in a network namespace of its own: %v", err)
	}
}

// start starts a plane in this process's network namespace, which is empty.
func start(t *testing.T, set *parts.Set) *plane.Plane {
	t.Helper()
	for _, args := range []string{"link set lo up", "addr add " + address + "/32 dev lo"} {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	p, err := plane.Start(t.Context(), plane.Config{
		Parts:   set,
		Dir:     filepath.Join(t.TempDir(), "plane"),
		Address: netip.MustParseAddr(address),
		Nodes:   []string{"node1"},
		Log:     t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// kubectl runs kubectl and expects it to succeed.
func kubectl(t *testing.T, p *plane.Plane, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := p.Kubectl(ctx, strings.NewReader(stdin), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// node is what a kubelet announces, with a label that it may not give itself when there is one.
func node(name, label string) string {
	return `{"apiVersion":"v1","kind":"Node","metadata":{"name":"` + name + `","labels":{"` + label + `":"x"}}}`
}

// TestPlane is one test, because a start takes seconds: objects come and go, nodes may do what nodes may, and the API
// server's absence is survived.
func TestPlane(t *testing.T) {
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("needs the parts of a cluster: LVME_TESTS=bed")
	}
	set, err := parts.Open(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Ensure(t.Context(), parts.Control()...); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(inside) == "" {
		isolate(t)
		return
	}
	p := start(t, set)
	t.Run("an object comes back", func(t *testing.T) {
		kubectl(t, p, "", "create", "configmap", "a", "--from-literal=key=value")
		if got := kubectl(t, p, "", "get", "configmap", "a", "-o", "jsonpath={.data.key}"); got != "value" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("the version is told", func(t *testing.T) {
		if got := kubectl(t, p, "", "version"); strings.Count(got, "v1.36.3") != 2 {
			t.Errorf("client and server are %s", got)
		}
	})
	t.Run("the service of the API server leads to it", func(t *testing.T) {
		got := kubectl(t, p, "", "get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}:{.ports[*].port}")
		if got != address+":6443" {
			t.Errorf("the service leads to %q", got)
		}
	})
	t.Run("nodes", func(t *testing.T) { testNode(t, p) })
	t.Run("the API server goes and comes back", func(t *testing.T) { testAbsence(t, p) })
	t.Run("snapshots are watched", func(t *testing.T) { testSnapshotController(t, p) })
}

func testNode(t *testing.T, p *plane.Plane) {
	config, err := p.NodeKubeconfig("node1")
	if err != nil {
		t.Fatal(err)
	}
	asNode := []string{"--kubeconfig", config, "create", "-f", "-"}
	if out, err := p.Kubectl(t.Context(), strings.NewReader(node("node2", "a")), asNode...); err == nil {
		t.Errorf("node1 may make node2: %s", out)
	}
	if out, err := p.Kubectl(t.Context(), strings.NewReader(node("node1", "node-restriction.kubernetes.io/a")), asNode...); err == nil {
		t.Errorf("node1 may give itself a restricted label: %s", out)
	}
	kubectl(t, p, node("node1", "topology.lvme.dev/store"), asNode...)
	kubectl(t, p, "", "delete", "node", "node1")
}

func testAbsence(t *testing.T, p *plane.Plane) {
	if err := p.KillAPI(); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Kubectl(t.Context(), nil, "get", "nodes"); err == nil {
		t.Errorf("an API server that is not there says %s", out)
	}
	if err := p.KillAPI(); err == nil {
		t.Error("it was ended twice")
	}
	if err := p.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	kubectl(t, p, "", "get", "configmap", "a")

	if err := p.PauseAPI(); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Kubectl(t.Context(), nil, "get", "nodes", "--request-timeout=1s"); err == nil {
		t.Errorf("an API server that stands still says %s", out)
	}
	if err := p.ResumeAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	kubectl(t, p, "", "get", "configmap", "a")
}

// testSnapshotController makes a snapshot of a claim that is not there, and awaits the controller's word on it.
func testSnapshotController(t *testing.T, p *plane.Plane) {
	kubectl(t, p, `{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"s"},
		"spec":{"volumeSnapshotClassName":"c","source":{"persistentVolumeClaimName":"gone"}}}`, "create", "-f", "-")
	kubectl(t, p, "", "wait", "--for=jsonpath={.status.error}", "--timeout=50s", "volumesnapshot/s")
}

package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/lvme/lvme/kube"
)

func TestControllerUsage(t *testing.T) {
	b := newBench(t, 0)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls", "none"}, "internal or files"},
		{[]string{"--tls", "files", "--tls-dir", ""}, "--tls-dir"},
		{[]string{"--socket", "csi.sock"}, "an absolute path"},
		{[]string{"--http", "x:y:z"}, "--http"},
		{[]string{"--agent-service", ""}, "--agent-service"},
		{[]string{"--topology-labels", "topology.lvme.dev/store"}, "--topology-labels"},
		{[]string{"--lost-node-grace", "0s"}, "--lost-node-grace"},
		{[]string{"--max-in-flight", "0"}, "--max-in-flight"},
		{[]string{"--grace", "-1s"}, "--grace"},
		{[]string{"node-1"}, "unknown command"},
	} {
		_, stderr := b.run(exitUsage, append([]string{"controller"}, tc.args...)...)
		has(t, stderr, tc.want)
	}
}

func TestControllerWithoutACluster(t *testing.T) {
	env := newBench(t, 0).environment()
	env.cluster = func(kubeconfig string) (kube.Clients, error) { return kube.Clients{}, errFailed }
	if err := env.control(t.Context(), controllerOptions{}); !errors.Is(err, errFailed) {
		t.Errorf("got %v", err)
	}
}

func TestControllerKnowsItself(t *testing.T) {
	b := newBench(t, 0)
	env := b.environment()
	if got := env.namespace(""); got != "lvme-system" {
		t.Errorf("namespace %q outside a pod", got)
	}
	b.files[namespaceFile] = "from-file\n"
	if got := env.namespace(""); got != "from-file" {
		t.Errorf("namespace %q in a pod", got)
	}
	env.getenv = func(name string) string {
		return map[string]string{"POD_NAMESPACE": "from-env", "POD_NAME": "pod"}[name]
	}
	if got := env.namespace(""); got != "from-env" || env.namespace("asked") != "asked" {
		t.Errorf("namespace %q, told", got)
	}
	if first, second := env.identity(), env.identity(); first == second || !strings.HasPrefix(first, "pod-") {
		t.Errorf("identities %q, %q", first, second)
	}
}

func TestControllerServesUntilSIGTERM(t *testing.T) {
	b := newBench(t, 0)
	env := b.environment()
	env.now = time.Now
	env.cluster = func(string) (kube.Clients, error) {
		return kube.Clients{Kubernetes: fake.NewClientset(), Snapshots: snapshotfake.NewSimpleClientset()}, nil //nolint:staticcheck // what it is deprecated for is not made for these kinds
	}
	socket := filepath.Join(t.TempDir(), "s", "csi.sock")
	code := make(chan int, 1)
	program := newProgram(env)
	go func() { code <- program.run([]string{"controller", "--socket", socket, "--http", "0"}) }()

	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	identity := csi.NewIdentityClient(conn)
	for ticker := time.NewTicker(20 * time.Millisecond); ; <-ticker.C {
		resp, err := identity.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetReady().GetValue() {
			break
		}
	}
	caps, err := csi.NewControllerClient(conn).ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{})
	if err != nil || len(caps.GetCapabilities()) == 0 {
		t.Errorf("capabilities: %v, %v", caps, err)
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-code:
		if got != exitOK {
			t.Errorf("exit %d: %s", got, b.errOut.String())
		}
	case <-ctx.Done():
		t.Error("the controller runs on after SIGTERM")
	}
}

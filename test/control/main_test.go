package control

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/lvme/lvme/test/cluster/parts"
)

// inside is in the environment of the process that runs the test in a network namespace of its own: the directory in
// which the first one has built lvme.
const inside = "LVME_CONTROL_INSIDE"

// needed are the parts of the cluster bed that are used here.
func needed() []parts.Part {
	return append(parts.Control(), parts.Helm, "csi-provisioner", "csi-resizer", "csi-snapshotter")
}

// TestControl is one test, because the start takes half a minute. Its scenarios leave the cluster as they found it.
func TestControl(t *testing.T) {
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("needs the parts of a cluster, and root: LVME_TESTS=bed")
	}
	set, err := parts.Open(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv(inside)
	if dir == "" {
		if err := set.Ensure(t.Context(), needed()...); err != nil {
			t.Fatal(err)
		}
		isolate(t)
		return
	}
	r := start(t, set, dir)
	for _, s := range []struct {
		name string
		play func(*testing.T, *rig)
	}{
		{"provision", testProvision},
		{"capacity", testCapacity},
		{"copies", testCopies},
		{"events", testEvents},
		{"certificates", testCertificates},
		{"authority", testAuthority},
		{"agent killed while it creates", testAgentKilled},
		{"agent killed later", testAgentKilledLater},
		{"router killed", testRouterKilled},
		{"node cut off", testCutOff},
		{"node hangs", testHang},
		{"impostor", testImpostor},
		{"node lost", testLost},
		{"other chassis", testChassis},
		{"rights", testRights},
		{"API server away", testAPIAway},
		{"other name", testOtherName},
	} {
		r.scenario(t, s.name, s.play)
	}
}

// isolate builds lvme and runs this test anew in a network namespace of its own, with the scenarios that were asked for.
func isolate(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "lvme"), "github.com/lvme/lvme/cmd/lvme")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lvme: %v: %s", err, out)
	}
	runtime.LockOSThread() // the child ends with the thread that started it
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run="+flag.Lookup("test.run").Value.String())
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Fatalf("in a network namespace of its own: %v", err)
	}
}

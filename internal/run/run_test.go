package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asRunner has this binary run a script as the agent runs LVM, and nothing else.
const asRunner = "RUN_TEST_SCRIPT"

func TestMain(m *testing.M) {
	if script := os.Getenv(asRunner); script != "" {
		_, _ = Host{}.Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", script}, Changes: true})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOutputAndExitCode(t *testing.T) {
	const script = `echo out; echo err >&2; echo more; exit 3`
	for _, changes := range []bool{false, true} {
		res, err := Host{}.Run(t.Context(), Cmd{Name: "sh", Args: []string{"-c", script}, Changes: changes})
		if err != nil || res.Code != 3 || string(res.Stdout) != "out\nmore\n" || string(res.Stderr) != "err\n" || res.Took <= 0 {
			t.Errorf("changes %t: %+v, %v", changes, res, err)
		}
	}
}

func TestLargeOutput(t *testing.T) {
	res, err := Host{}.Run(t.Context(), Cmd{Name: "sh", Args: []string{"-c", "head -c 5000000 /dev/zero; cat"}, Stdin: []byte("end")})
	if err != nil || len(res.Stdout) != 5000003 || !strings.HasSuffix(string(res.Stdout), "end") {
		t.Errorf("%d bytes, %v", len(res.Stdout), err)
	}
}

func TestNotInstalled(t *testing.T) {
	if _, err := (Host{}).Run(t.Context(), Cmd{Name: "no-such-program"}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyReadsAreCutShort(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Host{}).Run(ctx, Cmd{Name: "sleep", Args: []string{"20"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	res, err := Host{}.Run(ctx, Cmd{Name: "sh", Args: []string{"-c", "sleep 0.3; echo done"}, Changes: true})
	if err != nil || string(res.Stdout) != "done\n" {
		t.Errorf("a change: %+v, %v", res, err)
	}
}

// TestProgramOutlivesItsCaller kills a process that runs a program which then
// still has something to say: it must not die of that.
func TestProgramOutlivesItsCaller(t *testing.T) {
	dir := t.TempDir()
	script := `cd "` + dir + `"; mkfifo begun; echo >begun; while [ -e /proc/$PPID ]; do sleep 0.02; done; echo said; echo said >&2; echo >ended`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := syscall.ForkExec(self, []string{self}, &syscall.ProcAttr{Env: append(os.Environ(), asRunner+"="+script), Files: []uintptr{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	awaitFile(t, filepath.Join(dir, "begun"))
	if _, err := os.ReadFile(filepath.Join(dir, "begun")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	awaitFile(t, filepath.Join(dir, "ended"))
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s is not there after 10 s", filepath.Base(path))
		}
	}
}

// TestWaitingHoldsNoThread: programs that run cost the agent nothing.
func TestWaitingHoldsNoThread(t *testing.T) {
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	const programs = 100
	before := threads()
	dir := t.TempDir()
	var all sync.WaitGroup
	for range programs {
		all.Go(func() {
			res, err := Host{}.Run(t.Context(), sh("mktemp "+dir+"/XXXXXX >/dev/null; until [ -e "+dir+"/end ]; do sleep 0.1; done; exit 7"))
			if err != nil || res.Code != 7 {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
	for n := 0; n < programs && !t.Failed(); {
		begun, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		n = len(begun)
		<-time.After(10 * time.Millisecond)
	}
	if more := threads() - before; more > programs/2 {
		t.Errorf("%d programs hold %d threads more", programs, more)
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}

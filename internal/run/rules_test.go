package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(script string) Cmd { return Cmd{Name: "sh", Args: []string{"-c", script}} }

func TestRunEnvironment(t *testing.T) {
	t.Setenv("LVM_SYSTEM_DIR", "/hostile")
	res, err := Host{}.Run(context.Background(), sh(`echo "$LC_ALL $LVM_SYSTEM_DIR $(pwd) $(cat | wc -c)"`))
	if got := strings.TrimSpace(string(res.Stdout)); err != nil || got != "C  / 0" {
		t.Errorf("language, a variable of ours, directory and bytes on stdin are %q, %v", got, err)
	}
}

func TestRunStdin(t *testing.T) {
	c := Cmd{Name: "cat", Stdin: []byte("secret")}
	res, err := Host{}.Run(context.Background(), c)
	if err != nil || string(res.Stdout) != "secret" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	if strings.Contains(c.String(), "secret") {
		t.Errorf("what is given on stdin is shown: %s", c)
	}
}

func TestRunSignal(t *testing.T) {
	res, err := Host{}.Run(context.Background(), sh("kill -TERM $$"))
	if err != nil || res.Code != 128+int(syscall.SIGTERM) {
		t.Errorf("got %+v, %v; want exit code %d", res, err, 128+int(syscall.SIGTERM))
	}
}

func TestNotInstalledNamesTheProgram(t *testing.T) {
	for _, name := range []string{"lvme-no-such-program", "/nonexistent/program", "."} {
		_, err := Host{}.Run(context.Background(), Cmd{Name: name})
		if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %v and the name", name, err, ErrNotInstalled)
		}
	}
}

func TestRunNoShell(t *testing.T) {
	res, err := Host{}.Run(context.Background(), Cmd{Name: "echo", Args: []string{"$(id)", ";", "a b"}})
	if err != nil || string(res.Stdout) != "$(id) ; a b\n" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
}

// TestDaemonHoldsTheStreams: a program that succeeded has succeeded, even if a
// process that it left behind still holds its standard input and output.
func TestDaemonHoldsTheStreams(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		code   int
	}{"success": {"exec 3<&0; sleep 10 <&3 & echo done", 0}, "failure": {"exec 3<&0; sleep 10 <&3 & echo done; exit 5", 5}} {
		start := time.Now()
		unread := make([]byte, 1<<20) // more than a pipe takes
		res, err := Host{}.Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", tc.script}, Stdin: unread, Changes: true})
		if err != nil || string(res.Stdout) != "done\n" || res.Code != tc.code {
			t.Errorf("%s: got %+v, %v", name, res, err)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("%s: waited %v for the process left behind", name, took)
		}
	}
}

func TestNothingBeginsAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	file := filepath.Join(t.TempDir(), "file")
	c := Cmd{Name: "touch", Args: []string{file}, Changes: true}
	if _, err := (Host{}).Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it began although its context had ended")
	}
}

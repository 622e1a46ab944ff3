package plane

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLaunchKeepsTheLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := launch("/bin/sh", log, []string{"-c", "echo one; echo two >&2; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if err := p.failure(); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "one\ntwo") {
		t.Errorf("the end is told as %v", err)
	}
	if err := p.signal(os.Interrupt); !errors.Is(err, errEnded) {
		t.Errorf("a signal to a process that has ended: %v", err)
	}
}

func TestKill(t *testing.T) {
	p, err := launch("/bin/sleep", filepath.Join(t.TempDir(), "log"), []string{"1000"})
	if err != nil {
		t.Fatal(err)
	}
	p.kill()
	p.kill() // again, as after an end of its own
}

func TestLaunchOfNothing(t *testing.T) {
	if _, err := launch("/nowhere/etcd", filepath.Join(t.TempDir(), "log"), nil); err == nil {
		t.Error("a program was started that is not there")
	}
}

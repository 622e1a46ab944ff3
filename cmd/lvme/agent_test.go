package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lvme/lvme/agent/agenttest"
)

var errFailed = errors.New("it broke")

func TestAgentServesUntilSIGTERM(t *testing.T) {
	b := newBench(t, 1)
	o := agenttest.Options(t)
	code := make(chan int, 1)
	program := newProgram(b.environment())
	go func() {
		code <- program.run([]string{"agent", "--socket", o.Socket, "--state-dir", filepath.Clean(b.state), "--kubelet-dir", "", "--http", "0"})
	}()
	conn, err := grpc.NewClient("unix://"+o.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Its answer proves too that the signal is caught: that is set up before
	// the socket.
	resp, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil || resp.GetName() != "csi.lvme.dev" {
		t.Fatalf("%v, %v", resp, err)
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
		t.Error("the agent runs on after SIGTERM")
	}
}

func TestLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lvme", "lvme")
	target := fmt.Sprintf("/proc/%d/exe", os.Getpid())
	self, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	remove, err := link(path, target)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.Stat(path); err != nil || !os.SameFile(got, self) {
		t.Errorf("it leads to %v, %v", got, err)
	}
	remove()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was left: %v", err)
	}

	if err := os.Symlink("/proc/0/exe", path); err != nil { // an agent died
		t.Fatal(err)
	}
	if _, err := link(path, target); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(path), os.Symlink("/proc/1/exe", path)); err != nil {
		t.Fatal(err)
	}
	remove() // meanwhile another has come
	if err := os.Remove(path); err != nil {
		t.Errorf("another agent's link was removed: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := link(path, target); err == nil {
		t.Error("a file was replaced")
	}
}

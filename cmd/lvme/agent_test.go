package main

import (
	"context"
	"errors"
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

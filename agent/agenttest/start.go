package agenttest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
)

// patience is how long an agent may take to open its store and to stop.
const patience = time.Minute

// Options are those of an agent of the test tb: socket and state in directories
// of the test, the default drive configuration, volumes mounted anywhere.
func Options(tb testing.TB) agent.Options {
	tb.Helper()
	return agent.Options{
		Socket: filepath.Join(shortDir(tb), "s", "csi.sock"), StateDir: filepath.Join(tb.TempDir(), "state"), NodeID: "node-1",
		Grace: agent.DefaultGrace, Config: drive.DefaultConfig(),
	}
}

// shortDir is a directory whose path leaves room for a socket's name: that of
// tb.TempDir holds the name of the test.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "lvme")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// Running is an agent that runs.
type Running struct {
	*agent.Agent
	// Conn is a connection to its socket.
	Conn *grpc.ClientConn

	tb   testing.TB
	stop context.CancelFunc
	end  sync.Once
	done chan struct{}
	err  error
}

// Start starts an agent, which is stopped at the end of the test at the latest.
func Start(tb testing.TB, o agent.Options, h agent.Host) *Running {
	tb.Helper()
	// Not the test's context: that ends before the cleanups.
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	a, err := agent.New(ctx, o, h)
	if err != nil {
		stop()
		tb.Fatalf("start the agent: %v", err)
	}
	r := &Running{Agent: a, tb: tb, stop: stop, done: make(chan struct{})}
	go func() { defer close(r.done); r.err = a.Run(ctx) }()
	r.Conn, err = grpc.NewClient("unix://"+o.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Stop)
	return r
}

// WaitOpen waits until the agent's store is open.
func (r *Running) WaitOpen() *Running {
	r.tb.Helper()
	select {
	case <-r.Opened():
	case <-r.done:
		r.tb.Fatalf("the agent ended: %v", r.err)
	case <-time.After(patience):
		r.tb.Fatalf("the store is not open after %s", patience)
	}
	return r
}

// Signal tells the agent to stop, as SIGTERM does. Done is closed once it has.
func (r *Running) Signal() { r.stop() }

// Done is closed once the agent has stopped.
func (r *Running) Done() <-chan struct{} { return r.done }

// Stop stops the agent and waits for it. It may be called again.
func (r *Running) Stop() {
	r.tb.Helper()
	r.end.Do(r.finish)
}

func (r *Running) finish() {
	r.tb.Helper()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.tb.Fatalf("the agent has not stopped after %s", patience)
	}
	if err := errors.Join(r.err, r.Conn.Close()); err != nil {
		r.tb.Errorf("stop the agent: %v", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lvme/lvme/test/demo/rig"
)

// agent is the running lvme agent.
type agent struct {
	csi.IdentityClient
	csi.ControllerClient
	csi.NodeClient

	process *exec.Cmd
	conn    *grpc.ClientConn
	ended   chan error
}

const agentLog = "/run/verbs-agent.log"

// startPatience is how long a start may take.
const startPatience = 3 * time.Minute

// startAgent starts the agent and says how long it took to be ready.
func startAgent(ctx context.Context) (*agent, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	log, err := os.OpenFile(agentLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	process := exec.Command(rig.Binary, "agent", "--socket", rig.Socket, "--node-id", rig.NodeID, "--http", rig.Metrics)
	process.Stdout, process.Stderr = log, log
	began := time.Now()
	if err := process.Start(); err != nil {
		return nil, 0, err
	}
	a := &agent{process: process, ended: make(chan error, 1)}
	go func() { a.ended <- process.Wait() }()
	if err := a.ready(ctx); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("the agent is not ready: %w", err), process.Process.Kill())
	}
	return a, time.Since(began), nil
}

// ready connects, and waits until the agent says that it serves.
func (a *agent) ready(ctx context.Context) (err error) {
	const every = 20 * time.Millisecond // what a start is told too long by; more often it would slow the start
	for {
		select {
		case err := <-a.ended:
			return fmt.Errorf("it has ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
		if _, err := os.Stat(rig.Socket); err == nil {
			break
		}
	}
	a.conn, err = grpc.NewClient("unix:"+rig.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	a.IdentityClient, a.ControllerClient, a.NodeClient = csi.NewIdentityClient(a.conn), csi.NewControllerClient(a.conn), csi.NewNodeClient(a.conn)
	for {
		resp, err := a.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if err == nil && (resp.GetReady() == nil || resp.GetReady().GetValue()) {
			return nil
		}
		select {
		case err := <-a.ended:
			return fmt.Errorf("it has ended: %w", err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(every):
		}
	}
}

// stop ends it as a kubelet would.
func (a *agent) stop() error {
	_ = a.conn.Close() // nothing is asked of it any more
	if err := a.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := <-a.ended; err != nil {
		return fmt.Errorf("the agent's end: %w", err)
	}
	return os.RemoveAll(rig.Socket)
}

// freeze has the agent stand still, once it has nothing running, so that what it
// does in the background is not done while others are measured.
func (a *agent) freeze() error {
	awaitNoLVM()
	return a.process.Process.Signal(syscall.SIGSTOP)
}

// thaw ends that, and waits until the agent has done what it is late with.
func (a *agent) thaw() error {
	if err := a.process.Process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	settle() // its clocks ring at once
	return nil
}

// settle is the silence in which each side begins.
func settle() {
	time.Sleep(300 * time.Millisecond)
	awaitNoLVM()
}

// awaitNoLVM waits until no command of LVM runs.
func awaitNoLVM() {
	for lvmRuns() {
		time.Sleep(50 * time.Millisecond)
	}
}

func lvmRuns() bool {
	dirs, _ := os.ReadDir("/proc") // without it nothing here works
	for _, d := range dirs {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		comm, err := os.ReadFile("/proc/" + d.Name() + "/comm")
		if name := strings.TrimSpace(string(comm)); err == nil && (name == filepath.Base(lvmPath) || name == filepath.Base(hiddenLVM)) {
			return true
		}
	}
	return false
}

// work is what an agent has had LVM do in its life.
type work struct {
	commands int
	took     time.Duration
}

var commandFigure = regexp.MustCompile(`(?m)^lvme_lvm_command_duration_seconds_(count|sum)\{.*\} (\S+)$`)

// work is read from the agent's metrics.
func (a *agent) work(ctx context.Context) (w work, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+rig.Metrics+"/metrics", nil)
	if err != nil {
		return w, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return w, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return w, fmt.Errorf("the agent's metrics: %s: %w", resp.Status, err)
	}
	for _, m := range commandFigure.FindAllSubmatch(text, -1) {
		figure, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return w, err
		}
		if string(m[1]) == "count" {
			w.commands += int(figure)
		} else {
			w.took += time.Duration(figure * float64(time.Second))
		}
	}
	return w, nil
}

// Package rig puts lvme on a node of the bed and uses it as its callers do: it runs the agent, speaks CSI with it the
// way a kubelet and Kubernetes' sidecars would, and looks at the results with the node's own tools. What is to be
// shown or measured that way is up to its users.
package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lvme/lvme/test/bed"
)

// Where things are on the node.
const (
	Binary = "/usr/local/bin/lvme"
	Config = "/etc/lvme/config.yaml" // where lvme looks for it by itself
	Socket = "/var/lib/kubelet/plugins/csi.lvme.dev/csi.sock"
	// NodeID is the name of the node.
	NodeID = "node-1"
	// Metrics is where the agent answers Prometheus.
	Metrics = "127.0.0.1:9810"

	pidFile = "/run/lvme-agent.pid"
)

// Build compiles the lvme binary into dir, static as in its image.
func Build(ctx context.Context, dir string) (binary string, err error) {
	return Compile(ctx, dir, "cmd/lvme")
}

// Compile compiles a command of this module, by its directory, into dir. It is static and runs on any node.
func Compile(ctx context.Context, dir, command string) (binary string, err error) {
	binary = filepath.Join(dir, filepath.Base(command))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/lvme/lvme/"+command)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", command, err, out)
	}
	return binary, nil
}

// Install puts the binary and a drive-class configuration on the node, for good: a power cut that comes soon after
// takes neither.
func Install(ctx context.Context, node *bed.Node, binary, config string) error {
	if err := node.Put(ctx, binary, Binary, 0o755); err != nil {
		return err
	}
	_, err := Sh(ctx, node, `mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1" && sync -f "$1" "$3"`, Config, config, Binary)
	return err
}

// Agent is a running `lvme agent` and a connection to its CSI socket.
type Agent struct {
	csi.IdentityClient
	csi.ControllerClient
	csi.NodeClient

	node *bed.Node
	conn *grpc.ClientConn
	kill context.CancelFunc
	done chan struct{}
	code int   // its exit code, once done
	err  error // that it could not be watched to its end
}

// StartAgent starts the installed agent and waits until it answers. What it logs goes to log.
func StartAgent(ctx context.Context, node *bed.Node, log *Tail) (*Agent, error) {
	conn, err := dial(node)
	if err != nil {
		return nil, err
	}
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	a := &Agent{
		csi.NewIdentityClient(conn), csi.NewControllerClient(conn), csi.NewNodeClient(conn),
		node, conn, kill, make(chan struct{}), 0, nil,
	}
	// The shell becomes the agent, so that its process id is known.
	argv := []string{"sh", "-c", `echo $$ >` + pidFile + `; exec "$@"`, "sh", Binary, "agent",
		"--socket", Socket, "--node-id", NodeID, "--http", Metrics}
	go func() {
		defer close(a.done)
		a.code, a.err = node.Run(life, bed.Cmd{Args: argv, Stdout: log, Stderr: log})
	}()
	if err := a.awaitReady(ctx); err != nil {
		a.Kill()
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	return a, nil
}

// dial makes a client for the socket in the guest. It connects at the first call.
func dial(node *bed.Node) (*grpc.ClientConn, error) {
	fast := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.2, MaxDelay: time.Second}
	return grpc.NewClient("passthrough:///"+Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: fast, MinConnectTimeout: 5 * time.Second}),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) { return node.Dial(ctx, "unix", path) }))
}

// awaitReady waits until the agent answers a probe, or has ended.
func (a *Agent) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("it does not say that it is ready"))
	defer cancel()
	go func() {
		select {
		case <-a.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		resp, err := a.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		switch {
		case a.ended():
			return fmt.Errorf("it ended with exit code %d: %w", a.code, errors.Join(a.err, err))
		case err != nil:
			return errors.Join(err, context.Cause(ctx))
		case resp.GetReady() == nil || resp.GetReady().GetValue():
			return nil
		}
		time.Sleep(50 * time.Millisecond) // CSI has no other way to learn it; ctx ends the next probe
	}
}

func (a *Agent) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// PID is the agent's process id on the node.
func (a *Agent) PID(ctx context.Context) (string, error) { return Sh(ctx, a.node, "cat "+pidFile) }

// Stop ends the agent as systemd or a kubelet would, with SIGTERM, and returns an error unless it ends well.
func (a *Agent) Stop(ctx context.Context) error {
	if _, err := Sh(ctx, a.node, `kill -TERM "$(cat `+pidFile+`)"`); err != nil {
		return err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return fmt.Errorf("stop the agent: %w", ctx.Err())
	}
	a.Kill()
	if a.err != nil || a.code != 0 {
		return fmt.Errorf("the agent ended on SIGTERM with exit code %d: %w", a.code, a.err)
	}
	return nil
}

// Kill ends the agent at once, or notes that it has ended.
func (a *Agent) Kill() {
	a.kill()
	<-a.done
	_ = a.conn.Close() // nothing is asked of it any more
}

// Sh runs a bash script as root on the node, with args as $1 and on. It returns what the script wrote, without the
// last line's end; anything but exit code 0 is an error that quotes what it complained of.
func Sh(ctx context.Context, node *bed.Node, script string, args ...string) (string, error) {
	var out, complaint strings.Builder
	code, err := node.Run(ctx, bed.Cmd{
		Args:   append([]string{"bash", "-euo", "pipefail", "-c", script, "bash"}, args...),
		Stdout: &out, Stderr: &complaint,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("on the node: %s %q: exit code %d: %s%s", script, args, code, out.String(), complaint.String())
	}
	return strings.TrimRight(out.String(), "\n"), err
}

package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lvme/lvme/test/cluster/parts"
)

// Config says what control plane to run.
type Config struct {
	// Parts are the programs. Those of parts.Control must have been made.
	Parts *parts.Set
	// Dir gets the certificates, the kubeconfigs, etcd's data and the logs. It must be empty or not there, and is the
	// caller's to remove.
	Dir string
	// Address is one of this network namespace at which the nodes reach the API server, at port 6443.
	Address netip.Addr
	// Nodes are the names of the nodes that will join.
	Nodes []string
	// Log gets lines of progress, and the word of a process that ended without being asked to.
	Log func(format string, args ...any)
}

// Plane is a control plane that runs.
type Plane struct {
	config Config

	mu        sync.Mutex
	processes map[string]*process // those that are to run, by their names
}

// Start starts a control plane and waits until it answers, has made the first service account and knows the snapshot API.
// It needs nothing of the network outside. What has been started is stopped again when it fails.
func Start(ctx context.Context, config Config) (*Plane, error) {
	for _, part := range parts.Control() {
		if !config.Parts.Has(part) {
			return nil, fmt.Errorf("start a control plane: %s is not built", part)
		}
	}
	if entries, err := os.ReadDir(config.Dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("start a control plane: %s is not empty", config.Dir)
	}
	if err := os.MkdirAll(filepath.Join(config.Dir, "pki"), 0o755); err != nil {
		return nil, fmt.Errorf("start a control plane: %w", err)
	}
	p := &Plane{config: config, processes: map[string]*process{}}
	if err := p.writeIdentities(); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// start starts the processes, each when what it needs answers.
func (p *Plane) start(ctx context.Context) error {
	began := time.Now()
	if err := p.run(parts.Etcd); err != nil {
		return err
	}
	if err := p.StartAPI(ctx); err != nil {
		return err
	}
	p.config.Log("the API server is ready after %.1f s", time.Since(began).Seconds())
	for _, part := range []parts.Part{parts.ControllerManager, parts.Scheduler} {
		if err := p.run(part); err != nil {
			return err
		}
	}
	if err := p.installBase(ctx); err != nil {
		return err
	}
	if err := p.run(parts.SnapshotController); err != nil {
		return err
	}
	if err := p.awaitControllers(ctx); err != nil {
		return err
	}
	p.config.Log("the control plane is ready after %.1f s", time.Since(began).Seconds())
	return nil
}

// Stop ends all processes, those that others need last. A plane that was stopped cannot be started again.
func (p *Plane) Stop() {
	order := []parts.Part{parts.SnapshotController, parts.Scheduler, parts.ControllerManager, parts.APIServer, parts.Etcd}
	for _, part := range order {
		p.end(part)
	}
}

// run starts the process of a part and watches over it.
func (p *Plane) run(part parts.Part) error {
	log := filepath.Join(p.config.Dir, string(part)+".log")
	started, err := launch(p.config.Parts.Path(part), log, p.arguments(part))
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.processes[string(part)] = started
	p.mu.Unlock()
	go func() {
		<-started.ended
		p.mu.Lock()
		wanted := p.processes[string(part)] == started
		p.mu.Unlock()
		if wanted {
			p.config.Log("%v", started.failure())
		}
	}()
	return nil
}

// end ends the process of a part, if there is one.
func (p *Plane) end(part parts.Part) {
	p.mu.Lock()
	running := p.processes[string(part)]
	delete(p.processes, string(part))
	p.mu.Unlock()
	if running != nil {
		running.kill()
	}
}

// process returns the process of a part, or an error that says that it is not running.
func (p *Plane) process(part parts.Part) (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	running := p.processes[string(part)]
	if running == nil {
		return nil, fmt.Errorf("%s was stopped", part)
	}
	return running, nil
}

// Kubeconfig is the file with which one may do everything.
func (p *Plane) Kubeconfig() string {
	return p.kubeconfig(admin)
}

// NodeKubeconfig is the file of the kubelet of a node, one of those in the configuration. It holds all that is needed.
func (p *Plane) NodeKubeconfig(node string) (string, error) {
	if !slices.Contains(p.config.Nodes, node) {
		return "", fmt.Errorf("the control plane was not told of a node %q", node)
	}
	return p.kubeconfig(nodeFile(node)), nil
}

// CA is the file with the certificate of the authority that kubelets should trust in their clients.
func (p *Plane) CA() string {
	return p.file("ca") + ".crt"
}

// Kubectl runs kubectl as the administrator and returns what it printed. Its complaints are part of the error.
func (p *Plane) Kubectl(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	base := []string{"--kubeconfig", p.Kubeconfig(), "--cache-dir", filepath.Join(p.config.Dir, "kubectl")}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, p.config.Parts.Path(parts.Kubectl), append(base, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), errors.Join(fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes())), ctx.Err())
	}
	return stdout.Bytes(), nil
}

package plane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/cluster/parts"
)

// patience is how long something may take that takes seconds on an idle machine.
const patience = 2 * time.Minute

// StartAPI starts the API server unless it is there, and waits until it answers. It is for after KillAPI.
func (p *Plane) StartAPI(ctx context.Context) error {
	if _, err := p.process(parts.APIServer); err != nil {
		if err := p.run(parts.APIServer); err != nil {
			return err
		}
	}
	return p.awaitHealth(ctx, parts.APIServer, net.JoinHostPort("127.0.0.1", apiPort), "/readyz")
}

// KillAPI ends the API server at once: whoever calls it is refused.
func (p *Plane) KillAPI() error {
	if _, err := p.process(parts.APIServer); err != nil {
		return err
	}
	p.end(parts.APIServer)
	return nil
}

// PauseAPI makes the API server stand still: whoever calls it waits for an answer.
func (p *Plane) PauseAPI() error {
	running, err := p.process(parts.APIServer)
	if err != nil {
		return err
	}
	return running.signal(syscall.SIGSTOP)
}

// ResumeAPI lets the API server go on, and waits until it answers.
func (p *Plane) ResumeAPI(ctx context.Context) error {
	running, err := p.process(parts.APIServer)
	if err != nil {
		return err
	}
	if err := running.signal(syscall.SIGCONT); err != nil {
		return err
	}
	return p.awaitHealth(ctx, parts.APIServer, net.JoinHostPort("127.0.0.1", apiPort), "/readyz")
}

// base are the objects that a cluster has from the beginning, besides the definitions of the snapshot API.
//
//go:embed base.yaml
var base string

// installBase makes the objects that the cluster has from the beginning.
func (p *Plane) installBase(ctx context.Context) error {
	_, err := p.Kubectl(ctx, strings.NewReader(base), "create", "--validate=false", "-f", "-", "-f", p.config.Parts.Path(parts.CRDs))
	if err != nil {
		return fmt.Errorf("make the first objects of the cluster: %w", err)
	}
	if _, err := p.Kubectl(ctx, nil, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"); err != nil {
		return fmt.Errorf("await the snapshot API: %w", err)
	}
	return nil
}

// awaitControllers waits until the scheduler and the controller manager answer, and the latter has done what pods wait
// for: made the service account of the default namespace.
func (p *Plane) awaitControllers(ctx context.Context) error {
	if err := p.awaitHealth(ctx, parts.ControllerManager, controllerManagerAddress, "/healthz"); err != nil {
		return err
	}
	if err := p.awaitHealth(ctx, parts.Scheduler, schedulerAddress, "/readyz"); err != nil {
		return err
	}
	for _, object := range []string{"serviceaccount/default", "configmap/kube-root-ca.crt"} { // of two, wait fails at once
		if _, err := p.Kubectl(ctx, nil, "wait", "--for=create", "--timeout=60s", object); err != nil {
			return fmt.Errorf("await what every pod needs: %w", err)
		}
	}
	return nil
}

// awaitHealth waits until a process says that all is well, or has ended.
func (p *Plane) awaitHealth(ctx context.Context, part parts.Part, address, path string) error {
	running, err := p.process(part)
	if err != nil {
		return err
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := askHealth(ctx, client, "https://"+address+path)
		if err == nil {
			return nil
		}
		select {
		case <-running.ended:
			return running.failure()
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w", part, errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// client is one that trusts the cluster's servers and nobody else. It names nobody: health is told to all.
func (p *Plane) client() (*http.Client, error) {
	ca, err := os.ReadFile(p.CA())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}},
	}, nil
}

func askHealth(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}

// Package bench is a cluster of test/cluster that runs in another process, as the tests in it use it: kubectl, commands
// in its nodes, its faults, and the comparison of what Kubernetes says with what LVM has.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/e2e/check"
)

// Namespace is where lvme runs.
const Namespace = cluster.Namespace

// Bench is the cluster. The process must be in its network, with kubectl in PATH and KUBECONFIG set: as what "cluster
// exec" starts.
type Bench struct {
	*cluster.Remote
	Nodes []string
}

// Attach returns the cluster that serves on a socket.
func Attach(ctx context.Context, socket string) (*Bench, error) {
	b := &Bench{Remote: cluster.Attach(socket)}
	states, err := b.Remote.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("attach to the cluster of %s: %w", socket, err)
	}
	for _, n := range states {
		b.Nodes = append(b.Nodes, n.Name)
	}
	return b, nil
}

// Kubectl runs kubectl and returns what it prints. What it says besides is part of the error.
func (b *Bench) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	return b.kubectl(ctx, "", args...)
}

// Apply makes objects of YAML, or changes them.
func (b *Bench) Apply(ctx context.Context, objects string) error {
	_, err := b.kubectl(ctx, objects, "apply", "-f", "-")
	return err
}

func (b *Bench) kubectl(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// Sh runs a script in a node as root, with $1 and so on, and returns its output, both kinds.
func (b *Bench) Sh(ctx context.Context, node, script string, args ...string) (string, error) {
	var out bytes.Buffer
	code, err := b.Run(ctx, node, append([]string{"sh", "-c", script, "sh"}, args...), nil, &out, nil)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit %d", code)
	}
	if err != nil {
		return "", fmt.Errorf("run %q in %s: %w: %s", script, node, err, out.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

// Content is data that a pod has, and its checksum.
type Content struct {
	Pod, File, SHA256 string
}

// Look compares at this moment. All nodes must be there.
func (b *Bench) Look(ctx context.Context, contents []Content) (check.Verdict, error) {
	var s check.State
	if err := s.Cluster(ctx, b.Kubectl); err != nil {
		return check.Verdict{}, err
	}
	for _, node := range b.Nodes {
		report, err := b.Sh(ctx, node, `LVM_SUPPRESS_FD_WARNINGS=1 "$@" 2>/dev/null`, check.ReportArgs...)
		if err != nil {
			return check.Verdict{}, err
		}
		if err := s.Node(node, []byte(report)); err != nil {
			return check.Verdict{}, err
		}
	}
	for _, c := range contents {
		s.Data = append(s.Data, check.Datum{Where: c.Pod + ":" + c.File, Want: c.SHA256, Have: b.sum(ctx, c)})
	}
	return check.Judge(s), nil
}

// sum is the checksum of what is there now, or why there is none.
func (b *Bench) sum(ctx context.Context, c Content) string {
	out, err := b.Kubectl(ctx, "exec", c.Pod, "--", "sha256sum", c.File)
	if err != nil {
		return err.Error()
	}
	sum, _, _ := strings.Cut(string(out), " ")
	return sum
}

// Settle looks again and again until all is well and nothing is on its way, or the time is over. The verdict is the
// last one; the error says that it could not be looked, or what is wrong.
func (b *Bench) Settle(ctx context.Context, limit time.Duration, contents []Content) (check.Verdict, error) {
	for end := time.Now().Add(limit); ; {
		v, err := b.Look(ctx, contents)
		if err == nil {
			err = v.Err()
		}
		if err == nil && v.Settled() {
			return v, nil
		}
		if time.Now().After(end) {
			if err == nil {
				err = fmt.Errorf("still on its way after %s: owed %q, in the making %q", limit, v.Owed, v.Making)
			}
			return v, err
		}
		if err := Pause(ctx, 3*time.Second); err != nil {
			return v, err
		}
	}
}

// Empty waits until there is no volume and no snapshot any more, and compares then.
func (b *Bench) Empty(ctx context.Context, limit time.Duration) (check.Verdict, error) {
	err := Until(ctx, limit, func() error {
		left, err := b.Kubectl(ctx, "get", "pv,volumesnapshotcontents", "-o", "name")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left: %s", strings.Join(strings.Fields(string(left)), " "))
		}
		return err
	})
	v, settled := b.Settle(ctx, limit, nil)
	return v, errors.Join(err, settled)
}

// Pause waits for a time, or for the end of ctx.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// Until asks again and again until the answer is nil or the time is over.
func Until(ctx context.Context, limit time.Duration, ask func() error) error {
	for end := time.Now().Add(limit); ; {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %w", limit, err)
		}
		if waited := Pause(ctx, 2*time.Second); waited != nil {
			return errors.Join(waited, err)
		}
	}
}

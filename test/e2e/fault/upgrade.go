package fault

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/e2e/bench"
)

// endingPause is how long an agent that was told to end is left waiting for its lvcreate.
const endingPause = 10 * time.Second

// upgraded has Helm replace all of lvme while pods write to their volumes and others are made, one of them by an lvcreate
// that does not end before its agent is told to. Nothing of it reaches the pods, and the new agent takes over what the
// old one has mounted.
func upgraded(ctx context.Context, s *scene) error {
	release, err := s.other(ctx)
	if err != nil {
		return err
	}
	if err := s.Do(ctx, "import", release.Archive); err != nil {
		return err
	}
	before, err := s.ioErrors(ctx)
	if err != nil {
		return err
	}
	stop := s.write(ctx)
	err = s.replace(ctx, release)
	written, writeErr := stop()
	if err := errors.Join(err, writeErr); err != nil {
		return err
	}
	after, err := s.ioErrors(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("I/O errors of the nodes before and after: %d, %d", before, after)
	}
	s.note = written
	if err := s.restarted(ctx, "resident-0"); err != nil {
		return err
	}
	return s.over(ctx, "upgrade")
}

// replace upgrades with a wave under way.
func (s *scene) replace(ctx context.Context, r cluster.Release) error {
	node := s.Nodes[0]
	held := s.hold(ctx, node)
	if err := s.wave(ctx, "upgrade", s.Nodes...); err != nil {
		return err
	}
	pid, err := held()
	if err != nil {
		return err
	}
	err = s.helm(ctx, r)
	if err == nil {
		err = errors.Join(s.ending(ctx, node), bench.Pause(ctx, endingPause))
	}
	if _, thawed := s.Sh(ctx, node, thaw, pid); thawed != nil {
		err = errors.Join(err, fmt.Errorf("the command ended with its agent: %w", thawed))
	}
	if err != nil {
		return err
	}
	for _, workload := range []string{"daemonset/lvme-agent", "deployment/lvme-controller"} {
		if _, err := s.Kubectl(ctx, "--namespace", bench.Namespace, "rollout", "status", workload, "--timeout="+podLimit.String()); err != nil {
			return err
		}
	}
	return errors.Join(s.bound(ctx, "wave=upgrade"), s.runs(ctx, r))
}

// other is the one of the two releases that does not run.
func (s *scene) other(ctx context.Context) (cluster.Release, error) {
	running, err := s.image(ctx)
	if err != nil {
		return cluster.Release{}, err
	}
	for _, r := range s.releases {
		if !strings.HasSuffix(running, ":"+r.Tag) {
			return r, nil
		}
	}
	return cluster.Release{}, fmt.Errorf("there is no release to upgrade to from %s", running)
}

// image is the image of the agents.
func (s *scene) image(ctx context.Context) (string, error) {
	out, err := s.Kubectl(ctx, "--namespace", bench.Namespace, "get", "daemonset", "lvme-agent", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	return string(out), err
}

// helm upgrades lvme as its users do. It does not wait.
func (s *scene) helm(ctx context.Context, r cluster.Release) error {
	out, err := exec.CommandContext(ctx, "helm", "--namespace", bench.Namespace, "upgrade", "lvme", r.Chart,
		"--reset-then-reuse-values", "--set-string", "image.tag="+r.Tag).CombinedOutput()
	if err != nil {
		return fmt.Errorf("upgrade to %s: %w: %s", r.Tag, err, out)
	}
	return nil
}

// ending waits until the agent of a node is told to end.
func (s *scene) ending(ctx context.Context, node string) error {
	return bench.Until(ctx, podLimit, func() error {
		out, err := s.Kubectl(ctx, "--namespace", bench.Namespace, "get", "pods", "-l", "app.kubernetes.io/component=agent",
			"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[*].metadata.deletionTimestamp}")
		if err == nil && len(out) == 0 {
			err = fmt.Errorf("the agent of %s is not told to end", node)
		}
		return err
	})
}

// runs verifies that all of lvme is of that release.
func (s *scene) runs(ctx context.Context, r cluster.Release) error {
	const images = `{range .items[*]}{.metadata.name} {.spec.containers[0].image}{"\n"}{end}`
	out, err := s.Kubectl(ctx, "--namespace", bench.Namespace, "get", "pods", "-l", "app.kubernetes.io/name=lvme", "-o", "jsonpath="+images)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasSuffix(strings.TrimSpace(line), ":"+r.Tag) {
			return fmt.Errorf("not upgraded to %s: %s", r.Tag, strings.TrimSpace(line))
		}
	}
	return nil
}

// writer writes records and syncs each, until it is told to stop. All of them must be there then. It prints how many it
// wrote, and how many seconds the slowest took.
const writer = `n=0; slow=0
while [ ! -e /tmp/stop ]; do
  began=$(date +%s)
  echo $n | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null || { echo write $n failed; exit 1; }
  took=$(($(date +%s) - began)); [ $took -le $slow ] || slow=$took
  n=$((n+1)); sleep 0.2
done
have=$(wc -l </data/log); rm -f /data/log /tmp/stop
[ $have = $n ] || { echo $n records were synced, $have are there; exit 1; }
echo $n $slow`

// write has all residents write, until the function that it returns is called, which tells what came of it.
func (s *scene) write(ctx context.Context) (stop func() (figures string, err error)) {
	type result struct {
		records, slowest int
		err              error
	}
	results := make(chan result, len(s.contents))
	for _, c := range s.contents {
		go func() {
			var r result
			var out []byte
			if out, r.err = s.Kubectl(ctx, "exec", c.Pod, "--", "sh", "-c", writer); r.err == nil {
				_, r.err = fmt.Sscan(string(out), &r.records, &r.slowest)
			}
			if r.err != nil {
				r.err = fmt.Errorf("%s wrote: %w: %s", c.Pod, r.err, out)
			}
			results <- r
		}()
	}
	return func() (string, error) {
		var all result
		for _, c := range s.contents {
			_, err := s.Kubectl(ctx, "exec", c.Pod, "--", "touch", "/tmp/stop")
			all.err = errors.Join(all.err, err)
		}
		for range s.contents {
			r := <-results
			all = result{all.records + r.records, max(all.slowest, r.slowest), errors.Join(all.err, r.err)}
		}
		return fmt.Sprintf("%d records synced meanwhile, the slowest in %d s", all.records, all.slowest), all.err
	}
}

// ioErrors counts the I/O errors of each node's kernel.
func (s *scene) ioErrors(ctx context.Context) ([]int, error) {
	counts := make([]int, len(s.Nodes))
	for i, node := range s.Nodes {
		out, err := s.Sh(ctx, node, `dmesg | grep -ci 'i/o error' || true`)
		if err != nil {
			return nil, err
		}
		if counts[i], err = strconv.Atoi(out); err != nil {
			return nil, fmt.Errorf("count I/O errors of %s: %w", node, err)
		}
	}
	return counts, nil
}

// restarted deletes a resident and waits for the next of its name.
func (s *scene) restarted(ctx context.Context, pod string) error {
	if _, err := s.Kubectl(ctx, "delete", "pod", pod, "--timeout="+podLimit.String()); err != nil {
		return err
	}
	return s.residentsReady(ctx)
}

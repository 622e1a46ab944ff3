package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lvme/lvme/test/e2e/bench"
)

// agentKilled kills the agent of a node while LVM works for it. Kubernetes starts it again.
func agentKilled(ctx context.Context, s *scene) error {
	node := s.Nodes[0]
	err := errors.Join(s.wave(ctx, "agent", s.Nodes...), s.snapshot(ctx, "agent", "resident-0"))
	if err != nil {
		return err
	}
	if err := s.busy(ctx, node); err != nil {
		return err
	}
	if _, err := s.Sh(ctx, node, `pkill -KILL -f 'lvm[e] agent'`); err != nil {
		return err
	}
	if err := errors.Join(s.bound(ctx, "wave=agent"), s.snapshotReady(ctx, "agent")); err != nil {
		return err
	}
	if err := s.over(ctx, "agent"); err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, "delete", "volumesnapshot", "agent")
	return err
}

// freeze holds the next lvcreate in its middle and prints its process id. It freezes the cgroup of the agent's commands: a
// stopped process would be sent SIGHUP by the kernel when its parent ends, which a slow one is not.
const freeze = seek + `
for i in $(seq 9000); do
  sleep 0.005
  lvcreate >/dev/null || continue
  echo 1 >cgroup.freeze
  lvcreate && exit 0
  echo 0 >cgroup.freeze
done
echo no lvcreate; exit 1`

// thaw lets that lvcreate go on, if it is still there.
const thaw = `cd /sys/fs/cgroup/lvme/commands
grep -qx $1 cgroup.procs; there=$?
echo 0 >cgroup.freeze
exit $there`

// slowCreate deletes the agent's pod, with less patience than its lvcreate needs: the command lives on outside the pod,
// and ends when it may.
func slowCreate(ctx context.Context, s *scene) error {
	node := s.Nodes[0]
	held := s.hold(ctx, node)
	if err := s.wave(ctx, "slow", node); err != nil {
		return err
	}
	pid, err := held()
	if err != nil {
		return err
	}
	deleted := s.deleteAgent(ctx, node)
	if _, err := s.Sh(ctx, node, thaw, pid); err != nil {
		return errors.Join(deleted, fmt.Errorf("the command did not outlive the pod: %w", err))
	}
	if deleted != nil {
		return deleted
	}
	if err := s.bound(ctx, "wave=slow"); err != nil {
		return err
	}
	return s.over(ctx, "slow")
}

// hold begins to wait for the next lvcreate of a node, to hold it. The function that it returns tells which that is.
func (s *scene) hold(ctx context.Context, node string) (held func() (pid string, err error)) {
	type result struct {
		pid string
		err error
	}
	done := make(chan result, 1)
	go func() {
		pid, err := s.Sh(ctx, node, freeze)
		done <- result{pid, err}
	}()
	return func() (string, error) {
		r := <-done
		return r.pid, r.err
	}
}

// deleteAgent deletes the agent's pod of a node with two seconds of grace, and returns when it is gone.
func (s *scene) deleteAgent(ctx context.Context, node string) error {
	_, err := s.Kubectl(ctx, "--namespace", bench.Namespace, "delete", "pod", "--grace-period=2", "--timeout=3m",
		"-l", "app.kubernetes.io/component=agent", "--field-selector", "spec.nodeName="+node)
	return err
}

// controllersKilled kills all replicas of the router at once.
func controllersKilled(ctx context.Context, s *scene) error {
	err := errors.Join(s.wave(ctx, "controller", s.Nodes...), s.snapshot(ctx, "controller", "resident-0"))
	if err != nil {
		return err
	}
	if err := s.busy(ctx, s.Nodes[0]); err != nil {
		return err
	}
	for _, node := range s.Nodes {
		// A node may have both replicas, and another none.
		if _, err := s.Sh(ctx, node, `pkill -KILL -f 'lvm[e] controller' || [ $? = 1 ]`); err != nil {
			return err
		}
	}
	if err := errors.Join(s.bound(ctx, "wave=controller"), s.snapshotReady(ctx, "controller")); err != nil {
		return err
	}
	if err := s.over(ctx, "controller"); err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, "delete", "volumesnapshot", "controller")
	return err
}

// networkCut lets no packet pass between two nodes for a minute, so that neither router reaches both agents, while
// volumes are made and others deleted.
func networkCut(ctx context.Context, s *scene) error {
	if err := s.wave(ctx, "before", s.Nodes...); err != nil {
		return err
	}
	if err := s.bound(ctx, "wave=before"); err != nil {
		return err
	}
	if err := s.wave(ctx, "cut", s.Nodes...); err != nil {
		return err
	}
	if err := s.busy(ctx, s.Nodes[0]); err != nil {
		return err
	}
	if err := s.Do(ctx, "cut", s.Nodes[0], s.Nodes[1]); err != nil {
		return err
	}
	before, err := s.volumes(ctx, "wave=before")
	if err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, "delete", "pvc", "-l", "wave=before", "--wait=false")
	err = errors.Join(err, bench.Pause(ctx, time.Minute), s.felt(ctx, before), s.Do(ctx, "heal", s.Nodes[0], s.Nodes[1]))
	if err != nil {
		return err
	}
	if err := s.bound(ctx, "wave=cut"); err != nil {
		return err
	}
	return s.over(ctx, "cut")
}

// felt verifies that some of the volumes could not be deleted: those of the node that the leading router does not reach.
func (s *scene) felt(ctx context.Context, volumes []string) error {
	out, err := s.Kubectl(ctx, "get", "pv", "-o", "name")
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if strings.Contains(string(out), v) {
			return nil
		}
	}
	return errors.New("all volumes were deleted: the network was not cut")
}

// apiDown ends the API server for a minute.
func apiDown(ctx context.Context, s *scene) error {
	if err := s.wave(ctx, "api", s.Nodes...); err != nil {
		return err
	}
	if err := s.busy(ctx, s.Nodes[0]); err != nil {
		return err
	}
	if err := s.Do(ctx, "api-kill"); err != nil {
		return err
	}
	if err := errors.Join(bench.Pause(ctx, time.Minute), s.Do(ctx, "api-start")); err != nil {
		return err
	}
	if err := s.bound(ctx, "wave=api"); err != nil {
		return err
	}
	return s.over(ctx, "api")
}

// powerCut cuts the power of a node while LVM works in it. The volumes of the other node come all the same.
func powerCut(ctx context.Context, s *scene) error {
	other, node := s.Nodes[0], s.Nodes[1]
	if err := s.wave(ctx, "power", node, other); err != nil {
		return err
	}
	if err := s.busy(ctx, node); err != nil {
		return err
	}
	if err := s.Do(ctx, "off", node); err != nil {
		return err
	}
	if err := s.bound(ctx, "wave=power,node="+other); err != nil {
		return fmt.Errorf("while %s is off: %w", node, err)
	}
	if err := s.on(ctx, node); err != nil {
		return err
	}
	if err := s.bound(ctx, "wave=power"); err != nil {
		return err
	}
	return s.over(ctx, "power")
}

// on switches a node on and waits until the residents run again.
func (s *scene) on(ctx context.Context, node string) error {
	if err := s.Do(ctx, "on", node); err != nil {
		return err
	}
	return bench.Until(ctx, podLimit, func() error {
		if _, err := s.Kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=20s", "node/"+node); err != nil {
			return err
		}
		// A kubelet that is back takes a while to see that its pods are not.
		for _, c := range s.contents {
			if _, err := s.Kubectl(ctx, "exec", c.Pod, "--", "true"); err != nil {
				return err
			}
		}
		return nil
	})
}

// nodeDeleted deletes a node that is off from the cluster. Volumes on it can be deleted then, after a while; when it
// comes back they are deleted on its drives, and all others are there.
func nodeDeleted(ctx context.Context, s *scene) error {
	node := s.Nodes[1]
	if err := s.wave(ctx, "doomed", node); err != nil {
		return err
	}
	if err := s.bound(ctx, "wave=doomed"); err != nil {
		return err
	}
	doomed, err := s.volumes(ctx, "wave=doomed")
	if err != nil {
		return err
	}
	if err := s.Do(ctx, "off", node); err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, "delete", "node", node); err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, "delete", "pvc", "-l", "wave=doomed", "--timeout=2m"); err != nil {
		return err
	}
	if err := s.gone(ctx, doomed); err != nil {
		return err
	}
	if err := s.recorded(ctx, doomed); err != nil {
		return err
	}
	return s.on(ctx, node)
}

// recorded verifies that the deletions of volumes are recorded, and no others.
func (s *scene) recorded(ctx context.Context, volumes []string) error {
	out, err := s.Kubectl(ctx, "--namespace", bench.Namespace, "get", "configmaps", "-l", "lvme.dev/tombstones", "-o", "yaml")
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if !strings.Contains(string(out), v) {
			return fmt.Errorf("the deletion of %s is answered and not recorded: %s", v, out)
		}
	}
	return nil
}

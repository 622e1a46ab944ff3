package fault

import (
	"context"
	"fmt"
	"strings"

	"github.com/lvme/lvme/test/e2e/bench"
)

// claim is a claim that names its node, as the scheduler would for a pod.
const claim = `---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: %[1]s-%[2]s-%[3]d
  labels: {wave: %[1]s, node: %[2]s}
  annotations: {volume.kubernetes.io/selected-node: %[2]s}
spec:
  storageClassName: fault
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
`

// perNode is how many claims of a wave each node has.
const perNode = 4

// wave asks for volumes on nodes, and does not wait for them.
func (s *scene) wave(ctx context.Context, name string, nodes ...string) error {
	var objects strings.Builder
	for _, node := range nodes {
		for i := range perNode {
			fmt.Fprintf(&objects, claim, name, node, i)
		}
	}
	return s.Apply(ctx, objects.String())
}

// bound waits until all claims of a selection have a volume. A node that is given up is taken off a claim, for the
// scheduler to choose another; here the same is chosen again.
func (s *scene) bound(ctx context.Context, selector string) error {
	return bench.Until(ctx, waveLimit, func() error {
		const columns = `{range .items[*]}{.metadata.name}|{.metadata.labels.node}|{.status.phase}|{.metadata.annotations.volume\.kubernetes\.io/selected-node}{"\n"}{end}`
		out, err := s.Kubectl(ctx, "get", "pvc", "-l", selector, "-o", "jsonpath="+columns)
		if err != nil {
			return err
		}
		var waiting []string
		for line := range strings.Lines(string(out)) {
			c := strings.Split(strings.TrimSpace(line), "|")
			if c[2] == "Bound" {
				continue
			}
			waiting = append(waiting, c[0])
			if c[3] == "" {
				_, err = s.Kubectl(ctx, "annotate", "pvc", c[0], "volume.kubernetes.io/selected-node="+c[1])
			}
		}
		if err == nil && len(waiting) > 0 {
			err = fmt.Errorf("without a volume: %s", strings.Join(waiting, " "))
		}
		return err
	})
}

// snapshot asks for a snapshot of a resident's volume, and does not wait for it.
func (s *scene) snapshot(ctx context.Context, name, resident string) error {
	return s.Apply(ctx, fmt.Sprintf(`apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: %s}
spec:
  volumeSnapshotClassName: lvme
  source: {persistentVolumeClaimName: data-%s}
`, name, resident))
}

// snapshotReady waits for a snapshot.
func (s *scene) snapshotReady(ctx context.Context, name string) error {
	_, err := s.Kubectl(ctx, "wait", "--for=jsonpath={.status.readyToUse}=true", "--timeout="+waveLimit.String(), "volumesnapshot/"+name)
	return err
}

// over compares with all of a wave there, and deletes it.
func (s *scene) over(ctx context.Context, name string) error {
	if v, err := s.Settle(ctx, settleLimit, s.contents); err != nil {
		return fmt.Errorf("with the wave there: %s: %w", v, err)
	}
	_, err := s.Kubectl(ctx, "delete", "pvc", "-l", "wave="+name, "--timeout="+waveLimit.String())
	return err
}

// seek goes to the cgroup of the agent's commands and defines lvcreate, which prints the process id of one that runs there.
// An lvcreate takes a tenth of a second and its cgroup has most of the CPU: whoever looks for it comes before both, and
// starts no program for it. The shell leaves out the NUL bytes between a program's arguments.
const seek = `cd /sys/fs/cgroup/lvme/commands
chrt -f -p 1 $$ >/dev/null
lvcreate() {
  while read -r pid; do
    argv=
    read -r argv 2>/dev/null </proc/$pid/cmdline
    case $argv in *lvmlvcreate*) echo $pid; return 0 ;; esac
  done <cgroup.procs
  return 1
}`

// busy waits until LVM makes a volume in a node.
func (s *scene) busy(ctx context.Context, node string) error {
	_, err := s.Sh(ctx, node, seek+`
for i in $(seq 9000); do lvcreate >/dev/null && exit 0; sleep 0.005; done; echo no lvcreate; exit 1`)
	return err
}

// gone waits until the volumes of deleted claims are deleted too.
func (s *scene) gone(ctx context.Context, ids []string) error {
	return bench.Until(ctx, settleLimit, func() error {
		out, err := s.Kubectl(ctx, "get", "pv", "-o", "name", "--ignore-not-found")
		if err != nil {
			return err
		}
		for _, id := range ids {
			if strings.Contains(string(out), id) {
				return fmt.Errorf("pv %s is still there", id)
			}
		}
		return nil
	})
}

// volumes are the names of the PersistentVolumes of a selection of claims.
func (s *scene) volumes(ctx context.Context, selector string) ([]string, error) {
	out, err := s.Kubectl(ctx, "get", "pvc", "-l", selector, "-o", "jsonpath={.items[*].spec.volumeName}")
	return strings.Fields(string(out)), err
}

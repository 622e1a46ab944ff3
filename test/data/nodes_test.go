package data

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

const nodeConfig = `classes:
  - name: fast
    select: {transport: [pcie]}
    layout: per-drive
    thin: {share: 80}
    thick: {share: 6}
    reserve: 5
`

// wholeNode is a node of the bed that is driven from outside.
type wholeNode struct {
	*bed.Node
	agent *rig.Agent
	log   rig.Tail
}

func startNode(t *testing.T) *wholeNode {
	t.Helper()
	return startNodeWith(t, nodeConfig, bed.Drive{Serial: "A", Size: 3 * gib}, bed.Drive{Serial: "B", Size: 3 * gib})
}

// startNodeWith starts a node with these drives, taken as the configuration says.
func startNodeWith(t *testing.T, config string, drives ...bed.Drive) *wholeNode {
	t.Helper()
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("starts a virtual machine: set LVME_TESTS=bed after `go run ./test/bed/cmd/bed build`")
	}
	n := &wholeNode{}
	var err error
	n.Node, err = bed.Start(t.Context(), bed.Options{Name: rig.NodeID, Drives: drives})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent said last:\n%s", n.log.Lines(40))
		}
		must(t, n.Close())
	})
	binary, err := rig.Build(t.Context(), t.TempDir())
	must(t, err)
	must(t, rig.Install(t.Context(), n.Node, binary, config))
	n.sh(t, rig.Binary+" init --yes")
	n.serve(t)
	return n
}

func (n *wholeNode) serve(t *testing.T) {
	t.Helper()
	var err error
	n.agent, err = rig.StartAgent(t.Context(), n.Node, &n.log)
	must(t, err)
}

func (n *wholeNode) sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := rig.Sh(t.Context(), n.Node, script, args...)
	must(t, err)
	return out
}

// maker makes volumes and snapshots one after the other, and notes those that
// it was told of.
type maker struct {
	mu   sync.Mutex
	made map[string]int64
	done chan struct{}
}

func (n *wholeNode) startMaker(ctx context.Context, source *rig.Volume) *maker {
	m := &maker{made: map[string]int64{}, done: make(chan struct{})}
	agent := n.agent
	note := func(id string, bytes int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.made[id] = bytes
	}
	go func() {
		defer close(m.done)
		for i := 0; ; i++ {
			v, err := agent.Create(ctx, rig.Spec{Name: fmt.Sprintf("made-%d", i), Bytes: 8 * mib})
			if err != nil {
				return // the power is off
			}
			note(v.ID, v.Size)
			s, err := agent.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: fmt.Sprintf("made-%d", i), SourceVolumeId: source.ID})
			if err != nil {
				return
			}
			note(s.GetSnapshot().GetSnapshotId(), s.GetSnapshot().GetSizeBytes())
		}
	}()
	return m
}

func (m *maker) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.made)
}

// listed are the ids and sizes that the agent lists.
func (n *wholeNode) listed(t *testing.T) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for _, e := range ask(t, n.agent.ListVolumes, &csi.ListVolumesRequest{}).GetEntries() {
		all[e.GetVolume().GetVolumeId()] = e.GetVolume().GetCapacityBytes()
	}
	for _, e := range ask(t, n.agent.ListSnapshots, &csi.ListSnapshotsRequest{}).GetEntries() {
		all[e.GetSnapshot().GetSnapshotId()] = e.GetSnapshot().GetSizeBytes()
	}
	return all
}

// TestNodePowerCut cuts the power while programs write and volumes are made:
// what was acknowledged is there afterwards.
func TestNodePowerCut(t *testing.T) {
	n := startNode(t)
	xfs, err := n.agent.Create(t.Context(), rig.Spec{Name: "xfs", FS: "xfs", Bytes: 320 * mib})
	must(t, err)
	ext4, err := n.agent.Create(t.Context(), rig.Spec{Name: "ext4", FS: "ext4", Bytes: 256 * mib})
	must(t, err)
	writers := map[*rig.Volume]*rig.Records{}
	for _, v := range []*rig.Volume{xfs, ext4} {
		must(t, n.agent.Publish(t.Context(), v))
		writers[v] = rig.StartRecords(t.Context(), n.Node, v.Target())
	}
	m := n.startMaker(t.Context(), xfs)
	eventually(t, "all are at work", func() bool {
		return m.count() >= 6 && len(writers[xfs].Lines()) > 10 && len(writers[ext4].Lines()) > 10
	})
	n.PowerCut()
	<-m.done
	n.agent.Kill()

	began := time.Now()
	must(t, n.Boot(t.Context()))
	n.serve(t)
	t.Logf("after %d volumes and snapshots: served again %.1f s after the power came back", m.count(), time.Since(began).Seconds())
	listed := n.listed(t)
	for id, bytes := range m.made {
		if listed[id] != bytes {
			t.Errorf("%s with %d bytes was acknowledged, %d are listed", id, bytes, listed[id])
		}
	}
	for v, s := range writers {
		must(t, n.agent.Publish(t.Context(), v))
		must(t, rig.CheckRecords(t.Context(), n.Node, v.Target(), s.Lines()))
		t.Logf("%s: all %d records that were acknowledged are there", v.Name, len(s.Lines()))
	}
	for _, v := range []*rig.Volume{xfs, ext4} {
		must(t, n.agent.Unpublish(t.Context(), v))
	}
	for _, id := range slices.Sorted(maps.Keys(listed)) {
		if strings.Contains(id, "/s-") {
			ask(t, n.agent.DeleteSnapshot, &csi.DeleteSnapshotRequest{SnapshotId: id})
		} else {
			ask(t, n.agent.DeleteVolume, &csi.DeleteVolumeRequest{VolumeId: id})
		}
	}
	if left := n.sh(t, `lvs --noheadings --options lv_name | grep -v pool || true`); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestNodeReboot shuts the node down in an orderly way with all in use.
func TestNodeReboot(t *testing.T) {
	n := startNode(t)
	volumes := []*rig.Volume{}
	for _, s := range []rig.Spec{
		{Name: "xfs", FS: "xfs", Bytes: 320 * mib}, {Name: "btrfs", FS: "btrfs", Bytes: 256 * mib}, {Name: "block", Bytes: 32 * mib},
		{Name: "thick", FS: "ext4", Bytes: 64 * mib, Parameters: map[string]string{"type": "thick"}},
	} {
		var v *rig.Volume
		// The share for thick volumes is wiped first.
		must(t, insistEver(t.Context(), func(ctx context.Context) (err error) { v, err = n.agent.Create(ctx, s); return err }))
		must(t, n.agent.Publish(t.Context(), v))
		volumes = append(volumes, v)
	}
	const sum = `if [ -d "$1" ]; then cat "$1"/data; else cat "$1"; fi | sha256sum`
	before := map[*rig.Volume]string{}
	for _, v := range volumes {
		// sync alone flushes no block device: what a thin pool has not committed
		// within its second is not on the drive.
		n.sh(t, `if [ -d "$1" ]; then head -c 3000000 /dev/urandom >"$1"/data; sync -f "$1"; else head -c 3000000 /dev/urandom | dd of="$1" conv=fsync,notrunc status=none; fi`, v.Target())
		before[v] = n.sh(t, sum, v.Target())
	}
	listed := n.listed(t)
	n.agent.Kill()
	must(t, n.Reboot(t.Context()))
	n.serve(t)
	if again := n.listed(t); !maps.Equal(again, listed) {
		t.Errorf("listed %v, before the reboot %v", again, listed)
	}
	for _, v := range volumes {
		must(t, n.agent.Publish(t.Context(), v))
		if again := n.sh(t, sum, v.Target()); again != before[v] {
			t.Errorf("%s has another content", v.Name)
		}
		must(t, n.agent.Unpublish(t.Context(), v))
		must(t, n.agent.Delete(t.Context(), v))
	}
}

// insistEver calls until it is done, whatever the answers are.
func insistEver(ctx context.Context, call func(context.Context) error) error {
	end := time.Now().Add(patience)
	for {
		err := call(ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(200 * time.Millisecond) // nothing tells a caller that it is worth to come again
	}
}

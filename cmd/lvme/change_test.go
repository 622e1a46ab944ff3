package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

func TestInitShowsThePlanAndTakesTheDrives(t *testing.T) {
	b := newBench(t, 3)
	b.host.LVM.Sign("/dev/nvme1n1", "ext4")
	b.host.Change("/dev/nvme1n1", func(d *drive.Drive) { d.Content = drive.Content{Probed: true, Signatures: []string{"ext4"}} })
	b.host.Change("/dev/nvme2n1", func(d *drive.Drive) { d.Content.Blank = false })

	out, _ := b.node(exitOK, "init", "--dry-run")
	golden(t, "init-dry-run.txt", out)

	_, stderr := b.node(exitFailed, "init")
	has(t, stderr, "--yes", "nothing was changed")
	b.answer = "n\n"
	_, stderr = b.node(exitFailed, "init")
	has(t, stderr, "Take 2 drives?", "not confirmed: nothing was changed")
	if strings.Contains(b.host.LVM.String(), "lvme-") {
		t.Fatalf("something was taken:\n%s", b.host.LVM.String())
	}

	b.answer = "yes\n"
	out, _ = b.node(exitOK, "init")
	has(t, out, "make a volume group of", "... done in 1s", "Took 2 drives")
	before := b.host.LVM.String()
	if strings.Count(before, "lvme-") < 2 {
		t.Fatalf("not taken:\n%s", before)
	}

	b.answer = ""
	out, _ = b.node(exitOK, "init")
	has(t, out, "Drives taken already: 2", "Nothing to do", "Nothing was changed", "nvme1n1")
	if after := b.host.LVM.String(); after != before {
		t.Errorf("the second init changed:\n%s\nwas\n%s", after, before)
	}
	b.host.LVM.Check(t)
}

func TestInitOfNamedDrives(t *testing.T) {
	b := newBench(t, 3)
	b.host.Change("/dev/nvme1n1", func(d *drive.Drive) { d.Content = drive.Content{Probed: true, Signatures: []string{"ext4"}} })
	b.host.Change("/dev/nvme2n1", func(d *drive.Drive) { d.Paths = []string{"/dev/disk/by-id/nvme-eui.3"} })
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"nvme7n1"}, []string{"nvme7n1 is no NVMe drive", "lvme drives"}},
		{[]string{"nvme1n1"}, []string{"nvme1n1 cannot be taken", "ext4"}},
		{[]string{"nvme1n1", "nvme7n1"}, []string{"nvme1n1 cannot", "nvme7n1 is no"}},
		{[]string{"--class", "slow"}, []string{"--class", `"slow"`, "default"}},
	} {
		_, stderr := b.node(exitFailed, append([]string{"init", "--yes"}, tc.args...)...)
		has(t, stderr, tc.want...)
	}
	if strings.Contains(b.host.LVM.String(), "lvme-") {
		t.Fatalf("something was taken:\n%s", b.host.LVM.String())
	}
	out, _ := b.node(exitOK, "init", "--yes", "/dev/disk/by-id/nvme-eui.3")
	has(t, out, "Took 1 drive ", "nvme2n1")
	out, _ = b.node(exitOK, "init", "--yes", "LVME0002")
	has(t, out, "Nothing to do")
	if out, _ = b.node(exitOK, "drives"); strings.Count(out, "ours") != 1 {
		t.Errorf("drives:\n%s", out)
	}
}

func TestInitFinishesWhatWasInterrupted(t *testing.T) {
	b := newBench(t, 1)
	b.host.LVM.CrashNth(2, false) // the VG stands, its pool does not,
	b.host.LVM.CrashNth(2, false) // nor at the second attempt
	b.node(exitFailed, "init", "--yes")
	out, _ := b.node(exitOK, "init", "--dry-run")
	has(t, out, "Dry run")
	out, _ = b.node(exitOK, "init")
	has(t, out, "finish", "done in")
	out, _ = b.node(exitOK, "pools", "-o", "json")
	var v poolsView
	if err := json.Unmarshal([]byte(out), &v); err != nil || len(v.Pools) != 1 || v.Pools[0].ThinBytes == 0 || v.Pools[0].Problem != "" {
		t.Errorf("%s, %v", out, err)
	}
}

func TestInitSaysWhatFailed(t *testing.T) {
	b := newBench(t, 1)
	b.host.LVM.FailNth(1)
	out, stderr := b.node(exitFailed, "init", "--yes")
	has(t, out, "failed in")
	has(t, stderr, "/dev/nvme0n1", "on purpose")
}

func TestAdopt(t *testing.T) {
	b := newBench(t, 1)
	_, stderr := b.node(exitFailed, "adopt", "--yes")
	has(t, stderr, "nothing to adopt")
	b.node(exitOK, "init", "--yes")
	var key string
	b.store(func(s *volume.Store) { key = s.Key() })
	out, _ := b.node(exitOK, "adopt")
	has(t, out, "Nothing to do", key)

	b.state += "-of-another-system"
	_, stderr = b.node(exitFailed, "init", "--yes")
	has(t, stderr, key, "lvme adopt")
	_, stderr = b.node(exitOK, "volumes")
	has(t, stderr, key, "lvme adopt")
	_, stderr = b.node(exitFailed, "adopt")
	has(t, stderr, "--yes", "nothing was changed")
	b.answer = "y\n"
	out, _ = b.node(exitOK, "adopt")
	has(t, out, "carry store "+key, "node of store "+key+" now")
	out, _ = b.node(exitOK, "drives")
	has(t, out, "ours")
}

func TestForget(t *testing.T) {
	b := newBench(t, 2)
	b.node(exitOK, "init", "--yes")
	id := "eui.00000000000000000000000000000001"
	_, stderr := b.node(exitFailed, "drives", "forget", id, "--yes")
	has(t, stderr, "only drives that are away")
	_, stderr = b.node(exitFailed, "drives", "forget", "--serial", "nope", "--yes")
	has(t, stderr, "nope", "lvme drives -o wide")

	b.host.Unplug("/dev/nvme0n1")
	out, _ := b.node(exitOK, "drives")
	has(t, out, "away", "LVME0000", "lvme drives forget")
	out, _ = b.node(exitOK, "pools")
	has(t, out, "(LVME0000)", "not in this node")
	_, stderr = b.node(exitOK, "volumes")
	has(t, stderr, "is not listed")
	out, stderr = b.node(exitFailed, "drives", "forget", id)
	has(t, out, "LVME0000")
	has(t, stderr, "nothing was changed")
	out, _ = b.node(exitOK, "drives", "forget", "--serial", "LVME0000", "--yes")
	has(t, out, "forgot volume group lvme-")
	out, _ = b.node(exitOK, "drives")
	if strings.Contains(out, "away") || !strings.Contains(out, "LVME0001") {
		t.Errorf("after forget:\n%s", out)
	}
	b.host.Replug("/dev/nvme0n1")
	out, _ = b.node(exitOK, "drives")
	has(t, out, "given up with `lvme drives forget`")
}

func TestVolumesAndSnapshots(t *testing.T) {
	b := newBench(t, 1)
	b.node(exitOK, "init", "--yes")
	b.store(func(s *volume.Store) {
		v, err := s.Create(t.Context(), volume.CreateSpec{Name: "pvc-1 größe", Mode: volume.Filesystem, FSType: "xfs", Size: volume.Range{Required: 1 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateSnapshot(t.Context(), volume.SnapshotSpec{Name: "snap-1", Source: v.Key}); err != nil {
			t.Fatal(err)
		}
	})
	out, _ := b.node(exitOK, "volumes", "-o", "wide")
	has(t, out, "pvc-1 größe", "1Gi", "xfs", "fresh", "general")
	out, _ = b.node(exitOK, "volumes", "-o", "json")
	var v volumesView
	if err := json.Unmarshal([]byte(out), &v); err != nil || len(v.Volumes) != 1 || v.Volumes[0].Bytes != 1<<30 || v.Volumes[0].Name != "pvc-1 größe" || v.Store == "" {
		t.Errorf("%s, %v", out, err)
	}
	out, _ = b.node(exitOK, "snapshots", "-o", "json")
	var s snapshotsView
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Snapshots) != 1 || s.Snapshots[0].Source != v.Volumes[0].ID {
		t.Errorf("%s, %v", out, err)
	}
	out, _ = b.node(exitOK, "snapshots")
	has(t, out, "snap-1")
	out, _ = b.node(exitOK, "pools", "-o", "json")
	var p poolsView
	if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Pools) != 1 || p.Pools[0].Volumes != 1 || p.Pools[0].Snapshots != 1 {
		t.Errorf("%s, %v", out, err)
	}
}

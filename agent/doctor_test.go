package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/volume"
)

// examined is what the doctor finds, but for what a running agent mends by
// itself within minutes.
func examined(t *testing.T, h *agenttest.Host, o agent.Options) []volume.Finding {
	t.Helper()
	found, err := agent.Doctor(t.Context(), h.Agent(), o.StateDir, o.Config, h.Mounts.Root)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(found, func(f volume.Finding) bool { return f.Check == volume.CheckBackup })
}

func wantFindings(t *testing.T, what string, found []volume.Finding, want ...string) {
	t.Helper()
	var have []string
	for _, f := range found {
		have = append(have, fmt.Sprintf("%s %s on %s: %s", f.Severity, f.Check, f.On, f.Mend))
		if f.Meaning == "" {
			t.Errorf("%s: it says nothing: %+v", what, f)
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("%s: found\n  %s\nwant\n  %s", what, strings.Join(have, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestDoctorOfAHost(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	wantFindings(t, "a host without a store", examined(t, host, o))
	takeAll(t, o, host.Agent())
	wantFindings(t, "a store without an agent", examined(t, host, o), "warning agent on host: ")
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	wantFindings(t, "a store with an agent", examined(t, host, o))
	r.Stop()

	elsewhere := o
	elsewhere.StateDir = filepath.Join(t.TempDir(), "other")
	wantFindings(t, "drives of a chassis that was replaced", examined(t, host, elsewhere), "error adopt on host: lvme adopt")
}

func TestDoctorOfPrograms(t *testing.T) {
	for _, tc := range []struct{ program, severity, pkg string }{
		{"dmsetup", "warning", "dmsetup"},
		{"thin_check", "error", "thin-provisioning-tools"},
		{"thin_ls", "warning", "thin-provisioning-tools"},
		{"thin_repair", "warning", "device-mapper-persistent-data"},
		{"blkid", "error", "util-linux"},
		{"mount", "error", "mount"},
		{"mkfs.ext4", "warning", "e2fsprogs"},
		{"e2fsck", "warning", "e2fsprogs"},
		{"resize2fs", "warning", "e2fsprogs"},
		{"mkfs.xfs", "warning", "xfsprogs"},
		{"xfs_growfs", "warning", "xfsprogs"},
		{"mkfs.btrfs", "warning", "btrfs-progs"},
	} {
		host, o := agenttest.NewHost(t, 0), agenttest.Options(t)
		host.LVM.Lack(tc.program)
		found := examined(t, host, o)
		wantFindings(t, tc.program, found, fmt.Sprintf("%s program on %s: ", tc.severity, tc.program))
		if len(found) > 0 && !strings.Contains(found[0].Meaning, tc.pkg) {
			t.Errorf("%s: %s does not name %s", tc.program, found[0].Meaning, tc.pkg)
		}
	}
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	takeAll(t, o, host.Agent())
	host.LVM.Uninstall(true)
	found := examined(t, host, o)
	if len(found) == 0 || found[0].Severity != volume.SeverityError || found[0].Check != volume.CheckProgram || !strings.Contains(found[0].Meaning, "lvm2") {
		t.Errorf("a host without LVM: %+v", found)
	}
}

// TestDoctorOfMounts: what is mounted without a volume, and a volume that is
// active without being mounted.
func TestDoctorOfMounts(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	created, err := csi.NewControllerClient(r.Conn).CreateVolume(t.Context(), createRequest("a"))
	if err != nil {
		t.Fatal(err)
	}
	id := created.GetVolume().GetVolumeId()
	target := filepath.Join(host.Mounts.Root, "staged")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	stage := &csi.NodeStageVolumeRequest{
		VolumeId: id, StagingTargetPath: target, VolumeCapability: createRequest("a").GetVolumeCapabilities()[0], VolumeContext: created.GetVolume().GetVolumeContext(),
	}
	if _, err := csi.NewNodeClient(r.Conn).NodeStageVolume(t.Context(), stage); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, "a staged volume", examined(t, host, o))
	table, err := host.Mounts.Table()
	if err != nil || len(table) != 1 {
		t.Fatalf("mounts %+v, %v", table, err)
	}
	key, err := volume.ParseKey(id)
	if err != nil {
		t.Fatal(err)
	}
	lv := volume.VGName(key.VG) + "/" + key.LV

	host.Mounts.Reboot() // forgets the mounts alone
	wantFindings(t, "active and not mounted", examined(t, host, o), fmt.Sprintf("info volume-unused on %s: lvchange --devices /dev/nvme0n1 -an %s", lv, lv))

	if _, err := csi.NewNodeClient(r.Conn).NodeStageVolume(t.Context(), stage); err != nil {
		t.Fatal(err)
	}
	host.LVM.Reboot() // forgets the devices alone
	pool := fmt.Sprintf("error pool-off on %s/pool: lvchange --devices /dev/nvme0n1 -ay -K %s/pool", volume.VGName(key.VG), volume.VGName(key.VG))
	wantFindings(t, "mounted and not active", examined(t, host, o), fmt.Sprintf("error mount on %s: umount %s", target, target), pool)
	host.Mounts.MountOther(filepath.Join(host.Mounts.Root, "tmpfs"))
	wantFindings(t, "somebody else's mount", examined(t, host, o), fmt.Sprintf("error mount on %s: umount %s", target, target), pool)
}

package sanity

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/volume"
)

// TestLeftovers leaves things behind and wants them found.
func TestLeftovers(t *testing.T) {
	r := &round{kind: volume.Thin, access: "mount", host: fakeBench}
	r.begin(t)
	wantLeft(t, r)

	capability := &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: new(csi.VolumeCapability_MountVolume)},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
	made, err := csi.NewControllerClient(r.agent.Conn).CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability}, Parameters: map[string]string{driver.ParamType: "thin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLeft(t, r, "the store has the volumes", "/v-pvc-1 is left")

	nodes, staging := csi.NewNodeClient(r.agent.Conn), filepath.Join(r.bench.root, "staging")
	_, err = nodes.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: made.GetVolume().GetVolumeId(), StagingTargetPath: staging, VolumeCapability: capability,
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLeft(t, r, "the store has the volumes", "/v-pvc-1 is left", "device lvme--", "mount ", "staging is still there")

	// Behind the agent's back an LV goes and another comes.
	behind, vg := lvm.New(r.bench.Runner, r.bench.Kernel), r.bench.report(t).VGs[0].VG()
	if _, err := nodes.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{
		VolumeId: made.GetVolume().GetVolumeId(), StagingTargetPath: staging,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := csi.NewControllerClient(r.agent.Conn).DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: made.GetVolume().GetVolumeId()}); err != nil {
		t.Fatal(err)
	}
	if err := behind.CreateThick(t.Context(), vg, lvm.ThickSpec{Name: "strange", Size: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, r, "the store remembers", "/strange is left", "staging is still there")
}

// wantLeft wants these leftovers and no others.
func wantLeft(t *testing.T, r *round, want ...string) {
	t.Helper()
	left := r.bench.leftovers(t, r.agent)
	for i, l := range left {
		if i >= len(want) || !strings.Contains(l, want[i]) {
			t.Errorf("found %q, want %q", left, want)
			return
		}
	}
	if len(left) < len(want) {
		t.Errorf("found %q, want %q", left, want)
	}
}

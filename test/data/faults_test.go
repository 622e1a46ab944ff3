package data

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// testNoLVM: without LVM nothing is said of what exists, and all is well again
// when it is back.
func testNoLVM(t *testing.T, n *node) {
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	v.mkdirs(t)
	restore := n.withoutLVM(t)
	for what, call := range map[string]func() error{
		"create": func() error {
			_, err := n.CreateVolume(t.Context(), spec{name: "b", bytes: mib}.request())
			return err
		},
		"create again": func() error { _, err := n.CreateVolume(t.Context(), v.request()); return err },
		"snapshot": func() error {
			_, err := n.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.id})
			return err
		},
		"stage":  func() error { _, err := n.NodeStageVolume(t.Context(), v.stageRequest()); return err },
		"expand": func() error { _, err := n.ControllerExpandVolume(t.Context(), v.expandRequest(gib)); return err },
		"delete": func() error { return n.drop(t.Context(), v.id) },
		"get": func() error {
			_, err := n.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: v.id})
			return err
		},
		"list": func() error { _, err := n.ListVolumes(t.Context(), &csi.ListVolumesRequest{}); return err },
	} {
		err := call()
		if c := status.Code(err); c != codes.Unavailable && (err != nil || what == "delete" || what == "stage" || what == "snapshot") {
			t.Errorf("%s without LVM: %v", what, err)
		}
		if err != nil && !strings.Contains(err.Error(), "install the package lvm2") {
			t.Errorf("%s without LVM names no next step: %v", what, err)
		}
	}
	_, err := n.CreateVolume(t.Context(), spec{name: "b", bytes: mib}.request())
	if c := status.Code(err); c == codes.OK || c == codes.NotFound {
		t.Errorf("create: %v", err)
	}
	restore()
	n.recovers(t)
	n.publish(t, v)
	n.unpublish(t, v)
	n.remove(t, v.id)
}

// recovers waits until the agent can look at its pools again.
func (n *node) recovers(t *testing.T) {
	t.Helper()
	must(t, insist(t.Context(), func(ctx context.Context) error {
		_, err := n.ListVolumes(ctx, &csi.ListVolumesRequest{})
		return err
	}, codes.Unavailable))
}

// withoutLVM takes LVM off the host until restore is called.
func (n *node) withoutLVM(t *testing.T) (restore func()) {
	t.Helper()
	if n.fake != nil {
		n.fake.host.LVM.Uninstall(true)
		return func() { n.fake.host.LVM.Uninstall(false) }
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		lvm, err := filepath.EvalSymlinks(dir + "/lvm")
		if err != nil {
			continue
		}
		must(t, os.Rename(lvm, lvm+".away"))
		return func() { must(t, os.Rename(lvm+".away", lvm)) }
	}
	t.Fatal("where is lvm?")
	return nil
}

// testPoolOff: somebody switched a pool off by hand. Every call works, or says
// what is the matter.
func testPoolOff(t *testing.T, n *node) {
	for _, vg := range n.scan(t) {
		must(t, n.lvm().Deactivate(t.Context(), vg.VG(), "pool"))
	}
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	n.publish(t, v)
	snapshot := n.snapshot(t, "s", v)
	n.unpublish(t, v)
	n.remove(t, v.id, snapshot)
	n.restart(t)
	for _, vg := range n.scan(t) {
		if _, err := n.lvm().PoolStatus(t.Context(), vg.Name, "pool"); err != nil {
			t.Errorf("the agent does not switch its pools on: %v", err)
		}
	}
}

// testPoolGone: somebody removed the pools.
func testPoolGone(t *testing.T, n *node) {
	for _, vg := range n.scan(t) {
		must(t, n.lvm().Deactivate(t.Context(), vg.VG(), "pool"))
		must(t, n.lvm().Remove(t.Context(), vg.VG(), "pool"))
	}
	for range 3 {
		_, err := n.CreateVolume(t.Context(), spec{name: "a", bytes: mib}.request())
		refused(t, "create without a pool", err, codes.ResourceExhausted, "has no thin pool", "lvme init")
	}
	n.restart(t) // which makes what is missing
	n.consistent(t)
	v := n.create(t, spec{name: "a", bytes: mib})
	n.remove(t, v.id)
	n.wiped(t)
}

// testPoolDamaged: a pool needs a person. The others go on, and what was in it
// is not gone.
func testPoolDamaged(t *testing.T, n *node) {
	v := n.create(t, spec{name: "a", bytes: mib})
	v.mkdirs(t)
	n.reboot(t)
	vg, _ := v.lv()
	n.fake.host.LVM.Damage(vg, "pool")
	n.connect(t)
	_, err := n.NodeStageVolume(t.Context(), v.stageRequest())
	refused(t, "stage", err, codes.FailedPrecondition, "repair")
	if _, err := n.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: v.id}); err != nil {
		t.Errorf("get: %v", err)
	}
	err = n.drop(t.Context(), v.id)
	refused(t, "delete", err, codes.FailedPrecondition, "repair")
	_, err = n.CreateVolume(t.Context(), spec{name: "clone", source: v.id}.request())
	if c := status.Code(err); c == codes.OK || c == codes.Internal {
		t.Errorf("clone: %v", err)
	}
	other := n.create(t, spec{name: "b", bytes: mib})
	n.publish(t, other)
	n.unpublish(t, other)
	n.spoiled = true
}

// testDrivePulled: what lies on a drive that is away is away, not gone.
func testDrivePulled(t *testing.T, n *node) {
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	n.publish(t, v)
	n.unpublish(t, v)
	n.spoiled = true
	serial, replug := n.pull(t, v)
	get := func() error {
		_, err := n.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: v.id})
		return err
	}
	eventually(t, "the drive is noticed to be away", func() bool { return get() != nil })
	for what, err := range map[string]error{
		"get": get(),
		"stage": func() error {
			_, err := n.NodeStageVolume(t.Context(), v.stageRequest())
			return err
		}(),
		"delete": n.drop(t.Context(), v.id),
		"expand": func() error {
			_, err := n.ControllerExpandVolume(t.Context(), v.expandRequest(gib))
			return err
		}(),
		"snapshot": func() error {
			_, err := n.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.id})
			return err
		}(),
	} {
		refused(t, what, err, codes.Unavailable, serial, "plug it in again")
	}
	other := n.create(t, spec{name: "b", bytes: 4 * mib})
	if other.vg() == v.vg() {
		t.Errorf("made on the drive that is away: %s", other.id)
	}
	n.publish(t, other)
	n.unpublish(t, other)
	n.remove(t, other.id)
	replug()
	eventually(t, "the drive is noticed to be back", func() bool { return get() == nil })
	n.publish(t, v)
	n.unpublish(t, v)
	n.remove(t, v.id)
}

// pull takes away the drive that holds the volume.
func (n *node) pull(t *testing.T, v *vol) (serial string, replug func()) {
	t.Helper()
	vg, _ := v.lv()
	device := ""
	for _, r := range n.scan(t) {
		if r.Name == vg {
			device = r.PVs[0].Device
		}
	}
	if n.fake != nil {
		all, err := n.fake.host.Agent().Drives(t.Context())
		must(t, err)
		for _, d := range all {
			if d.Path == device {
				serial = d.Serial
			}
		}
		n.fake.host.Unplug(device)
		return serial, func() { n.fake.host.Replug(device) }
	}
	name := filepath.Base(device)
	text, err := os.ReadFile("/sys/block/" + name + "/device/serial")
	must(t, err)
	must(t, os.WriteFile("/sys/block/"+name+"/device/device/remove", []byte("1"), 0))
	return strings.TrimSpace(string(text)), func() {
		must(t, os.WriteFile("/sys/bus/pci/rescan", []byte("1"), 0))
	}
}

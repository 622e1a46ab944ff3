package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
)

// spec says what volume is wanted.
type spec struct {
	name string
	// fs is its filesystem, empty for a raw block volume.
	fs    string
	bytes int64
	// thick has it own its blocks from the start.
	thick bool
	// source is the id of what it is to be a copy of.
	source string
}

// minBytes is a small size that each filesystem takes.
func minBytes(fs string) int64 {
	return map[string]int64{"xfs": 300 * mib, "btrfs": 256 * mib, "ext4": 48 * mib, "": 32 * mib}[fs]
}

// vol is a volume that was made.
type vol struct {
	spec
	id   string
	size int64
	root string
}

func (s spec) capability() *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	if s.fs != "" {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: s.fs}}
	}
	return c
}

func sourceOf(id string) *csi.VolumeContentSource {
	switch {
	case id == "":
		return nil
	case strings.Contains(id, "/s-"):
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
	}
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id}}}
}

// request asks for the volume as csi-provisioner does.
func (s spec) request() *csi.CreateVolumeRequest {
	r := &csi.CreateVolumeRequest{
		Name: s.name, VolumeCapabilities: []*csi.VolumeCapability{s.capability()}, VolumeContentSource: sourceOf(s.source),
		CapacityRange: &csi.CapacityRange{RequiredBytes: s.bytes}, Parameters: map[string]string{},
	}
	if s.bytes == 0 {
		r.CapacityRange = nil
	}
	if s.thick {
		r.Parameters["type"] = "thick"
	}
	return r
}

// made reads the answer to a request.
func (n *node) made(t *testing.T, s spec, r *csi.CreateVolumeResponse) *vol {
	t.Helper()
	v := &vol{spec: s, id: r.GetVolume().GetVolumeId(), size: r.GetVolume().GetCapacityBytes(), root: n.root}
	if v.id == "" || v.size < s.bytes || !proto.Equal(r.GetVolume().GetContentSource(), sourceOf(s.source)) {
		t.Fatalf("asked for %+v, got %v", s, r)
	}
	return v
}

func (n *node) create(t *testing.T, s spec) *vol {
	t.Helper()
	return n.made(t, s, ask(t, n.CreateVolume, s.request()))
}

// staging is where a kubelet has the volume staged; it makes the directory.
func (v *vol) staging() string { return filepath.Join(v.root, "plugins", v.key(), "globalmount") }

// target is where a pod finds the volume; the kubelet makes its parent only.
func (v *vol) target() string { return filepath.Join(v.root, "pods", v.key(), "mount") }

// key is short and fit for a path whatever the volume's name is.
func (v *vol) key() string { return filepath.Base(v.id) }

func (v *vol) mkdirs(t *testing.T) {
	t.Helper()
	must(t, v.makeDirs())
}

func (v *vol) makeDirs() error {
	return errors.Join(os.MkdirAll(v.staging(), 0o750), os.MkdirAll(filepath.Dir(v.target()), 0o750))
}

func (v *vol) stageRequest() *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging(), VolumeCapability: v.capability()}
}

func (v *vol) publishRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging(), TargetPath: v.target(), VolumeCapability: v.capability()}
}

func (v *vol) unpublishRequest() *csi.NodeUnpublishVolumeRequest {
	return &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: v.target()}
}

func (v *vol) unstageRequest() *csi.NodeUnstageVolumeRequest {
	return &csi.NodeUnstageVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging()}
}

func (v *vol) expandRequest(bytes int64) *csi.ControllerExpandVolumeRequest {
	return &csi.ControllerExpandVolumeRequest{VolumeId: v.id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}}
}

func (v *vol) nodeExpandRequest(bytes int64) *csi.NodeExpandVolumeRequest {
	return &csi.NodeExpandVolumeRequest{
		VolumeId: v.id, VolumePath: v.target(), StagingTargetPath: v.staging(), CapacityRange: &csi.CapacityRange{RequiredBytes: bytes},
	}
}

// publish stages and publishes.
func (n *node) publish(t *testing.T, volumes ...*vol) {
	t.Helper()
	for _, v := range volumes {
		v.mkdirs(t)
		ask(t, n.NodeStageVolume, v.stageRequest())
		ask(t, n.NodePublishVolume, v.publishRequest())
	}
}

// unpublish unpublishes and unstages.
func (n *node) unpublish(t *testing.T, volumes ...*vol) {
	t.Helper()
	for _, v := range volumes {
		ask(t, n.NodeUnpublishVolume, v.unpublishRequest())
		ask(t, n.NodeUnstageVolume, v.unstageRequest())
	}
}

// expand makes a volume larger, as csi-resizer and a kubelet do.
func (n *node) expand(t *testing.T, v *vol, bytes int64) {
	t.Helper()
	r := ask(t, n.ControllerExpandVolume, v.expandRequest(bytes))
	if r.GetNodeExpansionRequired() && v.fs == "" || r.GetCapacityBytes() < bytes {
		t.Errorf("expand to %d: %v", bytes, r)
	}
	if v.size = r.GetCapacityBytes(); r.GetNodeExpansionRequired() {
		ask(t, n.NodeExpandVolume, v.nodeExpandRequest(bytes))
	}
}

func (n *node) snapshot(t *testing.T, name string, of *vol) (id string) {
	t.Helper()
	s := ask(t, n.CreateSnapshot, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: of.id}).GetSnapshot()
	if s.GetSourceVolumeId() != of.id || s.GetSizeBytes() != of.size || !s.GetReadyToUse() {
		t.Fatalf("snapshot %s: %v", name, s)
	}
	return s.GetSnapshotId()
}

// remove deletes a volume or a snapshot, twice: what is gone is deleted.
func (n *node) remove(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		for range 2 {
			must(t, insist(t.Context(), func(ctx context.Context) error { return n.drop(ctx, id) }))
		}
	}
}

// drop makes the one call that deletes what has that id.
func (n *node) drop(ctx context.Context, id string) (err error) {
	if strings.Contains(id, "/s-") {
		_, err = n.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
	} else {
		_, err = n.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
	}
	return err
}

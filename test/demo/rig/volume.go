package rig

import (
	"cmp"
	"context"
	"fmt"
	"path"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Spec says what volume is wanted.
type Spec struct {
	Name string
	// FS is its filesystem, empty for a raw block volume.
	FS    string
	Bytes int64
	// Parameters are those of a StorageClass.
	Parameters map[string]string
	// Snapshot or Volume is the id of what it is to be a copy of.
	Snapshot, Volume string
}

// Volume is a volume that was created.
type Volume struct {
	Spec
	ID string
	// Size is what the agent says it has, in bytes.
	Size int64
	// Root is the kubelet's directory, /var/lib/kubelet if empty.
	Root string
}

func (v *Volume) below(name string) string {
	return path.Join(cmp.Or(v.Root, "/var/lib/kubelet"), name)
}

const plugins = "plugins/kubernetes.io/csi/"

// Staging is where a kubelet has the volume staged.
func (v *Volume) Staging() string {
	if v.FS == "" {
		return v.below(plugins + "volumeDevices/staging/" + v.Name)
	}
	return v.below(plugins + "csi.lvme.dev/" + v.Name + "/globalmount")
}

// Target is where the volume's pod finds it: a directory, or a device node for a block volume.
func (v *Volume) Target() string {
	if v.FS == "" {
		return v.below(plugins + "volumeDevices/publish/" + v.Name + "/pod")
	}
	return v.below("pods/" + v.Name + "/volumes/kubernetes.io~csi/" + v.Name + "/mount")
}

func (s Spec) capability() *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	if s.FS != "" {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: s.FS}}
	}
	return c
}

func (s Spec) source() *csi.VolumeContentSource {
	switch {
	case s.Snapshot != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: s.Snapshot},
		}}
	case s.Volume != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: s.Volume},
		}}
	}
	return nil
}

// Request asks for the volume as csi-provisioner does.
func (s Spec) Request() *csi.CreateVolumeRequest {
	r := &csi.CreateVolumeRequest{
		Name:                s.Name,
		VolumeCapabilities:  []*csi.VolumeCapability{s.capability()},
		Parameters:          s.Parameters,
		VolumeContentSource: s.source(),
	}
	if s.Bytes > 0 { // A copy may leave it open.
		r.CapacityRange = &csi.CapacityRange{RequiredBytes: s.Bytes}
	}
	return r
}

// StageRequest and the others are what a kubelet and csi-resizer ask for.
func (v *Volume) StageRequest() *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{VolumeId: v.ID, StagingTargetPath: v.Staging(), VolumeCapability: v.capability()}
}

// PublishRequest publishes what is staged.
func (v *Volume) PublishRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{VolumeId: v.ID, StagingTargetPath: v.Staging(), TargetPath: v.Target(), VolumeCapability: v.capability()}
}

// UnpublishRequest undoes that.
func (v *Volume) UnpublishRequest() *csi.NodeUnpublishVolumeRequest {
	return &csi.NodeUnpublishVolumeRequest{VolumeId: v.ID, TargetPath: v.Target()}
}

// UnstageRequest undoes StageRequest.
func (v *Volume) UnstageRequest() *csi.NodeUnstageVolumeRequest {
	return &csi.NodeUnstageVolumeRequest{VolumeId: v.ID, StagingTargetPath: v.Staging()}
}

// ExpandRequest makes the device larger.
func (v *Volume) ExpandRequest(bytes int64) *csi.ControllerExpandVolumeRequest {
	return &csi.ControllerExpandVolumeRequest{
		VolumeId: v.ID, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: v.capability(),
	}
}

// NodeExpandRequest makes a published volume's filesystem as large as its device.
func (v *Volume) NodeExpandRequest(bytes int64) *csi.NodeExpandVolumeRequest {
	return &csi.NodeExpandVolumeRequest{
		VolumeId: v.ID, VolumePath: v.Target(), StagingTargetPath: v.Staging(),
		CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: v.capability(),
	}
}

// Dirs are what a kubelet makes before it stages and publishes.
func (v *Volume) Dirs() []string { return []string{v.Staging(), path.Dir(v.Target())} }

// Create has a volume made, as csi-provisioner does.
func (a *Agent) Create(ctx context.Context, s Spec) (*Volume, error) {
	resp, err := a.CreateVolume(ctx, s.Request())
	if err != nil {
		return nil, err
	}
	v := &Volume{Spec: s, ID: resp.GetVolume().GetVolumeId(), Size: resp.GetVolume().GetCapacityBytes()}
	if v.Size < s.Bytes {
		return nil, fmt.Errorf("volume %s has %d bytes, %d were wanted", v.ID, v.Size, s.Bytes)
	}
	return v, nil
}

// Publish has a volume staged and published, as a kubelet does for the volume's first pod.
func (a *Agent) Publish(ctx context.Context, v *Volume) error {
	if _, err := Sh(ctx, a.node, `mkdir -m 0750 -p "$@"`, v.Dirs()...); err != nil {
		return err
	}
	if _, err := a.NodeStageVolume(ctx, v.StageRequest()); err != nil {
		return fmt.Errorf("stage %s: %w", v.Name, err)
	}
	if _, err := a.NodePublishVolume(ctx, v.PublishRequest()); err != nil {
		return fmt.Errorf("publish %s: %w", v.Name, err)
	}
	return nil
}

// Unpublish takes a volume from its pod and unstages it.
func (a *Agent) Unpublish(ctx context.Context, v *Volume) error {
	if _, err := a.NodeUnpublishVolume(ctx, v.UnpublishRequest()); err != nil {
		return fmt.Errorf("unpublish %s: %w", v.Name, err)
	}
	if _, err := a.NodeUnstageVolume(ctx, v.UnstageRequest()); err != nil {
		return fmt.Errorf("unstage %s: %w", v.Name, err)
	}
	return nil
}

// Expand makes a published volume larger, first as csi-resizer and then as a kubelet does.
func (a *Agent) Expand(ctx context.Context, v *Volume, bytes int64) error {
	resp, err := a.ControllerExpandVolume(ctx, v.ExpandRequest(bytes))
	if err != nil {
		return fmt.Errorf("expand %s: %w", v.Name, err)
	}
	v.Size = resp.GetCapacityBytes()
	if !resp.GetNodeExpansionRequired() {
		return nil
	}
	if _, err := a.NodeExpandVolume(ctx, v.NodeExpandRequest(bytes)); err != nil {
		return fmt.Errorf("expand %s on the node: %w", v.Name, err)
	}
	return nil
}

// Delete deletes a volume.
func (a *Agent) Delete(ctx context.Context, v *Volume) error {
	if _, err := a.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.ID}); err != nil {
		return fmt.Errorf("delete %s: %w", v.Name, err)
	}
	return nil
}

// Snapshot takes a snapshot of a volume and returns its id.
func (a *Agent) Snapshot(ctx context.Context, name string, of *Volume) (id string, err error) {
	resp, err := a.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: of.ID})
	if err != nil {
		return "", fmt.Errorf("snapshot %s of %s: %w", name, of.Name, err)
	}
	if s := resp.GetSnapshot(); !s.GetReadyToUse() || s.GetSourceVolumeId() != of.ID {
		return "", fmt.Errorf("snapshot %s of %s: answered with %v", name, of.Name, s)
	}
	return resp.GetSnapshot().GetSnapshotId(), nil
}

// Available is how many bytes of volumes of a type ("thin", "thick") can still be made.
func (a *Agent) Available(ctx context.Context, kind string) (int64, error) {
	resp, err := a.GetCapacity(ctx, &csi.GetCapacityRequest{Parameters: map[string]string{"type": kind}})
	if err != nil {
		return 0, fmt.Errorf("capacity for %s volumes: %w", kind, err)
	}
	return resp.GetAvailableCapacity(), nil
}

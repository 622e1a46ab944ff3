package speed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
)

// made is a volume that the run has made.
type made struct {
	Layer
	id    string
	dir   string // its staging and target paths are in it
	bytes int64

	device device
	number string
}

// lv is the volume's LV, the last part of its id.
func lv(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// vg is the volume's VG, the part before.
func vg(id string) string {
	parts := strings.Split(id, "/")
	return parts[max(len(parts)-2, 0)]
}

// ours matches the LVs of volumes and snapshots that runs make, and no others: CSI names of this form are given by nobody else.
var ours = regexp.MustCompile(`^[vs]-lvme-bench-[0-9a-f]{8}-[a-z0-9-]+$`)

func (m *made) staging() string { return filepath.Join(m.dir, "stage") }

// path is where the volume is published: a device node, or a directory.
func (m *made) path() string { return filepath.Join(m.dir, "target") }

func capability(fsType string) *csi.VolumeCapability {
	c := &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
	if fsType != "" {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}}
	}
	return c
}

func kind(thick bool) string {
	if thick {
		return "thick"
	}
	return "thin"
}

func (b *bench) parameters(thick bool) map[string]string {
	p := map[string]string{driver.ParamType: kind(thick)}
	if b.Class != "" {
		p[driver.ParamDriveClass] = b.Class
	}
	if b.Profile != "" {
		p[driver.ParamProfile] = b.Profile
	}
	return p
}

// room says whether the class has room for volumes of a type: nil, or what is missing.
func (b *bench) room(ctx context.Context, thick bool, bytes int64) error {
	resp, err := b.host.Controller.GetCapacity(ctx, &csi.GetCapacityRequest{Parameters: b.parameters(thick)})
	if err != nil {
		return fmt.Errorf("ask for the room for %s volumes: %w", kind(thick), err)
	}
	if have := resp.GetAvailableCapacity(); have < bytes {
		return fmt.Errorf("%w: the class has %d MiB for %s volumes, %d are needed", errNoRoom, have/mib, kind(thick), bytes/mib)
	}
	return nil
}

var errNoRoom = errors.New("no room")

// maxStrays is how many volumes may come to lie in other pools before one comes to lie in the wanted one.
const maxStrays = 64

// create has a volume made in the VG of all others: on another drive it would be another drive that is measured. Nobody can
// name a VG; so those that come to lie elsewhere are kept until one does not, and then deleted, never used.
func (b *bench) create(ctx context.Context, l Layer) (_ *made, err error) {
	for stray := range maxStrays {
		name := fmt.Sprintf("%s-%s", b.prefix, l.volume)
		if stray > 0 {
			name += fmt.Sprintf("-%d", stray)
		}
		resp, err := b.host.Controller.CreateVolume(ctx, &csi.CreateVolumeRequest{
			Name: name, Parameters: b.parameters(l.thick), VolumeCapabilities: []*csi.VolumeCapability{capability(l.fs)},
			CapacityRange: &csi.CapacityRange{RequiredBytes: b.Bytes},
		})
		if err != nil {
			return nil, fmt.Errorf("create a %s volume: %w", kind(l.thick), err)
		}
		id := resp.GetVolume().GetVolumeId()
		if !ours.MatchString(lv(id)) {
			return nil, fmt.Errorf("the agent calls volume %s %s: a later run would not know it", name, id)
		}
		if b.vg == "" {
			b.vg = vg(id)
		}
		if vg(id) == b.vg {
			return &made{Layer: l, id: id, dir: b.host.dir(lv(id)), bytes: resp.GetVolume().GetCapacityBytes()}, nil
		}
		defer func() { err = errors.Join(err, b.remove(ctx, id)) }()
	}
	return nil, fmt.Errorf("%d %s volumes were made, and none beside the others in %s", maxStrays, kind(l.thick), b.vg)
}

// publish stages and publishes a volume as a kubelet does, and finds its device.
func (b *bench) publish(ctx context.Context, m *made) error {
	if err := os.MkdirAll(m.staging(), 0o750); err != nil {
		return err
	}
	c := capability(m.fs)
	if _, err := b.host.Node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: m.id, StagingTargetPath: m.staging(), VolumeCapability: c}); err != nil {
		return fmt.Errorf("stage %s: %w", m.id, err)
	}
	if _, err := b.host.Node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: m.id, StagingTargetPath: m.staging(), TargetPath: m.path(), VolumeCapability: c,
	}); err != nil {
		return fmt.Errorf("publish %s: %w", m.id, err)
	}
	number, err := b.host.number(m.path())
	if err != nil {
		return err
	}
	m.number = fmt.Sprintf("%d:%d", number[0], number[1])
	m.device, err = b.kernel.device(number[0], number[1])
	if err != nil {
		return fmt.Errorf("the device of %s: %w", m.id, err)
	}
	return nil
}

// remove takes a volume away, however far it was made.
func (b *bench) remove(ctx context.Context, id string) error {
	m := &made{id: id, dir: b.host.dir(lv(id))}
	if _, err := os.Lstat(m.dir); err == nil {
		if err := b.unpublish(ctx, m); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := b.host.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return nil
}

// unpublish ends what publish began. Directories are removed when they are empty, and never what is in them.
func (b *bench) unpublish(ctx context.Context, m *made) error {
	if _, err := b.host.Node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: m.id, TargetPath: m.path()}); err != nil {
		return fmt.Errorf("unpublish %s: %w", m.id, err)
	}
	if _, err := b.host.Node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: m.id, StagingTargetPath: m.staging()}); err != nil {
		return fmt.Errorf("unstage %s: %w", m.id, err)
	}
	for _, dir := range []string{m.staging(), m.dir} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// snapshot takes a snapshot of a volume; removeSnapshot deletes it.
func (b *bench) snapshot(ctx context.Context, m *made) (id string, err error) {
	resp, err := b.host.Controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: b.prefix + "-of-" + m.volume, SourceVolumeId: m.id})
	if err != nil {
		return "", fmt.Errorf("take a snapshot of %s: %w", m.id, err)
	}
	return resp.GetSnapshot().GetSnapshotId(), nil
}

func (b *bench) removeSnapshot(ctx context.Context, id string) error {
	if _, err := b.host.Controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id}); err != nil {
		return fmt.Errorf("delete snapshot %s: %w", id, err)
	}
	return nil
}

// clean takes everything away that runs have made, this one or one that was killed. The bare dm-linear goes first: its sectors
// are a volume's.
func (b *bench) clean(ctx context.Context) error {
	if err := b.removeLinear(ctx); err != nil {
		return fmt.Errorf("the device %s is in the way, and no volume is deleted before it is gone: %w", linearName, err)
	}
	snapshots, err := b.leftSnapshots(ctx)
	if err != nil {
		return err
	}
	for _, id := range snapshots {
		err = errors.Join(err, b.removeSnapshot(ctx, id))
	}
	volumes, listErr := b.leftVolumes(ctx)
	err = errors.Join(err, listErr)
	for _, id := range volumes {
		err = errors.Join(err, b.remove(ctx, id))
	}
	return err
}

func (b *bench) leftVolumes(ctx context.Context) ([]string, error) {
	resp, err := b.host.Controller.ListVolumes(ctx, &csi.ListVolumesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var ids []string
	for _, e := range resp.GetEntries() {
		if id := e.GetVolume().GetVolumeId(); ours.MatchString(lv(id)) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (b *bench) leftSnapshots(ctx context.Context) ([]string, error) {
	resp, err := b.host.Controller.ListSnapshots(ctx, &csi.ListSnapshotsRequest{})
	if err != nil {
		return nil, fmt.Errorf("list snapshots; is the agent running, and is this its --socket? %w", err)
	}
	var ids []string
	for _, e := range resp.GetEntries() {
		if id := e.GetSnapshot().GetSnapshotId(); ours.MatchString(lv(id)) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// NodeStageVolume implements csi.NodeServer.
func (s *Service) NodeStageVolume(ctx context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	r, err := s.stageRequest(req)
	if err != nil {
		return nil, err
	}
	err = s.exclusively(ctx, r.key, "stage", func(ctx context.Context) error { return s.stage(ctx, r) })
	if err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// stage makes the volume's device and, of a filesystem volume, the filesystem
// at the staging path. Of a block volume nothing is put there.
func (s *Service) stage(ctx context.Context, r stageRequest) error {
	v, err := s.store.Volume(ctx, r.key)
	if err != nil {
		return err
	}
	if err := fits(v, r.cap); err != nil {
		return err
	}
	mounted, err := s.mountedAt(r.key, r.staging)
	if err != nil {
		return err
	}
	active, err := s.store.Activate(ctx, r.key)
	if err != nil {
		return err
	}
	dev, err := s.host.Device(active.Path)
	if err != nil {
		return err
	}
	if v.Mode == volume.Block {
		return s.stageBlock(ctx, active.Volume, dev)
	}
	return s.stageFilesystem(ctx, r, active.Volume, dev, mounted)
}

func (s *Service) stageBlock(ctx context.Context, v volume.Volume, dev mount.Device) error {
	profile, err := volume.LookupProfile(v.Profile)
	if err != nil {
		return err
	}
	if v.State == volume.Fresh {
		if _, err := s.store.SetState(ctx, v.Key, volume.Raw, ""); err != nil {
			return err
		}
	}
	s.tune(ctx, dev, "", profile)
	return nil
}

func (s *Service) stageFilesystem(ctx context.Context, r stageRequest, v volume.Volume, dev mount.Device, mounted *mount.Point) error {
	profile, err := volume.LookupProfile(v.Profile)
	if err != nil {
		return err
	}
	var fsType string
	if mounted != nil {
		fsType = mounted.FSType
	} else if fsType, err = s.mountNew(ctx, r, v, dev, profile); err != nil {
		return err
	}
	// A clone may be larger than its source, and a volume may have been
	// expanded while it was not staged.
	if err := s.host.Grow(ctx, dev, fsType, r.staging); err != nil {
		return fmt.Errorf("grow the filesystem: %w", err)
	}
	s.tune(ctx, dev, fsType, profile)
	return nil
}

// mountNew mounts the volume's filesystem, which it makes first if there is none.
func (s *Service) mountNew(ctx context.Context, r stageRequest, v volume.Volume, dev mount.Device, p volume.Profile) (string, error) {
	fsType, err := s.filesystem(ctx, r, v, dev, p)
	if err != nil {
		return "", err
	}
	if err := driver.CheckMountFlags("volume_capability.mount.mount_flags", fsType, r.cap.MountFlags); err != nil {
		return "", err
	}
	clone := ""
	if !v.Source.IsZero() {
		clone = v.Key.String()
	}
	if err := s.host.Prepare(ctx, dev, fsType, clone); err != nil {
		return "", fmt.Errorf("prepare the filesystem: %w", err)
	}
	options := mount.Options(fsType, p.MountOptions(fsType), r.cap.MountFlags)
	return fsType, s.host.Mount(ctx, mount.Spec{Device: dev, Target: r.staging, FSType: fsType, Options: options})
}

// filesystem returns the type of the volume's filesystem, which exists
// afterwards. This is the only place that formats, and the volume's record
// alone decides: what a probe sees, or fails to see, never makes it format.
func (s *Service) filesystem(ctx context.Context, r stageRequest, v volume.Volume, dev mount.Device, p volume.Profile) (string, error) {
	switch v.State {
	case volume.Formatted:
		return v.FSType, nil
	case volume.Raw:
		return s.foreignFilesystem(ctx, r, dev)
	case volume.Fresh, volume.Formatting:
	default:
		return "", fmt.Errorf("%w: its content is %q", volume.ErrPrecondition, v.State)
	}
	fsType := firstOf(v.FSType, r.cap.FSType, p.FSType)
	spec := mount.FormatSpec{
		FSType: fsType, Options: driver.MkfsArgs(p.MkfsOptions(fsType), v.MkfsOptions), Again: v.State == volume.Formatting,
	}
	if v.State == volume.Fresh {
		if err := s.begin(ctx, v, fsType, dev); err != nil {
			return "", err
		}
	}
	if err := s.host.Format(ctx, dev.Path, spec); err != nil {
		return "", err
	}
	if _, err := s.store.SetState(ctx, v.Key, volume.Formatted, fsType); err != nil {
		return "", err
	}
	klog.FromContext(ctx).Info("volume formatted", "volume", v.Key, "filesystem", fsType, "bytes", dev.Bytes)
	return fsType, nil
}

// begin records that mkfs is about to run. Of a fresh thin volume the store
// has proven that it maps nothing; a thick one is looked at here.
func (s *Service) begin(ctx context.Context, v volume.Volume, fsType string, dev mount.Device) error {
	if v.Type == volume.Thick {
		if err := s.host.CheckBlank(ctx, dev.Path); err != nil {
			return fmt.Errorf("it was never used and should be blank: %w", err)
		}
	}
	_, err := s.store.SetState(ctx, v.Key, volume.Formatting, fsType)
	return err
}

// foreignFilesystem finds the filesystem that somebody made on a raw device
// which was then cloned, as was asked for explicitly, to a filesystem volume.
func (s *Service) foreignFilesystem(ctx context.Context, r stageRequest, dev mount.Device) (string, error) {
	found, err := s.host.Probe(ctx, dev.Path)
	switch {
	case err != nil:
		return "", err
	case !slices.Contains(driver.FSTypes, found), r.cap.FSType != "" && found != r.cap.FSType:
		return "", fmt.Errorf("%w: the device it was made from holds %q and %q is wanted",
			volume.ErrPrecondition, found, firstOf(r.cap.FSType, strings.Join(driver.FSTypes, ", ")))
	}
	return found, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// tune sets what makes the volume faster or fail sooner. It works without.
func (s *Service) tune(ctx context.Context, dev mount.Device, fsType string, p volume.Profile) {
	if err := s.host.Tune(dev, fsType, p.ReadAheadKiB); err != nil {
		klog.FromContext(ctx).Error(err, "kernel settings of a volume not set", "device", dev.Path)
	}
}

// NodeUnstageVolume implements csi.NodeServer.
func (s *Service) NodeUnstageVolume(ctx context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "staging_target_path", req.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	staging, err := s.undoPath("staging_target_path", req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	key, err := volumeKey(req.GetVolumeId())
	if err != nil {
		return &csi.NodeUnstageVolumeResponse{}, s.nothingAt(staging)
	}
	err = s.exclusively(ctx, key, "unstage", func(ctx context.Context) error { return s.unstage(ctx, key, staging) })
	if err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// unstage unmounts the staging path and takes the device away, unless it is
// still mounted elsewhere.
func (s *Service) unstage(ctx context.Context, key volume.Key, staging string) error {
	if err := s.unmountAll(ctx, key, staging); err != nil {
		return err
	}
	dev, err := s.device(key)
	if err != nil {
		return err
	}
	table, err := s.host.Table()
	if err != nil {
		return err
	}
	if dev != nil {
		if users := table.Of(dev.Number); len(users) > 0 {
			return fmt.Errorf("%w: mounted at %s", volume.ErrInUse, strings.Join(users, ", "))
		}
	}
	err = s.store.Deactivate(ctx, key)
	switch {
	case errors.Is(err, volume.ErrNotFound):
		return nil // It was deleted.
	case (errors.Is(err, volume.ErrAway) || errors.Is(err, volume.ErrForeign)) && dev == nil:
		// Its drive was taken to another node, or it has always been there, and
		// nothing of it is left here.
		return nil
	case errors.Is(err, volume.ErrInUse) && dev != nil:
		return fmt.Errorf("%w; mounts of it: %s", err, strings.Join(s.host.Holders(dev.Number), ", "))
	}
	return err
}

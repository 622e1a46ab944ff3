package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// NodePublishVolume implements csi.NodeServer.
func (s *Service) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	r, err := s.publishRequest(req)
	if err != nil {
		return nil, err
	}
	err = s.exclusively(ctx, r.key, "publish", func(ctx context.Context) error { return s.publish(ctx, r) })
	if err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// publish shows the staged volume at the target: its directory, or its device
// node as a file. A device node is opened for writing whatever the mount says;
// what keeps a container from writing to a read-only block volume is the
// device permission that its runtime gives it.
func (s *Service) publish(ctx context.Context, r publishRequest) error {
	v, err := s.store.Volume(ctx, r.key)
	if err != nil {
		return err
	}
	if err := fits(v, r.cap); err != nil {
		return err
	}
	existing, err := s.mountedAt(r.key, r.target)
	if err != nil {
		return err
	}
	if existing != nil {
		if existing.ReadOnly != r.readOnly {
			return fmt.Errorf("%w: at %s it is published with read-only = %t", volume.ErrConflict, r.target, existing.ReadOnly)
		}
		return nil
	}
	dev, err := s.staged(v, r.staging)
	if err != nil {
		return err
	}
	if r.cap.OneWorkload() {
		if err := s.alone(dev, r); err != nil {
			return err
		}
	}
	if v.Mode == volume.Block {
		return s.host.Bind(ctx, dev.Path, r.target, false, r.readOnly)
	}
	return s.host.Bind(ctx, r.staging, r.target, true, r.readOnly)
}

// staged returns the device of a volume that is staged at that path.
func (s *Service) staged(v volume.Volume, staging string) (mount.Device, error) {
	missing := fmt.Errorf("%w: it is not staged at %s", volume.ErrPrecondition, staging)
	dev, err := s.device(v.Key)
	if err != nil {
		return mount.Device{}, err
	}
	// A fresh device was activated by a stage that did not end.
	if dev == nil || v.State == volume.Fresh {
		return mount.Device{}, missing
	}
	if v.Mode == volume.Block {
		return *dev, nil
	}
	p, err := s.mountedAt(v.Key, staging)
	if err == nil && p == nil {
		err = missing
	}
	return *dev, err
}

// alone says whether the volume is published nowhere else.
func (s *Service) alone(dev mount.Device, r publishRequest) error {
	table, err := s.host.Table()
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(table.Of(dev.Number), func(path string) bool { return path == r.staging })
	if len(others) > 0 {
		return fmt.Errorf("%w: it is for one workload and published at %s", volume.ErrPrecondition, strings.Join(others, ", "))
	}
	return nil
}

// NodeUnpublishVolume implements csi.NodeServer.
func (s *Service) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "target_path", req.GetTargetPath()); err != nil {
		return nil, err
	}
	target, err := s.undoPath("target_path", req.GetTargetPath())
	if err != nil {
		return nil, err
	}
	key, err := volumeKey(req.GetVolumeId())
	if err != nil {
		return &csi.NodeUnpublishVolumeResponse{}, s.nothingAt(target)
	}
	err = s.exclusively(ctx, key, "unpublish", func(ctx context.Context) error { return s.unpublish(ctx, key, target) })
	if err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// unpublish asks nothing of the store: a pod must be able to end while its
// volume's record cannot be read.
func (s *Service) unpublish(ctx context.Context, key volume.Key, target string) error {
	if target == "" {
		return nil
	}
	if err := s.unmountAll(ctx, key, target); err != nil {
		return err
	}
	return s.host.Remove(target)
}

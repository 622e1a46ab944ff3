package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// CreateSnapshot implements csi.ControllerServer.
func (s *Service) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	spec, err := snapshotSpec(req, s.store.Key())
	if err != nil {
		return nil, fmt.Errorf("create snapshot %.140q: %w", req.GetName(), err)
	}
	snap, err := s.store.CreateSnapshot(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("create snapshot %.140q: %w", req.GetName(), err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshot(snap)}, nil
}

func snapshotSpec(req *csi.CreateSnapshotRequest, store string) (volume.SnapshotSpec, error) {
	if req.GetName() == "" {
		return volume.SnapshotSpec{}, volume.Invalid("name", "", "a name of 1 to 128 bytes")
	}
	if err := driver.CheckMap("parameters", req.GetParameters()); err != nil {
		return volume.SnapshotSpec{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(req.GetParameters())) {
		if !driver.IsSidecarParameter(name) {
			return volume.SnapshotSpec{}, volume.Invalid("parameters", name, "none: snapshots have no parameters")
		}
	}
	source, err := volumeKey("source_volume_id", req.GetSourceVolumeId())
	if err != nil {
		return volume.SnapshotSpec{}, fmt.Errorf("source: %w", err)
	}
	if err := checkRequirement("accessibility_requirements", req.GetAccessibilityRequirements(), store); err != nil {
		return volume.SnapshotSpec{}, err
	}
	return volume.SnapshotSpec{Name: req.GetName(), Source: source}, nil
}

// DeleteSnapshot implements csi.ControllerServer; see DeleteVolume.
func (s *Service) DeleteSnapshot(ctx context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	key, err := snapshotKey("snapshot_id", req.GetSnapshotId())
	if err == nil {
		err = s.store.DeleteSnapshot(ctx, key)
	}
	if err != nil && !errors.Is(err, volume.ErrNotFound) {
		return nil, fmt.Errorf("delete snapshot %.140s: %w", req.GetSnapshotId(), err)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// GetSnapshot implements csi.ControllerServer.
func (s *Service) GetSnapshot(ctx context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	key, err := snapshotKey("snapshot_id", req.GetSnapshotId())
	if err != nil {
		return nil, fmt.Errorf("get snapshot: %w", err)
	}
	snap, err := s.store.Snapshot(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("get snapshot %s: %w", key, err)
	}
	return &csi.GetSnapshotResponse{Snapshot: snapshot(snap)}, nil
}

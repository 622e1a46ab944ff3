package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// CreateVolume implements csi.ControllerServer.
func (s *Service) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	spec, err := createSpec(req, s.store.Key())
	if err != nil {
		return nil, fmt.Errorf("create volume %.140q: %w", req.GetName(), err)
	}
	v, err := s.store.Create(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("create volume %.140q: %w", req.GetName(), err)
	}
	return &csi.CreateVolumeResponse{Volume: s.volume(v)}, nil
}

// DeleteVolume implements csi.ControllerServer. A volume that does not exist
// is deleted; one that cannot be looked at is not.
func (s *Service) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	key, err := volumeKey("volume_id", req.GetVolumeId())
	if err == nil {
		err = s.store.Delete(ctx, key)
	}
	if err != nil && !errors.Is(err, volume.ErrNotFound) {
		return nil, fmt.Errorf("delete volume %.140s: %w", req.GetVolumeId(), err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// createSpec reads the request for a new volume in that store.
func createSpec(req *csi.CreateVolumeRequest, store string) (volume.CreateSpec, error) {
	spec := volume.CreateSpec{Name: req.GetName()}
	if err := describe(&spec, req); err != nil {
		return volume.CreateSpec{}, err
	}
	var err error
	if spec.Size, err = parseRange("capacity_range", req.GetCapacityRange()); err != nil {
		return volume.CreateSpec{}, err
	}
	if spec.Source, err = parseSource(req.GetVolumeContentSource(), store); err != nil {
		return volume.CreateSpec{}, err
	}
	if err = checkRequirement("accessibility_requirements", req.GetAccessibilityRequirements(), store); err != nil {
		return volume.CreateSpec{}, err
	}
	return spec, nil
}

// describe fills in what capabilities and parameters say of the volume.
func describe(spec *volume.CreateSpec, req *csi.CreateVolumeRequest) error {
	c, err := driver.ParseCapabilities("volume_capabilities", req.GetVolumeCapabilities())
	if err != nil {
		return err
	}
	if err := noMutable(req.GetMutableParameters()); err != nil {
		return err
	}
	p, err := parseParameters(req.GetParameters())
	if err != nil {
		return err
	}
	fsType, err := p.filesystem(c)
	if err != nil {
		return err
	}
	mkfs, err := p.mkfs(fsType, req.GetVolumeContentSource() != nil)
	if err != nil {
		return err
	}
	spec.Class, spec.Type, spec.Profile, spec.AllowModeChange = p.class, p.kind, p.profileName, p.allowModeChange
	spec.Mode = c.Mode
	if c.Mode == volume.Filesystem {
		spec.FSType, spec.MkfsOptions = fsType, mkfs
	}
	return nil
}

// parseRange reads a size that the caller gave; nil is "not given".
func parseRange(field string, r *csi.CapacityRange) (volume.Range, error) {
	required, limit := r.GetRequiredBytes(), r.GetLimitBytes()
	switch {
	case r == nil:
		return volume.Range{}, nil
	case required < 0:
		return volume.Range{}, volume.Invalid(field+".required_bytes", fmt.Sprint(required), "0 or more bytes")
	case limit < 0:
		return volume.Range{}, volume.Invalid(field+".limit_bytes", fmt.Sprint(limit), "0 or more bytes")
	case required == 0 && limit == 0:
		return volume.Range{}, volume.Invalid(field, "0", "required_bytes, limit_bytes or both")
	case limit != 0 && limit < required:
		return volume.Range{}, volume.Invalid(field+".limit_bytes", fmt.Sprint(limit), fmt.Sprintf("at least required_bytes, %d", required))
	}
	return volume.Range{Required: required, Limit: limit}, nil
}

// parseSource reads what the new volume is to be a copy of. A copy is made
// where its source is: a source in another store is a reason to try there.
func parseSource(src *csi.VolumeContentSource, store string) (key volume.Key, err error) {
	const field = "volume_content_source"
	switch {
	case src == nil:
		return volume.Key{}, nil
	case src.GetSnapshot() != nil:
		key, err = snapshotKey(field+".snapshot.snapshot_id", src.GetSnapshot().GetSnapshotId())
	case src.GetVolume() != nil:
		key, err = volumeKey(field+".volume.volume_id", src.GetVolume().GetVolumeId())
	default:
		err = volume.Invalid(field, "", "a snapshot or a volume")
	}
	if err != nil {
		return volume.Key{}, fmt.Errorf("source: %w", err)
	}
	if key.Store != store {
		return volume.Key{}, fmt.Errorf("source %s is in store %s and a copy is made beside its source: %w, whose store is %s",
			key, key.Store, driver.ErrElsewhere, store)
	}
	return key, nil
}

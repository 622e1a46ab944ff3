package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// ControllerGetVolume implements csi.ControllerServer.
func (s *Service) ControllerGetVolume(ctx context.Context, req *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	v, err := s.find(ctx, req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("get volume: %w", err)
	}
	return &csi.ControllerGetVolumeResponse{
		Volume: s.volume(v),
		Status: new(csi.ControllerGetVolumeResponse_VolumeStatus), // required, and empty without LIST_VOLUMES_PUBLISHED_NODES
	}, nil
}

func (s *Service) find(ctx context.Context, id string) (volume.Volume, error) {
	key, err := volumeKey("volume_id", id)
	if err != nil {
		return volume.Volume{}, err
	}
	return s.store.Volume(ctx, key)
}

// ControllerExpandVolume implements csi.ControllerServer. The device grows at
// once, whether it is in use or not, and so does a filesystem in it that pods
// have. One that none has is grown by the node when it is used again; for a
// block volume the node has nothing left to do.
func (s *Service) ControllerExpandVolume(ctx context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	key, size, err := expandSpec(req)
	if err != nil {
		return nil, fmt.Errorf("expand volume %.140s: %w", req.GetVolumeId(), err)
	}
	if err := s.checkExpandCapability(ctx, key, req.GetVolumeCapability()); err != nil {
		return nil, fmt.Errorf("expand volume %s: %w", key, err)
	}
	v, err := s.store.Expand(ctx, key, size)
	if err != nil {
		return nil, fmt.Errorf("expand volume %s: %w", key, err)
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Bytes, NodeExpansionRequired: v.Mode == volume.Filesystem && !s.grown(ctx, key)}, nil
}

// grown grows the filesystem of a volume that pods have, and says whether it
// has. What fails here is the kubelet's to ask for again, and to tell.
func (s *Service) grown(ctx context.Context, key volume.Key) bool {
	if s.node == nil {
		return false
	}
	done, err := s.node.GrowPublished(ctx, key)
	if err != nil {
		klog.FromContext(ctx).Error(err, "a filesystem is left for the kubelet to have grown", "volume", key.String())
	}
	return done
}

func expandSpec(req *csi.ControllerExpandVolumeRequest) (volume.Key, volume.Range, error) {
	key, err := volumeKey("volume_id", req.GetVolumeId())
	if err != nil {
		return volume.Key{}, volume.Range{}, err
	}
	if req.GetCapacityRange() == nil {
		return volume.Key{}, volume.Range{}, volume.Invalid("capacity_range", "", "required_bytes, limit_bytes or both")
	}
	size, err := parseRange("capacity_range", req.GetCapacityRange())
	return key, size, err
}

// checkExpandCapability checks the optional capability of an expansion: one
// that the volume does not have is InvalidArgument ("Exceeds capabilities").
func (s *Service) checkExpandCapability(ctx context.Context, key volume.Key, c *csi.VolumeCapability) error {
	if c == nil {
		return nil
	}
	want, err := driver.ParseCapability("volume_capability", c)
	if err != nil {
		return err
	}
	v, err := s.store.Volume(ctx, key)
	if err != nil {
		return err
	}
	return fits("volume_capability", v, want)
}

// fits says whether the volume can be used so.
func fits(field string, v volume.Volume, want driver.Capability) error {
	if want.Mode != v.Mode {
		return volume.Invalid(field+".access_type", string(want.Mode), "the volume's, "+string(v.Mode))
	}
	if want.FSType == "" || v.FSType == "" {
		return nil
	}
	if want.FSType != v.FSType {
		return volume.Invalid(field+".mount.fs_type", want.FSType, "the volume's, "+v.FSType)
	}
	return nil
}

// ValidateVolumeCapabilities implements csi.ControllerServer. What is
// malformed is an error; what is merely not so is told in the message.
func (s *Service) ValidateVolumeCapabilities(ctx context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	const field = "volume_capabilities"
	want, unfit := driver.ParseCapabilities(field, req.GetVolumeCapabilities())
	if unfit != nil && !errors.Is(unfit, driver.ErrUnsupported) {
		return nil, fmt.Errorf("validate volume %.140s: %w", req.GetVolumeId(), unfit)
	}
	v, err := s.find(ctx, req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("validate volume %.140s: %w", req.GetVolumeId(), err)
	}
	if unfit == nil {
		unfit = fits(field, v, want)
	}
	if unfit == nil {
		unfit = errors.Join(sameParameters(v, req.GetParameters()), noMutable(req.GetMutableParameters()))
	}
	if unfit != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: unfit.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext:      req.GetVolumeContext(),
		VolumeCapabilities: req.GetVolumeCapabilities(),
		Parameters:         req.GetParameters(),
	}}, nil
}

// sameParameters says whether the volume is what these parameters ask for.
// Parameters that say nothing of the volume itself are not compared.
func sameParameters(v volume.Volume, params map[string]string) error {
	p, err := parseParameters(params)
	if err != nil {
		return err
	}
	for _, c := range []struct{ name, want, have string }{
		{driver.ParamDriveClass, p.class, v.Class},
		{driver.ParamType, string(p.kind), string(v.Type)},
		{driver.ParamProfile, p.profileName, v.Profile},
		{driver.ParamFSType, p.fsType, v.FSType},
	} {
		if c.want != "" && c.have != "" && c.want != c.have {
			return volume.Invalid("parameters."+c.name, c.want, "the volume's, "+c.have)
		}
	}
	return nil
}

package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// GetCapacity implements csi.ControllerServer. Elsewhere, of an unknown class
// or with capabilities that lvme lacks nothing can be made: that is no
// capacity and no error, for callers ask each node about each class there is.
func (s *Service) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	class, kind, err := capacityQuery(req, s.store.Key())
	if errors.Is(err, driver.ErrUnsupported) || errors.Is(err, driver.ErrElsewhere) {
		return &csi.GetCapacityResponse{MaximumVolumeSize: wrapperspb.Int64(0)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get capacity: %w", err)
	}
	c, err := s.store.Capacity(ctx, class, kind)
	if err != nil {
		return nil, fmt.Errorf("get capacity of class %.140q: %w", class, err)
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: c.Available,
		MaximumVolumeSize: wrapperspb.Int64(c.MaxVolume),
		MinimumVolumeSize: wrapperspb.Int64(c.MinVolume),
	}, nil
}

// capacityQuery reads which volumes the caller wants room for. Mkfs options
// are not looked at: csi-provisioner does not tell the filesystem here.
func capacityQuery(req *csi.GetCapacityRequest, store string) (class string, kind volume.Type, err error) {
	p, err := parseParameters(req.GetParameters())
	if err != nil {
		return "", "", err
	}
	if caps := req.GetVolumeCapabilities(); len(caps) > 0 {
		if _, err := driver.ParseCapabilities("volume_capabilities", caps); err != nil {
			return "", "", err
		}
	}
	if !within(req.GetAccessibleTopology(), store) {
		return "", "", driver.ErrElsewhere
	}
	return p.class, p.typeOf(), nil
}

package node

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// required checks fields in the order given: name, value, name, value, ...
func required(fields ...string) error {
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			return volume.Invalid(fields[i], "", "a value; it is required")
		}
	}
	return nil
}

// volumeKey reads an id. The id of a snapshot is no volume's.
func volumeKey(id string) (volume.Key, error) {
	k, err := volume.ParseKey(id)
	if err == nil && !k.IsVolume() {
		err = fmt.Errorf("%s is no volume: %w", k, volume.ErrNotFound)
	}
	return k, err
}

// stageRequest is a checked NodeStageVolumeRequest.
type stageRequest struct {
	key     volume.Key
	staging string
	cap     driver.Capability
}

func (s *Service) stageRequest(req *csi.NodeStageVolumeRequest) (r stageRequest, err error) {
	if err := required("volume_id", req.GetVolumeId(), "staging_target_path", req.GetStagingTargetPath()); err != nil {
		return r, err
	}
	if r.cap, err = driver.ParseCapability("volume_capability", req.GetVolumeCapability()); err != nil {
		return r, err
	}
	if r.key, err = volumeKey(req.GetVolumeId()); err != nil {
		return r, err
	}
	r.staging, err = s.path("staging_target_path", req.GetStagingTargetPath())
	return r, err
}

// publishRequest is a checked NodePublishVolumeRequest.
type publishRequest struct {
	key             volume.Key
	staging, target string
	cap             driver.Capability
	readOnly        bool
}

func (s *Service) publishRequest(req *csi.NodePublishVolumeRequest) (r publishRequest, err error) {
	if err := required("volume_id", req.GetVolumeId(), "target_path", req.GetTargetPath()); err != nil {
		return r, err
	}
	if r.cap, err = driver.ParseCapability("volume_capability", req.GetVolumeCapability()); err != nil {
		return r, err
	}
	// CSI spec, NodePublishVolume Errors, "Staging target path not set".
	if req.GetStagingTargetPath() == "" {
		return r, fmt.Errorf("%w: staging_target_path is not set, and volumes are published from where they are staged", volume.ErrPrecondition)
	}
	if r.key, err = volumeKey(req.GetVolumeId()); err != nil {
		return r, err
	}
	if r.staging, err = s.path("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return r, err
	}
	r.target, err = s.path("target_path", req.GetTargetPath())
	r.readOnly = req.GetReadonly() || r.cap.ReadOnly() || readOnlyFlag(r.cap.MountFlags)
	return r, err
}

// readOnlyFlag: of ro and rw the last counts, as for mount(8).
func readOnlyFlag(flags []string) (ro bool) {
	for _, f := range flags {
		if f == "ro" || f == "rw" {
			ro = f == "ro"
		}
	}
	return ro
}

// path checks a path to mount on.
func (s *Service) path(field, path string) (string, error) {
	resolved, err := s.host.Resolve(path)
	switch {
	case errors.Is(err, mount.ErrPath):
		return "", fmt.Errorf("%s: %w: %w", field, volume.ErrInvalid, err)
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: %w: %w", field, volume.ErrPrecondition, err)
	case err != nil:
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return resolved, nil
}

// undoPath checks a path to unmount. With its parent gone nothing is mounted
// there, and "" is returned.
func (s *Service) undoPath(field, path string) (string, error) {
	resolved, err := s.path(field, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return resolved, err
}

// fits says whether a volume can be used through a capability.
func fits(v volume.Volume, c driver.Capability) error {
	switch {
	case v.Mode != c.Mode:
		return fmt.Errorf("%w: it is a %s volume and was asked for as %s", volume.ErrPrecondition, v.Mode, c.Mode)
	case v.State == volume.Quarantined:
		return fmt.Errorf("%w: delete it", volume.ErrQuarantined)
	case c.FSType != "" && v.FSType != "" && c.FSType != v.FSType:
		return fmt.Errorf("%w: its filesystem is %s and %s was asked for", volume.ErrPrecondition, v.FSType, c.FSType)
	}
	return nil
}

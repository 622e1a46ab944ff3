// Package controller is the CSI controller service of one node: it creates,
// lists, expands and deletes the volumes and snapshots of that node's store.
//
// Each call is checked, done by the store, and answered from the store's
// record, never from the request: a retry, a Get and a List say the same.
// The package keeps no state, takes no locks and knows nothing of LVM; errors
// get their gRPC codes in package driver.
package controller

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// Store is the part of volume.Store that the controller uses.
type Store interface {
	// Key is the store's key, which never changes.
	Key() string
	// HasThin says whether any drive class holds thin volumes.
	HasThin() bool
	Capacity(ctx context.Context, class string, t volume.Type) (volume.Capacity, error)
	Volumes
	Snapshots
}

// Volumes are the verbs for volumes.
type Volumes interface {
	Create(ctx context.Context, spec volume.CreateSpec) (volume.Volume, error)
	Volume(ctx context.Context, key volume.Key) (volume.Volume, error)
	// Volumes are ordered by their ids.
	Volumes(ctx context.Context) ([]volume.Volume, error)
	Expand(ctx context.Context, key volume.Key, size volume.Range) (volume.Volume, error)
	Delete(ctx context.Context, key volume.Key) error
}

// Snapshots are the verbs for snapshots.
type Snapshots interface {
	CreateSnapshot(ctx context.Context, spec volume.SnapshotSpec) (volume.Snapshot, error)
	Snapshot(ctx context.Context, key volume.Key) (volume.Snapshot, error)
	// Snapshots are ordered by their ids.
	Snapshots(ctx context.Context) ([]volume.Snapshot, error)
	DeleteSnapshot(ctx context.Context, key volume.Key) error
}

// Node is what the controller has the node do; *node.Service has it.
type Node interface {
	// GrowPublished grows the filesystem of a volume that pods have, and says
	// whether it has.
	GrowPublished(ctx context.Context, key volume.Key) (bool, error)
}

// Service implements the CSI controller service.
type Service struct {
	csi.UnimplementedControllerServer
	store Store
	node  Node
}

var (
	_ csi.ControllerServer = (*Service)(nil)
	_ Store                = (*volume.Store)(nil)
)

// New returns the controller service of that store, on that node, which may be nil.
func New(store Store, node Node) *Service { return &Service{store: store, node: node} }

// ControllerGetCapabilities implements csi.ControllerServer.
func (s *Service) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return driver.ControllerCapabilities(s.store.HasThin()), nil
}

// volume is the one way in which a volume is told to a caller. It has no
// volume_context: the node reads everything from the volume's own record.
func (s *Service) volume(v volume.Volume) *csi.Volume {
	return &csi.Volume{
		VolumeId:           v.Key.String(),
		CapacityBytes:      v.Bytes,
		ContentSource:      contentSource(v.Source),
		AccessibleTopology: []*csi.Topology{driver.Topology(s.store.Key())},
	}
}

func contentSource(source volume.Key) *csi.VolumeContentSource {
	switch {
	case source.IsZero():
		return nil
	case source.IsSnapshot():
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: source.String()},
		}}
	default:
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source.String()},
		}}
	}
}

// snapshot is the one way in which a snapshot is told to a caller. It is ready
// as soon as it exists. It has no accessible_topology: that may only be told
// by a plugin with SNAPSHOT_ACCESSIBILITY_CONSTRAINTS.
func snapshot(s volume.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:     s.Key.String(),
		SourceVolumeId: s.Source.String(),
		SizeBytes:      s.Bytes,
		CreationTime:   timestamppb.New(s.Created),
		ReadyToUse:     true,
	}
}

// volumeKey reads the id of a volume. An id that names no volume of anybody,
// a snapshot's among them, is an ErrNotFound.
func volumeKey(field, id string) (volume.Key, error) {
	if id == "" {
		return volume.Key{}, volume.Invalid(field, id, "the id of a volume")
	}
	key, err := volume.ParseKey(id)
	if err == nil && !key.IsVolume() {
		err = fmt.Errorf("id %s names no volume: %w", id, volume.ErrNotFound)
	}
	return key, err
}

// snapshotKey reads the id of a snapshot; see volumeKey.
func snapshotKey(field, id string) (volume.Key, error) {
	if id == "" {
		return volume.Key{}, volume.Invalid(field, id, "the id of a snapshot")
	}
	key, err := volume.ParseKey(id)
	if err == nil && !key.IsSnapshot() {
		err = fmt.Errorf("id %s names no snapshot: %w", id, volume.ErrNotFound)
	}
	return key, err
}

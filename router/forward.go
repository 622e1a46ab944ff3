package router

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// ask forwards a call to the agent of a store, with the caller's deadline and
// request id. An agent that is away is an error at once, or after a moment if
// it has just been lost: never "not found". A call that the agent's end cut off
// is made once more to whoever serves the store then: calls are idempotent. So
// an agent that is not available is an answer only a moment later.
func ask[Req, Resp any](
	ctx context.Context, r *Router, store string, queue func(*agent) slots, req Req,
	call func(csi.ControllerClient, context.Context, Req, ...grpc.CallOption) (Resp, error),
) (Resp, error) {
	var resp Resp
	try := func() (freed <-chan struct{}, err error) {
		a, freed, err := r.fleet.reach(ctx, store, false)
		if err != nil {
			return nil, err
		}
		free, err := queue(a).take(a.Node)
		if err != nil {
			return nil, err
		}
		defer free()
		if resp, err = call(a.controller, driver.WithRequestID(ctx), req); err != nil {
			return freed, driver.AnsweredBy(a.Node, err)
		}
		return nil, nil
	}
	freed, err := try()
	if freed != nil && codeOf(err) == codes.Unavailable && ended(ctx, freed) {
		_, err = try()
	}
	return resp, err
}

// ended says whether an agent that was not available is one whose connection
// has ended, which it may be a moment before that is known.
func ended(ctx context.Context, freed <-chan struct{}) bool {
	wait(ctx, noticed, freed)
	select {
	case <-freed:
		return true
	default:
		return false
	}
}

// The queues of an agent.
func changing(a *agent) slots { return a.changes }
func reading(a *agent) slots  { return a.reads }

// volumeKey and snapshotKey read an id that a call is to be forwarded by.
func volumeKey(field, id string) (volume.Key, error) {
	return keyOf(field, id, "volume", volume.Key.IsVolume)
}

func snapshotKey(field, id string) (volume.Key, error) {
	return keyOf(field, id, "snapshot", volume.Key.IsSnapshot)
}

func keyOf(field, id, kind string, isKind func(volume.Key) bool) (volume.Key, error) {
	if id == "" {
		return volume.Key{}, volume.Invalid(field, id, "the id of a "+kind)
	}
	key, err := volume.ParseKey(id)
	if err == nil && !isKind(key) {
		err = fmt.Errorf("id %s names no %s: %w", id, kind, volume.ErrNotFound)
	}
	return key, err
}

// DeleteVolume implements csi.ControllerServer.
func (r *Router) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	key, err := volumeKey("volume_id", req.GetVolumeId())
	if err == nil {
		_, err = ask(ctx, r, key.Store, changing, req, csi.ControllerClient.DeleteVolume)
		err = r.deleted(ctx, key, err)
	}
	if err != nil && !errors.Is(err, volume.ErrNotFound) {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// DeleteSnapshot implements csi.ControllerServer.
func (r *Router) DeleteSnapshot(ctx context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	key, err := snapshotKey("snapshot_id", req.GetSnapshotId())
	if err == nil {
		_, err = ask(ctx, r, key.Store, changing, req, csi.ControllerClient.DeleteSnapshot)
		err = r.deleted(ctx, key, err)
	}
	if err != nil && !errors.Is(err, volume.ErrNotFound) {
		return nil, err
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// deleted is what became of a deletion. In a store whose node was taken out of
// the cluster it is recorded, and done when the drives come back; that a node
// is merely away or unknown is no reason to say that anything is gone.
func (r *Router) deleted(ctx context.Context, key volume.Key, err error) error {
	r.capacity.invalidate(key.Store)
	gone := (*awayError)(nil)
	if !errors.As(err, &gone) || !r.config.Cluster.Lost(key.Store) {
		return err
	}
	return r.owe(ctx, Tombstone{Store: key.Store, ID: key.String()})
}

// ControllerExpandVolume implements csi.ControllerServer.
func (r *Router) ControllerExpandVolume(ctx context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	key, err := volumeKey("volume_id", req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("expand volume: %w", err)
	}
	defer r.capacity.invalidate(key.Store)
	return ask(ctx, r, key.Store, changing, req, csi.ControllerClient.ControllerExpandVolume)
}

// ValidateVolumeCapabilities implements csi.ControllerServer. An id of nobody
// is looked at last, as an agent does.
func (r *Router) ValidateVolumeCapabilities(ctx context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	key, err := volumeKey("volume_id", req.GetVolumeId())
	if err == nil {
		return ask(ctx, r, key.Store, reading, req, csi.ControllerClient.ValidateVolumeCapabilities)
	}
	if _, unfit := driver.ParseCapabilities("volume_capabilities", req.GetVolumeCapabilities()); unfit != nil && !errors.Is(unfit, driver.ErrUnsupported) {
		err = unfit
	}
	return nil, fmt.Errorf("validate volume %.140q: %w", req.GetVolumeId(), err)
}

// ControllerGetVolume implements csi.ControllerServer.
func (r *Router) ControllerGetVolume(ctx context.Context, req *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	key, err := volumeKey("volume_id", req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("get volume: %w", err)
	}
	resp, err := ask(ctx, r, key.Store, reading, req, csi.ControllerClient.ControllerGetVolume)
	if err != nil {
		return nil, err
	}
	resp.Volume = r.located(resp.GetVolume(), key.Store)
	return resp, nil
}

// located is a volume of that store with the segments that the cluster adds to
// its topology.
func (r *Router) located(v *csi.Volume, store string) *csi.Volume {
	added := r.config.Cluster.Segments(r.fleet.nodeOf(store))
	if len(added) == 0 || v == nil {
		return v
	}
	v = proto.CloneOf(v)
	for _, t := range v.GetAccessibleTopology() {
		for key, value := range added {
			if _, own := t.GetSegments()[key]; !own && t.GetSegments() != nil {
				t.Segments[key] = value
			}
		}
	}
	return v
}

// CreateSnapshot implements csi.ControllerServer. A snapshot is made where its
// source is.
func (r *Router) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	name := req.GetName()
	if name == "" {
		return nil, volume.Invalid("name", "", "a name of 1 to 128 bytes")
	}
	key, err := volumeKey("source_volume_id", req.GetSourceVolumeId())
	if err != nil {
		return nil, fmt.Errorf("create snapshot %.140q: source: %w", name, err)
	}
	if err := r.onlyHere(ctx, name, key.Store); err != nil {
		return nil, fmt.Errorf("create snapshot %.140q: %w", name, err)
	}
	defer r.capacity.invalidate(key.Store)
	resp, err := ask(ctx, r, key.Store, changing, r.snapshotHere(req, key.Store), csi.ControllerClient.CreateSnapshot)
	if err == nil {
		r.recent.setSnapshot(name, resp.GetSnapshot().GetSnapshotId())
	}
	return resp, err
}

// snapshotHere is the request with the agent's own topology in place of one
// that only the cluster's segments satisfy.
func (r *Router) snapshotHere(req *csi.CreateSnapshotRequest, store string) *csi.CreateSnapshotRequest {
	if req.GetAccessibilityRequirements() == nil {
		return req
	}
	req = proto.CloneOf(req)
	for _, terms := range [][]*csi.Topology{req.GetAccessibilityRequirements().GetRequisite(), req.GetAccessibilityRequirements().GetPreferred()} {
		for _, t := range terms {
			if r.within(t, store) {
				t.Segments = maps.Clone(driver.Topology(store).GetSegments())
			}
		}
	}
	return req
}

// onlyHere refuses the name of a snapshot that was made of a volume on another
// node and still exists: names are unique in the cluster.
func (r *Router) onlyHere(ctx context.Context, name, store string) error {
	id := r.recent.snapshot(name)
	key, err := volume.ParseKey(id)
	if err != nil || key.Store == store {
		return nil //nolint:nilerr // none is known, or the agent will look itself
	}
	_, err = r.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: id})
	switch codeOf(err) {
	case codes.OK:
		return fmt.Errorf("snapshot %s has that name and another source: %w", id, volume.ErrConflict)
	case codes.NotFound:
		return nil
	}
	return err
}

// GetSnapshot implements csi.ControllerServer.
func (r *Router) GetSnapshot(ctx context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	key, err := snapshotKey("snapshot_id", req.GetSnapshotId())
	if err != nil {
		return nil, fmt.Errorf("get snapshot: %w", err)
	}
	return ask(ctx, r, key.Store, reading, req, csi.ControllerClient.GetSnapshot)
}

// ControllerGetCapabilities implements csi.ControllerServer: sidecars ask before
// any agent is there, and end when they are not answered.
func (r *Router) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return driver.ControllerCapabilities(true), nil
}

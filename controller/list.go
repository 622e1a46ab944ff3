package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// ListVolumes implements csi.ControllerServer.
func (s *Service) ListVolumes(ctx context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	want, err := parsePage(req.GetMaxEntries(), req.GetStartingToken(), s.store.Key(), volume.Key.IsVolume)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	all, err := s.store.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	volumes, next := cut(want, all, func(v volume.Volume) string { return v.Key.String() })
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range volumes {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{Volume: s.volume(v)})
	}
	return resp, nil
}

// ListSnapshots implements csi.ControllerServer.
func (s *Service) ListSnapshots(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	want, err := parsePage(req.GetMaxEntries(), req.GetStartingToken(), s.store.Key(), volume.Key.IsSnapshot)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	all, err := s.snapshots(ctx, req.GetSnapshotId(), req.GetSourceVolumeId())
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	snapshots, next := cut(want, all, func(s volume.Snapshot) string { return s.Key.String() })
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, one := range snapshots {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshot(one)})
	}
	return resp, nil
}

// snapshots are those of that id and of that source; an empty id is any. What
// does not exist has an empty list; what cannot be looked at is an error.
func (s *Service) snapshots(ctx context.Context, id, source string) ([]volume.Snapshot, error) {
	var found []volume.Snapshot
	var err error
	switch {
	case id != "":
		found, err = s.snapshotOf(ctx, id)
	case source != "":
		found, err = s.snapshotsOf(ctx, source)
	default:
		return s.store.Snapshots(ctx)
	}
	if errors.Is(err, volume.ErrNotFound) {
		return nil, nil
	}
	if err != nil || source == "" {
		return found, err
	}
	var of []volume.Snapshot
	for _, one := range found {
		if one.Source.String() == source {
			of = append(of, one)
		}
	}
	return of, nil
}

func (s *Service) snapshotOf(ctx context.Context, id string) ([]volume.Snapshot, error) {
	key, err := snapshotKey("snapshot_id", id)
	if err != nil {
		return nil, err
	}
	one, err := s.store.Snapshot(ctx, key)
	if err != nil {
		return nil, err
	}
	return []volume.Snapshot{one}, nil
}

// snapshotsOf lists what is there besides that volume. It asks for the volume
// first, which may be gone but not away: its snapshots would be away with it.
func (s *Service) snapshotsOf(ctx context.Context, source string) ([]volume.Snapshot, error) {
	key, err := volumeKey("source_volume_id", source)
	if err != nil {
		return nil, err
	}
	if _, err := s.store.Volume(ctx, key); err != nil && !errors.Is(err, volume.ErrNotFound) {
		return nil, err
	}
	return s.store.Snapshots(ctx)
}

// pageRequest asks for at most limit entries (0: all) behind the id after.
type pageRequest struct {
	limit int
	after string
}

// parsePage reads a page request. A token is the id of the last entry of the
// page before, so that entries may come and go between two pages and none is
// told twice or left out. An id that this list cannot hold is no token of it.
func parsePage(limit int32, token, store string, isKind func(volume.Key) bool) (pageRequest, error) {
	if limit < 0 {
		return pageRequest{}, volume.Invalid("max_entries", fmt.Sprint(limit), "0 for all, or more")
	}
	if token != "" {
		key, err := volume.ParseKey(token)
		if err != nil || !isKind(key) || key.Store != store {
			return pageRequest{}, fmt.Errorf("starting_token %.140q: %w: begin again with an empty one", token, driver.ErrToken)
		}
	}
	return pageRequest{limit: int(limit), after: token}, nil
}

// cut takes the page out of all entries, which are ordered by their ids, and the
// token for the next, which is empty behind the last.
func cut[T any](want pageRequest, all []T, id func(T) string) (page []T, next string) {
	behind := func(one T, after string) int {
		if id(one) <= after {
			return -1
		}
		return 1
	}
	begin, _ := slices.BinarySearchFunc(all, want.after, behind)
	page = all[begin:]
	if want.limit > 0 && len(page) > want.limit {
		page = page[:want.limit]
		next = id(page[len(page)-1])
	}
	return page, next
}

package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// Health is what the node service needs to tell of health; *volume.Store has it.
type Health interface {
	// VolumeHealth says what is wrong with a volume, staged or not.
	VolumeHealth(context.Context, volume.Key) ([]volume.Ailment, error)
	// StorageHealth says what is wrong with the pools or soon will be, and how many
	// there are.
	StorageHealth(context.Context) (all []volume.PoolHealth, pools int)
}

// NodeGetVolumeHealth implements csi.NodeServer. It starts no program and takes
// no lock that a change of a volume holds.
func (s *Service) NodeGetVolumeHealth(ctx context.Context, req *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	if err := required("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	key, err := volumeKey(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	all, err := s.store.VolumeHealth(ctx, key)
	if err != nil {
		return nil, err
	}
	ofFilesystem, err := s.filesystemHealth(ctx, key)
	if err != nil {
		return nil, err
	}
	health := &csi.VolumeHealth{VolumeId: req.GetVolumeId()}
	for _, a := range append(all, ofFilesystem...) {
		health.HealthStatuses = append(health.HealthStatuses, &csi.VolumeHealth_VolumeHealthEntry{
			Status: volumeStatus[a.Effect], Reason: string(a.Reason), Message: a.Message,
		})
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}

var volumeStatus = map[volume.Effect]csi.VolumeHealthErrorType{
	volume.Degraded:     csi.VolumeHealthErrorType_DEGRADED,
	volume.Inaccessible: csi.VolumeHealthErrorType_INACCESSIBLE,
}

// filesystemHealth is what is wrong with the filesystem of a volume that is
// mounted: one that met errors stays as they left it until it is mounted anew,
// though its pool has space and its drive works again.
func (s *Service) filesystemHealth(ctx context.Context, k volume.Key) ([]volume.Ailment, error) {
	dev, err := s.device(k)
	if err != nil || dev == nil {
		return nil, err
	}
	table, err := s.host.Table()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(table, func(p mount.Point) bool { return p.Device == dev.Number && p.Holds() })
	if at < 0 {
		return nil, nil
	}
	_, err = s.checks.do(ctx, table[at].Path, func(string) (struct{}, error) { return struct{}{}, s.host.Check(*dev, table[at]) })
	if errors.Is(err, mount.ErrBroken) {
		return []volume.Ailment{{
			Effect: volume.Inaccessible, Reason: "FilesystemFailed",
			Message: err.Error() + "; once its drive and its pool work, delete the pod, so that the volume is mounted anew",
		}}, nil
	}
	return nil, err
}

// NodeGetStorageHealth implements csi.NodeServer. To the kubelet a pool that only
// fills up is well: with what may come it has nothing to do.
func (s *Service) NodeGetStorageHealth(ctx context.Context, _ *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	all, pools := s.store.StorageHealth(ctx)
	all = slices.DeleteFunc(all, func(h volume.PoolHealth) bool { return h.Ailment.Effect == volume.Early })
	return &csi.NodeGetStorageHealthResponse{BackendHealth: backends(all, pools)}, nil
}

// backends are the ailments of pools, one entry for each kind: CSI wants no two
// of one status and reason. The storage is unreachable when no pool works; while
// some do, a pool that is out of reach makes it degraded.
func backends(all []volume.PoolHealth, pools int) []*csi.NodeGetStorageHealthResponse_StorageBackendHealth {
	out := map[string]bool{}
	for _, h := range all {
		if h.Ailment.Effect == volume.Inaccessible {
			out[h.VG] = true
		}
	}
	messages := map[string][]string{}
	status := map[string]csi.StorageHealthErrorType{}
	for _, h := range all {
		reason := string(h.Ailment.Reason)
		messages[reason] = append(messages[reason], h.VG+": "+h.Ailment.Message)
		status[reason] = csi.StorageHealthErrorType_STORAGE_DEGRADED
		if h.Ailment.Effect == volume.Inaccessible && len(out) == pools {
			status[reason] = csi.StorageHealthErrorType_STORAGE_UNREACHABLE
		}
	}
	var entries []*csi.NodeGetStorageHealthResponse_StorageBackendHealth
	for reason, lines := range messages {
		entries = append(entries, &csi.NodeGetStorageHealthResponse_StorageBackendHealth{
			Status: status[reason], Reason: reason, Message: strings.Join(lines, "; "),
		})
	}
	slices.SortFunc(entries, func(a, b *csi.NodeGetStorageHealthResponse_StorageBackendHealth) int {
		return cmp.Or(cmp.Compare(b.GetStatus(), a.GetStatus()), cmp.Compare(a.GetReason(), b.GetReason()))
	})
	return entries
}

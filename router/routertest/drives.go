package routertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// Drives is the controller service of one store in memory, without LVM: what
// an agent promises, as far as a router can see it.
type Drives struct {
	csi.UnimplementedControllerServer
	store string
	class string

	mu        sync.Mutex
	bytes     int64
	volumes   map[string]*csi.Volume
	snapshots map[string]*csi.Snapshot
}

var _ csi.ControllerServer = (*Drives)(nil)

// vg is the one VG of all Drives.
const vg = "vg000001"

// NewDrives makes drives with that store key, that much room and that drive
// class besides the default one.
func NewDrives(store string, bytes int64, class string) *Drives {
	return &Drives{store: store, class: class, bytes: bytes, volumes: map[string]*csi.Volume{}, snapshots: map[string]*csi.Snapshot{}}
}

// Volumes are the ids of all volumes, in order.
func (d *Drives) Volumes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sorted(d.volumes)
}

// Snapshots are the ids of all snapshots, in order.
func (d *Drives) Snapshots() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sorted(d.snapshots)
}

// SetRoom changes how much room is left.
func (d *Drives) SetRoom(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes = bytes
}

func sorted[V any](m map[string]V) []string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (d *Drives) id(lv string) string {
	return volume.Key{Store: d.store, VG: vg, LV: lv}.String()
}

// CreateVolume implements csi.ControllerServer.
func (d *Drives) CreateVolume(_ context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if _, err := driver.ParseCapabilities("volume_capabilities", req.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	if class := req.GetParameters()[driver.ParamDriveClass]; class != "" && class != d.class {
		return nil, volume.Invalid("parameters."+driver.ParamDriveClass, class, "a drive class of this node")
	}
	want := req.GetAccessibilityRequirements().GetRequisite()
	if len(want) != 1 || len(want[0].GetSegments()) != 1 || want[0].GetSegments()[driver.TopologyKey] != d.store {
		return nil, fmt.Errorf("asked for %v: %w", want, driver.ErrElsewhere)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id, bytes := d.id(volume.VolumeLV(req.GetName())), max(req.GetCapacityRange().GetRequiredBytes(), 1<<30)
	if v := d.volumes[id]; v != nil {
		if v.GetCapacityBytes() != bytes {
			return nil, volume.ErrConflict
		}
		return &csi.CreateVolumeResponse{Volume: v}, nil
	}
	if err := d.checkSource(req.GetVolumeContentSource()); err != nil {
		return nil, err
	}
	if bytes > d.bytes {
		return nil, volume.ErrNoSpace
	}
	d.bytes -= bytes
	d.volumes[id] = &csi.Volume{
		VolumeId: id, CapacityBytes: bytes, ContentSource: req.GetVolumeContentSource(),
		AccessibleTopology: []*csi.Topology{driver.Topology(d.store)},
	}
	return &csi.CreateVolumeResponse{Volume: d.volumes[id]}, nil
}

func (d *Drives) checkSource(src *csi.VolumeContentSource) error {
	if src == nil {
		return nil
	}
	if d.snapshots[src.GetSnapshot().GetSnapshotId()] == nil && d.volumes[src.GetVolume().GetVolumeId()] == nil {
		return fmt.Errorf("source: %w", volume.ErrNotFound)
	}
	return nil
}

// DeleteVolume implements csi.ControllerServer.
func (d *Drives) DeleteVolume(_ context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.volumes[req.GetVolumeId()]; v != nil {
		d.bytes += v.GetCapacityBytes()
		delete(d.volumes, req.GetVolumeId())
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// find is the volume of that id; d.mu is held.
func (d *Drives) find(id string) (*csi.Volume, error) {
	if !strings.HasPrefix(id, d.store+"/") {
		return nil, fmt.Errorf("%s: %w", id, volume.ErrForeign)
	}
	if v := d.volumes[id]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("%s: %w", id, volume.ErrNotFound)
}

// ControllerExpandVolume implements csi.ControllerServer.
func (d *Drives) ControllerExpandVolume(_ context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, err := d.find(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	more := max(req.GetCapacityRange().GetRequiredBytes()-v.GetCapacityBytes(), 0)
	v = proto.CloneOf(v) // the other may be being sent
	v.CapacityBytes, d.bytes = v.GetCapacityBytes()+more, d.bytes-more
	d.volumes[v.GetVolumeId()] = v
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.GetCapacityBytes()}, nil
}

// ControllerGetVolume implements csi.ControllerServer.
func (d *Drives) ControllerGetVolume(_ context.Context, req *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, err := d.find(req.GetVolumeId())
	return &csi.ControllerGetVolumeResponse{Volume: v}, err
}

// ValidateVolumeCapabilities implements csi.ControllerServer.
func (d *Drives) ValidateVolumeCapabilities(_ context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.find(req.GetVolumeId())
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: req.GetVolumeCapabilities()},
	}, err
}

// CreateSnapshot implements csi.ControllerServer.
func (d *Drives) CreateSnapshot(_ context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, err := d.find(req.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	id := d.id("s-" + req.GetName())
	if s := d.snapshots[id]; s != nil && s.GetSourceVolumeId() != v.GetVolumeId() {
		return nil, volume.ErrConflict
	}
	d.snapshots[id] = &csi.Snapshot{SnapshotId: id, SourceVolumeId: v.GetVolumeId(), SizeBytes: v.GetCapacityBytes(), CreationTime: timestamppb.Now(), ReadyToUse: true}
	return &csi.CreateSnapshotResponse{Snapshot: d.snapshots[id]}, nil
}

// DeleteSnapshot implements csi.ControllerServer.
func (d *Drives) DeleteSnapshot(_ context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.snapshots, req.GetSnapshotId())
	return &csi.DeleteSnapshotResponse{}, nil
}

// GetSnapshot implements csi.ControllerServer.
func (d *Drives) GetSnapshot(_ context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.snapshots[req.GetSnapshotId()]
	if s == nil {
		return nil, fmt.Errorf("%s: %w", req.GetSnapshotId(), volume.ErrNotFound)
	}
	return &csi.GetSnapshotResponse{Snapshot: s}, nil
}

// ListVolumes implements csi.ControllerServer.
func (d *Drives) ListVolumes(_ context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids, next, err := page(sorted(d.volumes), req.GetMaxEntries(), req.GetStartingToken())
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, id := range ids {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{Volume: d.volumes[id]})
	}
	return resp, err
}

// ListSnapshots implements csi.ControllerServer.
func (d *Drives) ListSnapshots(_ context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := slices.DeleteFunc(sorted(d.snapshots), func(id string) bool {
		of := req.GetSourceVolumeId()
		return req.GetSnapshotId() != "" && id != req.GetSnapshotId() || of != "" && d.snapshots[id].GetSourceVolumeId() != of
	})
	ids, next, err := page(ids, req.GetMaxEntries(), req.GetStartingToken())
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, id := range ids {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: d.snapshots[id]})
	}
	return resp, err
}

// page is at most limit (0: all) of the ids behind the token, which is one.
func page(ids []string, limit int32, token string) (part []string, next string, err error) {
	if _, err := volume.ParseKey(token); token != "" && err != nil {
		return nil, "", driver.ErrToken
	}
	i, _ := slices.BinarySearch(ids, token+"\x00") // the first id behind it
	ids = ids[i:]
	if limit > 0 && len(ids) > int(limit) {
		return ids[:limit], ids[limit-1], nil
	}
	return ids, "", nil
}

// GetCapacity implements csi.ControllerServer.
func (d *Drives) GetCapacity(_ context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if class := req.GetParameters()[driver.ParamDriveClass]; class != "" && class != d.class {
		return &csi.GetCapacityResponse{MaximumVolumeSize: wrapperspb.Int64(0)}, nil
	}
	return &csi.GetCapacityResponse{AvailableCapacity: d.bytes, MaximumVolumeSize: wrapperspb.Int64(d.bytes), MinimumVolumeSize: wrapperspb.Int64(4 << 20)}, nil
}

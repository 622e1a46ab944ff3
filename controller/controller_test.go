package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

func mustCreate(t *testing.T, s *Service, name string, change func(*csi.CreateVolumeRequest)) *csi.Volume {
	t.Helper()
	resp, err := s.CreateVolume(t.Context(), createRequest(func(r *csi.CreateVolumeRequest) {
		r.Name = name
		if change != nil {
			change(r)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetVolume()
}

func mustSnapshot(t *testing.T, s *Service, name, source string) *csi.Snapshot {
	t.Helper()
	resp, err := s.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: source})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetSnapshot()
}

// TestVolumeAnswers holds that first call, retry, Get and List say the same,
// and that they say what the store has, not what was asked for.
func TestVolumeAnswers(t *testing.T) {
	s := New(newFake(), nil)
	odd := func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = gib + 1 }
	source := mustCreate(t, s, "source", nil)
	snap := mustSnapshot(t, s, "snap", source.GetVolumeId())
	for name, from := range map[string]*csi.VolumeContentSource{
		"empty": nil, "restore": fromSnapshot(snap.GetSnapshotId()), "clone": fromVolume(source.GetVolumeId()),
	} {
		t.Run(name, func(t *testing.T) {
			change := func(r *csi.CreateVolumeRequest) { odd(r); r.VolumeContentSource = from }
			first := mustCreate(t, s, name, change)
			want := &csi.Volume{
				VolumeId: volKey(name).String(), CapacityBytes: gib + 4<<20, ContentSource: from,
				AccessibleTopology: []*csi.Topology{{Segments: map[string]string{"topology.lvme.dev/store": ours}}},
			}
			wantSame(t, "first", first, want)
			wantSame(t, "retry", mustCreate(t, s, name, change), want)
			got, err := s.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: first.GetVolumeId()})
			if err != nil || got.GetStatus() == nil {
				t.Fatalf("get: %v, %v", got, err)
			}
			wantSame(t, "get", got.GetVolume(), want)
			list, err := s.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(list.GetEntries(), func(e *csi.ListVolumesResponse_Entry) bool {
				return e.GetVolume().GetVolumeId() == first.GetVolumeId()
			})
			if i < 0 {
				t.Fatalf("not in the list %v", list)
			}
			wantSame(t, "list", list.GetEntries()[i].GetVolume(), want)
		})
	}
}

func wantSame(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s:\ngot  %v\nwant %v", what, got, want)
	}
}

func TestSnapshotAnswers(t *testing.T) {
	store := newFake()
	s := New(store, nil)
	v := mustCreate(t, s, "v", nil)
	first := mustSnapshot(t, s, "snap", v.GetVolumeId())
	record := store.snapshots[snapKey("snap").String()]
	if first.GetSnapshotId() != record.Key.String() || first.GetSourceVolumeId() != v.GetVolumeId() || first.GetSizeBytes() != gib ||
		!first.GetCreationTime().AsTime().Equal(record.Created) || !first.GetReadyToUse() {
		t.Errorf("got %v", first)
	}
	if first.GetAccessibleTopology() != nil {
		t.Error("accessible_topology without SNAPSHOT_ACCESSIBILITY_CONSTRAINTS")
	}
	wantSame(t, "retry", mustSnapshot(t, s, "snap", v.GetVolumeId()), first)
	got, err := s.GetSnapshot(t.Context(), &csi.GetSnapshotRequest{SnapshotId: first.GetSnapshotId()})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "get", got.GetSnapshot(), first)
	list, err := s.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{})
	if err != nil || len(list.GetEntries()) != 1 {
		t.Fatalf("list: %v, %v", list, err)
	}
	wantSame(t, "list", list.GetEntries()[0].GetSnapshot(), first)
	other := mustCreate(t, s, "other", nil)
	_, err = s.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: other.GetVolumeId()})
	if !errors.Is(err, volume.ErrConflict) {
		t.Errorf("same name, other source: %v", err)
	}
}

func TestCreateSnapshotNamesTheFault(t *testing.T) {
	ok := func() *csi.CreateSnapshotRequest {
		return &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: volKey("v").String(),
			Parameters: map[string]string{"csi.storage.k8s.io/volumesnapshot/name": "x"}}
	}
	for _, tc := range []struct {
		name   string
		change func(*csi.CreateSnapshotRequest)
		field  string
		want   error
	}{
		{"no name", func(r *csi.CreateSnapshotRequest) { r.Name = "" }, "name", volume.ErrInvalid},
		{"no source", func(r *csi.CreateSnapshotRequest) { r.SourceVolumeId = "" }, "source_volume_id", volume.ErrInvalid},
		{"parameter", func(r *csi.CreateSnapshotRequest) { r.Parameters["colour"] = "red" }, "parameters", volume.ErrInvalid},
		{"topology key", func(r *csi.CreateSnapshotRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{"zone": "a"})
		}, "accessibility_requirements.requisite[0]", volume.ErrInvalid},
		{"elsewhere", func(r *csi.CreateSnapshotRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{driver.TopologyKey: theirs})
		}, "", driver.ErrElsewhere},
		{"source of no id of ours", func(r *csi.CreateSnapshotRequest) { r.SourceVolumeId = "testId" }, "", volume.ErrNotFound},
		{"source is a snapshot", func(r *csi.CreateSnapshotRequest) { r.SourceVolumeId = snapKey("a").String() }, "", volume.ErrNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := newFake()
			s := New(store, nil)
			mustCreate(t, s, "v", nil)
			store.called = 0
			req := ok()
			tc.change(req)
			_, err := s.CreateSnapshot(t.Context(), req)
			if tc.field != "" {
				wantField(t, err, tc.field)
			}
			if !errors.Is(err, tc.want) || store.called != 0 {
				t.Errorf("the store was called %d times, error %v", store.called, err)
			}
			if _, err := s.CreateSnapshot(t.Context(), ok()); err != nil {
				t.Errorf("the request without the fault: %v", err)
			}
		})
	}
}

// TestIDs calls every verb with every kind of id.
func TestIDs(t *testing.T) {
	verbs := map[string]func(context.Context, *Service, string) error{
		"DeleteVolume": func(ctx context.Context, s *Service, id string) error {
			_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
			return err
		},
		"ControllerGetVolume": func(ctx context.Context, s *Service, id string) error {
			_, err := s.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: id})
			return err
		},
		"ControllerExpandVolume": func(ctx context.Context, s *Service, id string) error {
			_, err := s.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: gib}})
			return err
		},
		"ValidateVolumeCapabilities": func(ctx context.Context, s *Service, id string) error {
			_, err := s.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: []*csi.VolumeCapability{blockCap()}})
			return err
		},
		"DeleteSnapshot": func(ctx context.Context, s *Service, id string) error {
			_, err := s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
			return err
		},
		"GetSnapshot": func(ctx context.Context, s *Service, id string) error {
			_, err := s.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: id})
			return err
		},
	}
	hostile := []string{
		"fake-vol-id", "/", "//", "../../v-a", ours + "/" + vg, ours + "/" + vg + "/x-a", ours + "/" + vg + "/v-a,b",
		ours + "/" + vg + "/v-a\n", ours + "/" + vg + "/v-ü", ours + "/../v-a", strings.Repeat("a", 129),
	}
	for name, call := range verbs {
		t.Run(name, func(t *testing.T) {
			kind, wrongKind := "v-", "s-"
			if strings.Contains(name, "Snapshot") {
				kind, wrongKind = wrongKind, kind
			}
			check := func(id string, want error) {
				t.Helper()
				s := New(newFake(), nil)
				v := mustCreate(t, s, "kept", nil)
				mustSnapshot(t, s, "kept", v.GetVolumeId())
				if err := call(t.Context(), s, id); !errors.Is(err, want) {
					t.Errorf("id %q: %v, want %v", id, err, want)
				}
				store := s.store.(*fakeStore)
				if len(store.volumes) != 1 || len(store.snapshots) != 1 {
					t.Errorf("id %q: %d volumes, %d snapshots left", id, len(store.volumes), len(store.snapshots))
				}
			}
			var gone error = volume.ErrNotFound
			if strings.HasPrefix(name, "Delete") {
				gone = nil
			}
			check("", volume.ErrInvalid)
			for _, id := range append(hostile, ours+"/"+vg+"/"+wrongKind+"kept", ours+"/"+vg+"/"+kind+"gone") {
				check(id, gone)
			}
			check(theirs+"/"+vg+"/"+kind+"kept", volume.ErrForeign)
			check(ours+"/vgisaway/"+kind+"kept", volume.ErrAway)
		})
	}
}

// TestStoreFailuresKeepTheirKind has every verb fail with each kind of error.
func TestStoreFailuresKeepTheirKind(t *testing.T) {
	store := newFake()
	s := New(store, nil)
	v := mustCreate(t, s, "v", nil)
	snap := mustSnapshot(t, s, "s", v.GetVolumeId())
	ctx := t.Context()
	calls := map[string]func() (proto.Message, error){
		"CreateVolume": func() (proto.Message, error) { return s.CreateVolume(ctx, createRequest(nil)) },
		"DeleteVolume": func() (proto.Message, error) {
			return s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
		},
		"ControllerGetVolume": func() (proto.Message, error) {
			return s.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
		},
		"ControllerExpandVolume": func() (proto.Message, error) {
			return s.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: gib}})
		},
		"ListVolumes": func() (proto.Message, error) { return s.ListVolumes(ctx, &csi.ListVolumesRequest{}) },
		"ValidateVolumeCapabilities": func() (proto.Message, error) {
			return s.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: v.GetVolumeId(), VolumeCapabilities: []*csi.VolumeCapability{mountCap("")}})
		},
		"GetCapacity": func() (proto.Message, error) { return s.GetCapacity(ctx, &csi.GetCapacityRequest{}) },
		"CreateSnapshot": func() (proto.Message, error) {
			return s.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "n", SourceVolumeId: v.GetVolumeId()})
		},
		"DeleteSnapshot": func() (proto.Message, error) {
			return s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: snap.GetSnapshotId()})
		},
		"GetSnapshot": func() (proto.Message, error) {
			return s.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: snap.GetSnapshotId()})
		},
		"ListSnapshots": func() (proto.Message, error) { return s.ListSnapshots(ctx, &csi.ListSnapshotsRequest{}) },
		"ListSnapshots by id": func() (proto.Message, error) {
			return s.ListSnapshots(ctx, &csi.ListSnapshotsRequest{SnapshotId: snap.GetSnapshotId()})
		},
		"ListSnapshots by source": func() (proto.Message, error) {
			return s.ListSnapshots(ctx, &csi.ListSnapshotsRequest{SourceVolumeId: v.GetVolumeId()})
		},
	}
	for name, call := range calls {
		for _, kind := range []error{
			volume.ErrUnavailable, volume.ErrBusy, volume.ErrAway, volume.ErrInUse, volume.ErrNoSpace, context.DeadlineExceeded, errors.New("other"),
		} {
			store.fail = fmt.Errorf("wrapped: %w", kind)
			if _, err := call(); !errors.Is(err, kind) {
				t.Errorf("%s: store fails with %q, got %v", name, kind, err)
			}
		}
	}
}

func TestControllerExpandVolume(t *testing.T) {
	s := New(newFake(), nil)
	fs := mustCreate(t, s, "fs", nil).GetVolumeId()
	block := mustCreate(t, s, "block", func(r *csi.CreateVolumeRequest) {
		r.VolumeCapabilities = []*csi.VolumeCapability{blockCap()}
	}).GetVolumeId()
	size := &csi.CapacityRange{RequiredBytes: 2 * gib}
	for _, tc := range []struct {
		name  string
		req   *csi.ControllerExpandVolumeRequest
		field string // of the fault, "" for none
		node  bool
	}{
		{"filesystem", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: size}, "", true},
		{"filesystem with capability", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: size, VolumeCapability: mountCap("xfs")}, "", true},
		{"filesystem left open", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: size, VolumeCapability: mountCap("")}, "", true},
		{"block", &csi.ControllerExpandVolumeRequest{VolumeId: block, CapacityRange: size, VolumeCapability: blockCap()}, "", false},
		{"no size", &csi.ControllerExpandVolumeRequest{VolumeId: fs}, "capacity_range", false},
		{"size 0", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: &csi.CapacityRange{}}, "capacity_range", false},
		{"negative size", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: &csi.CapacityRange{RequiredBytes: -1}}, "capacity_range.required_bytes", false},
		{"block as filesystem", &csi.ControllerExpandVolumeRequest{VolumeId: block, CapacityRange: size, VolumeCapability: mountCap("")}, "volume_capability.access_type", false},
		{"another filesystem", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: size, VolumeCapability: mountCap("ext4")}, "volume_capability.mount.fs_type", false},
		{"broken capability", &csi.ControllerExpandVolumeRequest{VolumeId: fs, CapacityRange: size, VolumeCapability: &csi.VolumeCapability{}}, "volume_capability.access_mode", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := s.store.(*fakeStore).called
			resp, err := s.ControllerExpandVolume(t.Context(), tc.req)
			if tc.field != "" {
				wantField(t, err, tc.field)
				if s.store.(*fakeStore).called != before {
					t.Error("the store was called")
				}
				return
			}
			if err != nil || resp.GetCapacityBytes() != 2*gib || resp.GetNodeExpansionRequired() != tc.node {
				t.Errorf("got %v, %v", resp, err)
			}
		})
	}
}

// fakeNode is a Node that answers so.
type fakeNode struct {
	grown bool
	err   error
	asked []volume.Key
}

func (n *fakeNode) GrowPublished(_ context.Context, key volume.Key) (bool, error) {
	n.asked = append(n.asked, key)
	return n.grown, n.err
}

// TestExpandWhatPodsHave: nothing is left for the kubelet where the filesystem has
// grown, and where that failed the expansion has not.
func TestExpandWhatPodsHave(t *testing.T) {
	for _, tc := range []struct {
		name string
		node fakeNode
		cap  *csi.VolumeCapability
		left bool
		asks int
	}{
		{"grown", fakeNode{grown: true}, mountCap(""), false, 1},
		{"no pod has it", fakeNode{}, mountCap(""), true, 1},
		{"it failed", fakeNode{err: errors.New("no")}, mountCap(""), true, 1},
		{"block", fakeNode{grown: true}, blockCap(), false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := New(newFake(), &tc.node)
			id := mustCreate(t, s, "a", func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = []*csi.VolumeCapability{tc.cap} }).GetVolumeId()
			resp, err := s.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}})
			if err != nil || resp.GetNodeExpansionRequired() != tc.left || resp.GetCapacityBytes() != 2*gib {
				t.Errorf("got %v, %v; want left for the node %t", resp, err, tc.left)
			}
			if len(tc.node.asked) != tc.asks {
				t.Errorf("the node was asked for %v, want %d", tc.node.asked, tc.asks)
			}
		})
	}
}

func TestValidateVolumeCapabilities(t *testing.T) {
	s := New(newFake(), nil)
	id := mustCreate(t, s, "v", nil).GetVolumeId()
	shared := mountCap("xfs")
	shared.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	for _, tc := range []struct {
		name    string
		caps    []*csi.VolumeCapability
		params  map[string]string
		mutable map[string]string
		message string // part of it; "" when it is confirmed
	}{
		{"same", []*csi.VolumeCapability{mountCap("xfs")}, map[string]string{"type": "thin", "driveClass": "fast", "profile": "general", "csi.storage.k8s.io/pv/name": "x"}, nil, ""},
		{"filesystem left open", []*csi.VolumeCapability{mountCap("")}, nil, nil, ""},
		{"block", []*csi.VolumeCapability{blockCap()}, nil, nil, "access_type"},
		{"another filesystem", []*csi.VolumeCapability{mountCap("ext4")}, nil, nil, "fs_type"},
		{"many nodes", []*csi.VolumeCapability{shared}, nil, nil, "MULTI_NODE_MULTI_WRITER"},
		{"one good, one not", []*csi.VolumeCapability{mountCap("xfs"), shared}, nil, nil, "MULTI_NODE_MULTI_WRITER"},
		{"another type", []*csi.VolumeCapability{mountCap("xfs")}, map[string]string{"type": "thick"}, nil, "parameters.type"},
		{"another class", []*csi.VolumeCapability{mountCap("xfs")}, map[string]string{"driveClass": "slow"}, nil, "parameters.driveClass"},
		{"another profile", []*csi.VolumeCapability{mountCap("xfs")}, map[string]string{"profile": "kafka"}, nil, "parameters.profile"},
		{"unknown parameter", []*csi.VolumeCapability{mountCap("xfs")}, map[string]string{"colour": "red"}, nil, "colour"},
		{"mutable parameter", []*csi.VolumeCapability{mountCap("xfs")}, nil, map[string]string{"iops": "1"}, "iops"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, err := s.ValidateVolumeCapabilities(t.Context(), &csi.ValidateVolumeCapabilitiesRequest{
				VolumeId: id, VolumeCapabilities: tc.caps, Parameters: tc.params, MutableParameters: tc.mutable,
				VolumeContext: map[string]string{"storage.kubernetes.io/csiProvisionerIdentity": "x"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if tc.message != "" {
				if resp.GetConfirmed() != nil || !strings.Contains(resp.GetMessage(), tc.message) {
					t.Errorf("got %v", resp)
				}
				return
			}
			c := resp.GetConfirmed()
			if resp.GetMessage() != "" || len(c.GetVolumeCapabilities()) != len(tc.caps) || len(c.GetParameters()) != len(tc.params) || len(c.GetVolumeContext()) != 1 {
				t.Errorf("got %v", resp)
			}
		})
	}
	for name, caps := range map[string][]*csi.VolumeCapability{"none": nil, "empty": {{}}} {
		_, err := s.ValidateVolumeCapabilities(t.Context(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: caps})
		if !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGetCapacity(t *testing.T) {
	shared := blockCap()
	shared.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	const full = 100 * gib
	for _, tc := range []struct {
		name string
		req  *csi.GetCapacityRequest
		want int64
		kind volume.Type
	}{
		{"nothing set", &csi.GetCapacityRequest{}, full, volume.Thin},
		{"class", &csi.GetCapacityRequest{Parameters: map[string]string{"driveClass": "fast", "type": "thick"}}, full, volume.Thick},
		{"type of the profile", &csi.GetCapacityRequest{Parameters: map[string]string{"profile": "kafka"}}, full, volume.Thick},
		{"type against the profile", &csi.GetCapacityRequest{Parameters: map[string]string{"profile": "kafka", "type": "thin"}}, full, volume.Thin},
		{"xfs options without xfs, as csi-provisioner asks", &csi.GetCapacityRequest{Parameters: map[string]string{"mkfsOptions": "-m reflink=0"}}, full, volume.Thin},
		{"unknown class", &csi.GetCapacityRequest{Parameters: map[string]string{"driveClass": "gold"}}, 0, volume.Thin},
		{"here", &csi.GetCapacityRequest{AccessibleTopology: driver.Topology(ours)}, full, volume.Thin},
		{"no topology in it", &csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{}}, full, volume.Thin},
		{"elsewhere", &csi.GetCapacityRequest{AccessibleTopology: driver.Topology(theirs)}, 0, ""},
		{"unknown key", &csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{Segments: map[string]string{"zone": "a"}}}, 0, ""},
		{"capability", &csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{mountCap("xfs")}}, full, volume.Thin},
		{"many nodes", &csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{shared}}, 0, ""},
		{"block and mount at once", &csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{blockCap(), mountCap("")}}, 0, ""},
		{"a filesystem we lack", &csi.GetCapacityRequest{Parameters: map[string]string{"csi.storage.k8s.io/fstype": "zfs"}}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := newFake()
			resp, err := New(store, nil).GetCapacity(t.Context(), tc.req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetAvailableCapacity() != tc.want || store.lastType != tc.kind {
				t.Errorf("got %v, type %q", resp, store.lastType)
			}
			if resp.GetMaximumVolumeSize() == nil || resp.GetMaximumVolumeSize().GetValue() > tc.want {
				t.Errorf("maximum %v", resp.GetMaximumVolumeSize())
			}
			if tc.want > 0 && (resp.GetMaximumVolumeSize().GetValue() != 40*gib || resp.GetMinimumVolumeSize().GetValue() != 4<<20) {
				t.Errorf("maximum %v, minimum %v", resp.GetMaximumVolumeSize(), resp.GetMinimumVolumeSize())
			}
		})
	}
	for name, req := range map[string]*csi.GetCapacityRequest{
		"unknown parameter": {Parameters: map[string]string{"colour": "red"}},
		"empty capability":  {VolumeCapabilities: []*csi.VolumeCapability{{}}},
	} {
		if _, err := New(newFake(), nil).GetCapacity(t.Context(), req); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListVolumesInPages(t *testing.T) {
	store := newFake()
	s := New(store, nil)
	for _, name := range []string{"e", "c", "a", "d", "b"} {
		mustCreate(t, s, name, nil)
	}
	page := func(limit int32, token string) (names, next string) {
		t.Helper()
		resp, err := s.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: limit, StartingToken: token})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetNextToken()) > 128 {
			t.Errorf("token of %d bytes", len(resp.GetNextToken()))
		}
		for _, e := range resp.GetEntries() {
			id := e.GetVolume().GetVolumeId()
			names += id[len(id)-1:]
		}
		return names, resp.GetNextToken()
	}
	if names, next := page(0, ""); names != "abcde" || next != "" {
		t.Errorf("all: %s, next %q", names, next)
	}
	names, next := page(2, "")
	if names != "ab" || next == "" {
		t.Fatalf("first page: %s, next %q", names, next)
	}
	// The volume that the token names goes, as does one of the next page, and
	// one comes before and one behind it.
	for _, gone := range []string{"b", "c"} {
		if _, err := s.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: volKey(gone).String()}); err != nil {
			t.Fatal(err)
		}
	}
	mustCreate(t, s, "0", nil)
	mustCreate(t, s, "f", nil)
	if names, next := page(0, next); names != "def" || next != "" {
		t.Errorf("second page: %s, next %q", names, next)
	}
}

func TestBadPages(t *testing.T) {
	s := New(newFake(), nil)
	v := mustCreate(t, s, "v", nil).GetVolumeId()
	snap := mustSnapshot(t, s, "s", v).GetSnapshotId()
	for _, tc := range []struct {
		name  string
		kind  string
		limit int32
		token string
		want  error
	}{
		{"negative", "volumes", -1, "", volume.ErrInvalid},
		{"negative", "snapshots", -1, "", volume.ErrInvalid},
		{"nonsense", "volumes", 0, "invalid-token", driver.ErrToken},
		{"nonsense", "snapshots", 0, "invalid-token", driver.ErrToken},
		{"the other list's", "volumes", 0, snap, driver.ErrToken},
		{"the other list's", "snapshots", 0, v, driver.ErrToken},
		{"another store's", "volumes", 0, strings.Replace(v, ours, theirs, 1), driver.ErrToken},
		{"another store's", "snapshots", 0, strings.Replace(snap, ours, theirs, 1), driver.ErrToken},
		{"its own", "volumes", 0, v, nil},
		{"its own", "snapshots", 0, snap, nil},
	} {
		t.Run(tc.kind+" "+tc.name, func(t *testing.T) {
			var err error
			if tc.kind == "volumes" {
				_, err = s.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: tc.limit, StartingToken: tc.token})
			} else {
				_, err = s.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{MaxEntries: tc.limit, StartingToken: tc.token})
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestListSnapshotsFilters(t *testing.T) {
	s := New(newFake(), nil)
	a, b := mustCreate(t, s, "a", nil).GetVolumeId(), mustCreate(t, s, "b", nil).GetVolumeId()
	for _, name := range []string{"a1", "a2", "a3"} {
		mustSnapshot(t, s, name, a)
	}
	b1 := mustSnapshot(t, s, "b1", b).GetSnapshotId()
	if _, err := s.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: b}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		req  *csi.ListSnapshotsRequest
		want string
	}{
		{"all", &csi.ListSnapshotsRequest{}, "a1 a2 a3 b1"},
		{"page", &csi.ListSnapshotsRequest{MaxEntries: 2}, "a1 a2 +"},
		{"rest", &csi.ListSnapshotsRequest{StartingToken: snapKey("a2").String()}, "a3 b1"},
		{"by id", &csi.ListSnapshotsRequest{SnapshotId: b1}, "b1"},
		{"by source", &csi.ListSnapshotsRequest{SourceVolumeId: a}, "a1 a2 a3"},
		{"by source, in pages", &csi.ListSnapshotsRequest{SourceVolumeId: a, MaxEntries: 2, StartingToken: snapKey("a1").String()}, "a2 a3"},
		{"by a source that is gone", &csi.ListSnapshotsRequest{SourceVolumeId: b}, "b1"},
		{"by both", &csi.ListSnapshotsRequest{SnapshotId: b1, SourceVolumeId: b}, "b1"},
		{"by both, which differ", &csi.ListSnapshotsRequest{SnapshotId: b1, SourceVolumeId: a}, ""},
		{"no such id", &csi.ListSnapshotsRequest{SnapshotId: snapKey("zz").String()}, ""},
		{"no id of ours", &csi.ListSnapshotsRequest{SnapshotId: "none-exist-id"}, ""},
		{"a volume's id", &csi.ListSnapshotsRequest{SnapshotId: a}, ""},
		{"no such source", &csi.ListSnapshotsRequest{SourceVolumeId: "none-exist-id"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, err := s.ListSnapshots(t.Context(), tc.req)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range resp.GetEntries() {
				key, err := volume.ParseKey(e.GetSnapshot().GetSnapshotId())
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.TrimPrefix(key.LV, "s-"))
			}
			if resp.GetNextToken() != "" {
				got = append(got, "+")
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
	for name, req := range map[string]*csi.ListSnapshotsRequest{
		"snapshot away": {SnapshotId: ours + "/vgisaway/s-a"},
		"source away":   {SourceVolumeId: ours + "/vgisaway/v-a"},
	} {
		if _, err := s.ListSnapshots(t.Context(), req); !errors.Is(err, volume.ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestControllerGetCapabilities(t *testing.T) {
	always := "CREATE_DELETE_VOLUME EXPAND_VOLUME GET_CAPACITY GET_VOLUME LIST_VOLUMES SINGLE_NODE_MULTI_WRITER"
	withThin := "CLONE_VOLUME CREATE_DELETE_SNAPSHOT CREATE_DELETE_VOLUME EXPAND_VOLUME GET_CAPACITY GET_SNAPSHOT GET_VOLUME LIST_SNAPSHOTS LIST_VOLUMES SINGLE_NODE_MULTI_WRITER"
	for thick, want := range map[bool]string{true: always, false: withThin} {
		store := newFake()
		store.thick = thick
		resp, err := New(store, nil).ControllerGetCapabilities(t.Context(), &csi.ControllerGetCapabilitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range resp.GetCapabilities() {
			got = append(got, c.GetRpc().GetType().String())
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("all thick %v: %v", thick, got)
		}
	}
}

package router_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// volumes lists all volumes in pages of that size.
func (r *running) volumes(limit int32) (ids []string, pages int, err error) {
	token := ""
	for {
		resp, err := r.ListVolumes(within(r, patience), &csi.ListVolumesRequest{MaxEntries: limit, StartingToken: token})
		if err != nil {
			return nil, 0, err
		}
		if limit > 0 && len(resp.GetEntries()) > int(limit) {
			r.Errorf("a page of %d has %d", limit, len(resp.GetEntries()))
		}
		for _, e := range resp.GetEntries() {
			ids = append(ids, e.GetVolume().GetVolumeId())
		}
		pages++
		if token = resp.GetNextToken(); token == "" {
			return ids, pages, nil
		}
	}
}

func TestListVolumes(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 4)
	r := p.start(quick())
	var want []string
	for store, n := range []int{3, 0, 4, 1} {
		for i := range n {
			want = append(want, r.create(volumeOf(fmt.Sprintf("v%d-%d", store, i), in(storeKey(store)))).GetVolumeId())
		}
	}
	slices.Sort(want)
	for limit := range int32(len(want) + 2) {
		got, pages, err := r.volumes(limit)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, %v", limit, got, err)
		}
		if most := (len(want)+int(max(limit, 1))-1)/int(max(limit, 1)) + 4; limit > 0 && pages > most {
			t.Errorf("pages of %d: %d", limit, pages)
		}
	}
	for _, token := range []string{"x", storeKey(0), storeKey(0) + ":x", "a:b", ":", want[0]} {
		_, err := r.ListVolumes(t.Context(), &csi.ListVolumesRequest{StartingToken: token})
		wantCode(t, "token "+token, err, codes.Aborted)
	}
	_, err := r.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: -1})
	wantCode(t, "max_entries -1", err, codes.InvalidArgument)
	_, err = r.ListVolumes(t.Context(), &csi.ListVolumesRequest{StartingToken: "nobodys0:"})
	wantCode(t, "token of a store of nobody", err, codes.Unavailable)

	p.agents[2].Stop()
	r.agents("away", 1)
	_, _, err = r.volumes(0)
	wantCode(t, "a node is away", err, codes.Unavailable)
	p.cluster.SetLost(storeKey(2), true)
	if got, _, err := r.volumes(0); err != nil || len(got) != len(want)-4 {
		t.Errorf("without the lost node: %q, %v", got, err)
	}
	p.agents[1].Stop()
	p.agents[1].Say("", nodeName(1))
	p.agents[1].Start()
	r.agents("starting", 1)
	_, _, err = r.volumes(0)
	wantCode(t, "a node says no more what it holds", err, codes.Unavailable)
}

func TestListSnapshots(t *testing.T) {
	p := newPlace(t, 3)
	r := p.start(quick())
	var want, sources []string
	for store := range 3 {
		source := r.create(volumeOf(fmt.Sprintf("v%d", store), in(storeKey(store)))).GetVolumeId()
		sources = append(sources, source)
		for i := range 2 {
			resp, err := r.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: fmt.Sprintf("s%d-%d", store, i), SourceVolumeId: source})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, resp.GetSnapshot().GetSnapshotId())
		}
	}
	list := func(req *csi.ListSnapshotsRequest) (ids []string) {
		t.Helper()
		for {
			resp, err := r.ListSnapshots(within(t, patience), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range resp.GetEntries() {
				ids = append(ids, e.GetSnapshot().GetSnapshotId())
			}
			if req.StartingToken = resp.GetNextToken(); req.GetStartingToken() == "" {
				return ids
			}
		}
	}
	for _, tc := range []struct {
		name string
		req  *csi.ListSnapshotsRequest
		want []string
	}{
		{"all", &csi.ListSnapshotsRequest{}, want},
		{"all in pages", &csi.ListSnapshotsRequest{MaxEntries: 1}, want},
		{"all in pages across stores", &csi.ListSnapshotsRequest{MaxEntries: 3}, want},
		{"of one source", &csi.ListSnapshotsRequest{SourceVolumeId: sources[1]}, want[2:4]},
		{"of one source in pages", &csi.ListSnapshotsRequest{SourceVolumeId: sources[1], MaxEntries: 1}, want[2:4]},
		{"one", &csi.ListSnapshotsRequest{SnapshotId: want[5]}, want[5:]},
		{"one of another source", &csi.ListSnapshotsRequest{SnapshotId: want[5], SourceVolumeId: sources[0]}, nil},
		{"an id of nobody", &csi.ListSnapshotsRequest{SnapshotId: "none"}, nil},
		{"a source of nobody", &csi.ListSnapshotsRequest{SourceVolumeId: "none"}, nil},
		{"a volume's id", &csi.ListSnapshotsRequest{SnapshotId: sources[0]}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := list(tc.req); !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

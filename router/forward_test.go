package router_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/router/routertest"
)

// calls are all calls that name a volume or snapshot, for a volume id and a
// snapshot id of one store.
func calls(r *running, limit time.Duration, vol, snap string) map[string]func() error {
	volReq := volumeOf("x", nil)
	r.round++ // what was tried in an earlier round counts in no later one
	copyOf := func(from string, source *csi.VolumeContentSource) error {
		req := volumeOf(fmt.Sprintf("%s-%d", from, r.round), nil)
		req.VolumeContentSource = source
		_, err := r.CreateVolume(within(r, limit), req)
		return err
	}
	return map[string]func() error{
		"DeleteVolume": func() error {
			_, err := r.DeleteVolume(within(r, limit), &csi.DeleteVolumeRequest{VolumeId: vol})
			return err
		},
		"ControllerExpandVolume": func() error {
			_, err := r.ControllerExpandVolume(within(r, limit), &csi.ControllerExpandVolumeRequest{VolumeId: vol, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}})
			return err
		},
		"ValidateVolumeCapabilities": func() error {
			_, err := r.ValidateVolumeCapabilities(within(r, limit), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: vol, VolumeCapabilities: volReq.GetVolumeCapabilities()})
			return err
		},
		"ControllerGetVolume": func() error {
			_, err := r.ControllerGetVolume(within(r, limit), &csi.ControllerGetVolumeRequest{VolumeId: vol})
			return err
		},
		"CreateSnapshot": func() error {
			_, err := r.CreateSnapshot(within(r, limit), &csi.CreateSnapshotRequest{Name: "snap-of-calls", SourceVolumeId: vol})
			return err
		},
		"DeleteSnapshot": func() error {
			_, err := r.DeleteSnapshot(within(r, limit), &csi.DeleteSnapshotRequest{SnapshotId: snap})
			return err
		},
		"GetSnapshot": func() error {
			_, err := r.GetSnapshot(within(r, limit), &csi.GetSnapshotRequest{SnapshotId: snap})
			return err
		},
		"ListSnapshots by id": func() error {
			_, err := r.ListSnapshots(within(r, limit), &csi.ListSnapshotsRequest{SnapshotId: snap})
			return err
		},
		"ListSnapshots by source": func() error {
			_, err := r.ListSnapshots(within(r, limit), &csi.ListSnapshotsRequest{SourceVolumeId: vol})
			return err
		},
		"CreateVolume from a snapshot": func() error {
			return copyOf("snapshot", &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
				Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snap},
			}})
		},
		"CreateVolume from a volume": func() error {
			return copyOf("volume", &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
				Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: vol},
			}})
		},
	}
}

// codesOf are the codes that calls must end with.
type codesOf struct {
	deletes, reads, changes, lists, creates codes.Code
}

func (w codesOf) of(name string) codes.Code {
	switch name {
	case "DeleteVolume", "DeleteSnapshot":
		return w.deletes
	case "ListSnapshots by id", "ListSnapshots by source":
		return w.lists
	case "ControllerExpandVolume", "CreateSnapshot":
		return w.changes
	case "CreateVolume from a snapshot", "CreateVolume from a volume":
		return w.creates
	}
	return w.reads
}

// every makes every call and compares its code.
func (w codesOf) every(t *testing.T, r *running, limit time.Duration, vol, snap string) {
	t.Helper()
	for name, call := range calls(r, limit, vol, snap) {
		start := time.Now()
		wantCode(t, name, call(), w.of(name))
		if took := time.Since(start); took > limit+500*time.Millisecond {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// unavailable is what there is to say of a store that cannot be asked.
var unavailable = codesOf{codes.Unavailable, codes.Unavailable, codes.Unavailable, codes.Unavailable, codes.Unavailable}

// given up is the same when it has been so for long.
var givenUp = codesOf{codes.Unavailable, codes.Unavailable, codes.Unavailable, codes.Unavailable, codes.ResourceExhausted}

func TestCodes(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2)
	c := quick()
	c.Restart, c.GiveUp = 3*time.Second, 6*time.Second // a round of all calls fits in between, on a busy machine too
	r := p.start(c)
	vol := r.create(volumeOf("vol", in(storeKey(0)))).GetVolumeId()
	resp, err := r.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: vol})
	if err != nil {
		t.Fatal(err)
	}
	snap := resp.GetSnapshot().GetSnapshotId()
	fast := 2 * time.Second // less than what a call waits for a restart
	notFound := codesOf{codes.OK, codes.NotFound, codes.NotFound, codes.OK, codes.NotFound}

	t.Run("an id of nobody", func(t *testing.T) { notFound.every(t, r, fast, "fake-vol-id", "fake-snap-id") })
	t.Run("ids of the wrong kind", func(t *testing.T) {
		w := notFound
		w.creates = codes.OK // the agent refuses this; the one in memory copies whatever exists
		for name, call := range calls(r, fast, snap, vol) {
			if w.of(name) != codes.OK || name == "DeleteVolume" || name == "DeleteSnapshot" {
				wantCode(t, name, call(), w.of(name))
			}
		}
	})
	t.Run("nothing of that id", func(t *testing.T) {
		notFound.every(t, r, fast, storeKey(0)+"/vg000001/v-none", storeKey(0)+"/vg000001/s-none")
	})
	t.Run("no id", func(t *testing.T) {
		w := codesOf{codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument, codes.OK, codes.NotFound}
		w.every(t, r, fast, "", "")
	})
	t.Run("over the limit", func(t *testing.T) {
		p.agents[0].SetHook(routertest.Hang("DeleteVolume", "ControllerGetVolume"))
		ctx := within(t, patience)
		for range 3 {
			go func() { _, _ = r.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: vol}) }()
			go func() { _, _ = r.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: vol}) }()
		}
		r.until("three changes run", func() bool { return r.metric("lvme_router_calls_in_flight", "change") == 3 })
		r.until("three reads run", func() bool { return r.metric("lvme_router_calls_in_flight", "read") == 3 })
		aborted := codesOf{codes.Aborted, codes.Aborted, codes.Aborted, codes.Aborted, codes.Aborted}
		aborted.every(t, r, fast, vol, snap)
		// Nobody else has to wait for it.
		if v := r.create(volumeOf("elsewhere", in(storeKey(1)))); storeOf(t, v.GetVolumeId()) != storeKey(1) {
			t.Errorf("made in %s", v.GetVolumeId())
		}
		p.agents[0].SetHook(nil)
		p.agents[0].Stop() // which ends what hangs
		p.agents[0].Start()
		r.agents("serving", 2)
		r.idle()
	})
	t.Run("hung", func(t *testing.T) {
		all := []string{"DeleteVolume", "ControllerExpandVolume", "ValidateVolumeCapabilities", "ControllerGetVolume", "CreateSnapshot",
			"DeleteSnapshot", "GetSnapshot", "ListSnapshots", "CreateVolume"}
		p.agents[0].SetHook(routertest.Hang(all...))
		for name, call := range calls(r, 200*time.Millisecond, vol, snap) {
			wantCode(t, name, call(), codes.DeadlineExceeded)
			r.idle()
		}
		p.agents[0].SetHook(nil)
	})
	t.Run("of another version", func(t *testing.T) {
		p.agents[0].SetHook(func(_ context.Context, method string, _ func() (any, error)) (any, error) {
			return nil, status.Errorf(codes.Unimplemented, "unknown method %s", method)
		})
		unavailable.every(t, r, fast, vol, snap)
		p.agents[0].SetHook(nil)
	})
	t.Run("unknown store", func(t *testing.T) {
		<-time.After(c.GiveUp) // since the router's start
		w := givenUp
		w.every(t, r, fast, "nobodys0/vg000001/v-x", "nobodys0/vg000001/s-x")
		if owed := p.owed(); strings.Contains(owed, "nobodys0") {
			t.Errorf("owed to a store that nobody ever saw: %s", owed)
		}
	})
	t.Run("away", func(t *testing.T) {
		p.agents[0].Stop()
		r.agents("away", 1)
		unavailable.every(t, r, patience, vol, snap)
		<-time.After(c.GiveUp)
		givenUp.every(t, r, fast, vol, snap)
	})
	t.Run("lost", func(t *testing.T) {
		p.cluster.SetLost(storeKey(0), true)
		w := givenUp
		w.deletes = codes.OK
		w.every(t, r, fast, vol, snap)
		for _, id := range []string{vol, snap} {
			found := false
			for _, o := range p.ledger.All() {
				found = found || o.Store == storeKey(0) && o.ID == id
			}
			if !found {
				t.Errorf("deletion of %s is not recorded: %s", id, p.owed())
			}
		}
	})
	t.Run("lost, and the ledger is down", func(t *testing.T) {
		p.ledger.SetDown(true)
		unavailable.every(t, r, fast, storeKey(0)+"/vg000001/v-y", storeKey(0)+"/vg000001/s-y")
		p.ledger.SetDown(false)
	})
	t.Run("paid when it is back", func(t *testing.T) {
		p.agents[0].Start()
		r.until("everything owed is paid", func() bool { return p.owed() == "" })
		if left := append(p.drives[0].Volumes(), p.drives[0].Snapshots()...); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
	t.Run("ok", func(t *testing.T) {
		vol := r.create(volumeOf("vol", in(storeKey(0)))).GetVolumeId()
		resp, err := r.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: vol})
		if err != nil {
			t.Fatal(err)
		}
		for name, call := range calls(r, fast, vol, resp.GetSnapshot().GetSnapshotId()) {
			if name == "DeleteVolume" || name == "DeleteSnapshot" {
				defer func() { wantCode(t, name, call(), codes.OK) }()
				continue
			}
			wantCode(t, name, call(), codes.OK)
		}
	})
}

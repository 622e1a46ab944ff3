package router_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router/routertest"
	"github.com/lvme/lvme/volume"
)

func segments(pairs ...string) *csi.Topology {
	t := &csi.Topology{Segments: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		t.Segments[pairs[i]] = pairs[i+1]
	}
	return t
}

const zone = "topology.kubernetes.io/zone"

func TestPlacement(t *testing.T) {
	p := newPlace(t, 3)
	p.cluster.SetSegments(nodeName(1), map[string]string{zone: "b"})
	p.cluster.SetSegments(nodeName(2), map[string]string{zone: "c"})
	r := p.start(quick())
	source := r.create(volumeOf("source", in(storeKey(1)))).GetVolumeId()
	clone := &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source}}}
	full := map[string]string{driver.ParamDriveClass: "fast-2"}
	for i, tc := range []struct {
		name   string
		where  *csi.TopologyRequirement
		source *csi.VolumeContentSource
		params map[string]string
		room   int64 // of store 0, in GiB
		want   string
		code   codes.Code
	}{
		{name: "the node of the pod", where: in(storeKey(2)), want: storeKey(2)},
		{name: "the first preferred", where: &csi.TopologyRequirement{Requisite: in(storeKey(0), storeKey(1), storeKey(2)).Requisite, Preferred: in(storeKey(2), storeKey(1)).Preferred}, want: storeKey(2)},
		{name: "the next when it is full", where: in(storeKey(0), storeKey(1)), room: -1, want: storeKey(1)},
		{name: "strict when it is full", where: in(storeKey(0)), room: -1, code: codes.ResourceExhausted},
		{name: "preferred binds nobody", where: &csi.TopologyRequirement{Preferred: in(storeKey(0)).Preferred}, room: -1, params: full, want: storeKey(2)},
		{name: "beside its source", source: clone, want: storeKey(1)},
		{name: "beside its source, which is allowed", source: clone, where: in(storeKey(0), storeKey(1)), want: storeKey(1)},
		{name: "beside its source, which is left out", source: clone, where: in(storeKey(0)), code: codes.ResourceExhausted},
		{name: "where its class is", params: full, want: storeKey(2)},
		{name: "where its class is not", params: full, where: in(storeKey(0)), code: codes.InvalidArgument},
		{name: "a class of nobody", params: map[string]string{driver.ParamDriveClass: "none"}, code: codes.InvalidArgument},
		{name: "where there is room", room: 10, want: "not " + storeKey(0)},
		{name: "a zone", where: &csi.TopologyRequirement{Requisite: []*csi.Topology{segments(zone, "c")}}, want: storeKey(2)},
		{name: "a preferred zone", where: &csi.TopologyRequirement{Preferred: []*csi.Topology{segments(zone, "b")}}, want: storeKey(1)},
		{name: "store and zone", where: &csi.TopologyRequirement{Requisite: []*csi.Topology{segments(zone, "b", driver.TopologyKey, storeKey(1))}}, want: storeKey(1)},
		{name: "store and another zone", where: &csi.TopologyRequirement{Requisite: []*csi.Topology{segments(zone, "c", driver.TopologyKey, storeKey(1))}}, code: codes.ResourceExhausted},
		{name: "a zone of nobody", where: &csi.TopologyRequirement{Requisite: []*csi.Topology{segments(zone, "z")}}, code: codes.ResourceExhausted},
		{name: "a key of nobody", where: &csi.TopologyRequirement{Requisite: []*csi.Topology{segments("rack", "z")}}, code: codes.InvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for n := range 4 {
				req := volumeOf(fmt.Sprintf("v%d-%d", i, n), tc.where)
				req.VolumeContentSource, req.Parameters = tc.source, tc.params
				if tc.room != 0 {
					p.drives[0].SetRoom(max(tc.room, 0) * gib)
				}
				req.CapacityRange.RequiredBytes = 11 * gib
				if tc.room == 0 {
					req.CapacityRange.RequiredBytes = gib
				}
				resp, err := r.CreateVolume(within(t, patience), req)
				wantCode(t, "create", err, tc.code)
				if err != nil {
					continue
				}
				got := storeOf(t, resp.GetVolume().GetVolumeId())
				if got != tc.want && (tc.want != "not "+storeKey(0) || got == storeKey(0)) {
					t.Errorf("made in %s, want %s", got, tc.want)
				}
				checkTopology(t, p, resp.GetVolume())
				_, err = r.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: resp.GetVolume().GetVolumeId()})
				wantCode(t, "delete", err, codes.OK)
			}
			p.drives[0].SetRoom(100 * gib)
		})
	}
	if owed := p.owed(); owed != "" {
		t.Errorf("owed: %s", owed)
	}
}

// checkTopology: the segments of the cluster are added to those of the agent.
func checkTopology(t *testing.T, p *place, v *csi.Volume) {
	t.Helper()
	store := storeOf(t, v.GetVolumeId())
	want := map[string]string{driver.TopologyKey: store}
	for i := range p.agents {
		if storeKey(i) == store {
			maps.Copy(want, p.cluster.Segments(nodeName(i)))
		}
	}
	if got := v.GetAccessibleTopology(); len(got) != 1 || !maps.Equal(got[0].GetSegments(), want) {
		t.Errorf("topology %v, want %v", got, want)
	}
}

// TestSameNameSameVolume: a call that is repeated finds what the first made, in
// this router and mostly in the next one.
func TestSameNameSameVolume(t *testing.T) {
	p := newPlace(t, 5)
	r := p.start(quick())
	ids := map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("same-%d", i)
		ids[name] = r.create(volumeOf(name, nil)).GetVolumeId()
	}
	stores := map[string]int{}
	for name, id := range ids {
		stores[storeOf(t, id)]++
		if again := r.create(volumeOf(name, nil)).GetVolumeId(); again != id {
			t.Errorf("%s was %s and is %s", name, id, again)
		}
		other := volumeOf(name, nil)
		other.CapacityRange.RequiredBytes = 2 * gib
		_, err := r.CreateVolume(within(t, patience), other)
		wantCode(t, "the same name with another size", err, codes.AlreadyExists)
	}
	if len(stores) < 3 {
		t.Errorf("20 volumes are in the stores %v", stores)
	}
	r.stop()
	r = p.start(quick())
	moved := 0
	for name, id := range ids {
		if r.create(volumeOf(name, nil)).GetVolumeId() != id {
			moved++
		}
	}
	// Each volume takes one percent of its store.
	if moved > 8 {
		t.Errorf("a new router chose another store for %d of %d names", moved, len(ids))
	}
}

func TestOneCallForANameAtATime(t *testing.T) {
	p := newPlace(t, 1)
	r := p.start(quick())
	p.agents[0].SetHook(routertest.Hang("CreateVolume"))
	go func() { _, _ = r.CreateVolume(within(t, patience), volumeOf("one", nil)) }()
	r.until("the first runs", func() bool { return p.agents[0].Calls("CreateVolume") > 0 })
	_, err := r.CreateVolume(within(t, patience), volumeOf("one", nil))
	wantCode(t, "the second", err, codes.Aborted)
	_, err = r.CreateVolume(t.Context(), volumeOf("", nil))
	wantCode(t, "no name", err, codes.InvalidArgument)
}

// TestAgentMovesAway is the life of a volume whose node dies in the middle of
// its creation: Unavailable, then ResourceExhausted, then elsewhere, and what
// was made at first is deleted when the node is back.
func TestNodeDiesWhileCreating(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2)
	r := p.start(quick())
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		resp, err := next()
		if method == "CreateVolume" {
			p.agents[0].Stop()
		}
		return resp, err
	})
	_, err := r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
	wantCode(t, "the call that was cut off", err, codes.Unavailable)
	if len(p.drives[0].Volumes()) != 1 {
		t.Fatal("nothing was made")
	}
	start := time.Now()
	r.until("the node is given up", func() bool {
		_, err := r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
		if code := codeOf(err); code != codes.Unavailable {
			wantCode(t, "at last", err, codes.ResourceExhausted)
			return true
		}
		if owed := p.owed(); owed != "" {
			t.Errorf("owed while the caller is told to wait: %s", owed)
		}
		return false
	})
	if took := time.Since(start); took > quick().GiveUp+patience {
		t.Errorf("gave up after %s", took)
	}
	if owed, want := p.owed(), storeKey(0)+" pvc"; owed != want {
		t.Errorf("owed: %q, want %q", owed, want)
	}
	if got := storeOf(t, r.create(volumeOf("pvc", in(storeKey(1)))).GetVolumeId()); got != storeKey(1) {
		t.Errorf("made in %s", got)
	}
	// Another replica, and a restart, know of it too.
	r.stop()
	r, second := p.start(quick()), p.start(quick())
	p.agents[0].SetHook(nil)
	p.agents[0].Start()
	r.until("what was made is deleted", func() bool { return len(p.drives[0].Volumes()) == 0 && p.owed() == "" })
	if n := len(p.drives[1].Volumes()); n != 1 {
		t.Errorf("there are %d volumes on the other node", n)
	}
	if paid := r.metric("lvme_router_tombstones_paid_total", "") + second.metric("lvme_router_tombstones_paid_total", ""); paid != 1 {
		t.Errorf("paid %v times", paid)
	}
}

// TestUnwantedAgain: a volume whose tombstone waits is created there after all.
func TestWantedAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	r := p.start(quick())
	id := r.create(volumeOf("pvc", in(storeKey(0)))).GetVolumeId()
	p.agents[0].Stop()
	r.agents("away", 1)
	<-time.After(quick().GiveUp)
	_, err := r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
	wantCode(t, "while away", err, codes.ResourceExhausted)
	r.stop()

	slow := quick()
	slow.Settle = time.Hour // so that nobody pays
	r = p.start(slow)
	p.agents[0].Start()
	r.agents("serving", 1)
	owed := p.ledger.All()
	if len(owed) != 1 {
		t.Fatalf("owed: %v", owed)
	}
	other := p.ledger.Replica()
	if taken, err := other.Take(t.Context(), owed[0], time.Now().Add(300*time.Millisecond)); !taken || err != nil {
		t.Fatal(taken, err)
	}
	_, err = r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
	wantCode(t, "while another replica pays", err, codes.Aborted)
	p.ledger.SetDown(true)
	_, err = r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
	wantCode(t, "while nothing can be recorded", err, codes.Unavailable)
	p.ledger.SetDown(false)
	r.until("it is there again", func() bool {
		resp, err := r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
		return err == nil && resp.GetVolume().GetVolumeId() == id
	})
	if owed := p.owed(); owed != "" {
		t.Errorf("still owed: %s", owed)
	}
}

// TestPayingKeepsWhatIsWanted: a volume that stands behind a PersistentVolume
// is not deleted, whatever is owed; nor is anything while that cannot be known,
// or while an earlier creation still runs.
func TestPayingKeepsWhatIsWanted(t *testing.T) {
	p := newPlace(t, 1)
	r := p.start(quick())
	kept := r.create(volumeOf("kept", in(storeKey(0)))).GetVolumeId()
	gone := r.create(volumeOf("gone", in(storeKey(0)))).GetVolumeId()
	p.cluster.SetWanted(kept)
	p.cluster.SetDown(true)
	ledger := p.ledger.Replica()
	for _, name := range []string{"kept", "gone", "never"} {
		if err := ledger.Add(t.Context(), tombstone(storeKey(0), name)); err != nil {
			t.Fatal(err)
		}
	}
	r.until("what is not there is paid", func() bool { return p.owed() == storeKey(0)+" kept, "+storeKey(0)+" gone" })
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		if method == "DeleteVolume" {
			return nil, fmt.Errorf("being created: %w", volume.ErrBusy)
		}
		return next()
	})
	p.cluster.SetDown(false)
	calls := p.agents[0].Calls("DeleteVolume")
	r.until("it was tried", func() bool { return p.agents[0].Calls("DeleteVolume") > calls+3 })
	if got := p.drives[0].Volumes(); !slices.Equal(got, []string{gone, kept}) {
		t.Errorf("there are %q", got)
	}
	p.agents[0].SetHook(nil)
	r.until("all is paid", func() bool { return p.owed() == "" })
	if got := p.drives[0].Volumes(); !slices.Equal(got, []string{kept}) {
		t.Errorf("there are %q, want %q only", got, kept)
	}
}

// TestEarlierVolumeOfThatName: a volume that was deleted while its node was
// lost is deleted before one of the same name is made.
func TestEarlierVolumeOfThatName(t *testing.T) {
	p := newPlace(t, 1)
	r := p.start(quick())
	id := r.create(volumeOf("pvc", in(storeKey(0)))).GetVolumeId()
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		if method == "DeleteVolume" {
			return nil, fmt.Errorf("the drive is away: %w", volume.ErrAway)
		}
		return next()
	})
	owed := tombstone(storeKey(0), "")
	owed.ID = id
	if err := p.ledger.Replica().Add(t.Context(), owed); err != nil {
		t.Fatal(err)
	}
	larger := volumeOf("pvc", in(storeKey(0)))
	larger.CapacityRange.RequiredBytes = 2 * gib
	r.until("the creation waits for the deletion", func() bool {
		_, err := r.CreateVolume(within(t, patience), larger)
		return codeOf(err) == codes.Aborted && p.owed() != ""
	})
	p.agents[0].SetHook(nil)
	r.until("it is made anew", func() bool {
		resp, err := r.CreateVolume(within(t, patience), larger)
		return err == nil && resp.GetVolume().GetCapacityBytes() == 2*gib
	})
	if owed := p.owed(); owed != "" {
		t.Errorf("still owed: %s", owed)
	}
}

// TestDebtsFirst: nothing is created in a store that is back before what it was
// owed is deleted; its node is not given up meanwhile, and answers all else.
func TestDebtsFirst(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	owed := tombstone(storeKey(0), "")
	owed.ID = storeKey(0) + "/vg000001/v-gone"
	if err := p.ledger.Replica().Add(t.Context(), owed); err != nil {
		t.Fatal(err)
	}
	let := make(chan struct{})
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		if method == "DeleteVolume" {
			<-let
		}
		return next()
	})
	r := p.start(quick())
	r.until("it is being paid", func() bool { return p.agents[0].Calls("DeleteVolume") == 1 })
	<-time.After(quick().GiveUp)
	_, err := r.CreateVolume(within(t, patience), volumeOf("new", in(storeKey(0))))
	wantCode(t, "create", err, codes.Unavailable)
	if n := p.agents[0].Calls("CreateVolume"); n != 0 {
		t.Errorf("the agent was asked %d times", n)
	}
	_, err = r.ControllerGetVolume(within(t, patience), &csi.ControllerGetVolumeRequest{VolumeId: owed.ID})
	wantCode(t, "get", err, codes.NotFound)
	close(let)
	r.until("it is created", func() bool {
		_, err := r.CreateVolume(within(t, patience), volumeOf("new", in(storeKey(0))))
		return err == nil && p.owed() == ""
	})
}

// TestLostAnswerThenElsewhere: the first attempt's answer is lost on a node
// that lives; the caller goes elsewhere, and the first is deleted.
func TestLostAnswerThenElsewhere(t *testing.T) {
	p := newPlace(t, 2)
	r := p.start(quick())
	p.agents[0].SetHook(routertest.LoseAnswers(context.DeadlineExceeded, "CreateVolume"))
	_, err := r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(0))))
	wantCode(t, "the lost answer", err, codes.DeadlineExceeded)
	p.ledger.SetDown(true)
	_, err = r.CreateVolume(within(t, patience), volumeOf("pvc", in(storeKey(1))))
	wantCode(t, "elsewhere, and it cannot be recorded what is left", err, codes.Unavailable)
	p.ledger.SetDown(false)
	r.create(volumeOf("pvc", in(storeKey(1))))
	r.until("the first is deleted", func() bool { return len(p.drives[0].Volumes()) == 0 && p.owed() == "" })
	r.create(volumeOf("pvc", in(storeKey(1))))
	if n := len(p.drives[1].Volumes()); n != 1 || p.owed() != "" {
		t.Errorf("there are %d volumes elsewhere, owed: %s", n, p.owed())
	}
}

// TestAnswerOfAnotherStore: an agent that makes a volume in another store than
// its own is not believed.
func TestAnswerOfAnotherStore(t *testing.T) {
	p := newPlace(t, 1)
	r := p.start(quick())
	p.agents[0].SetHook(func(_ context.Context, method string, next func() (any, error)) (any, error) {
		resp, err := next()
		if made, ok := resp.(*csi.CreateVolumeResponse); ok {
			return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: "another0" + made.GetVolume().GetVolumeId()[8:]}}, nil
		}
		return resp, err
	})
	_, err := r.CreateVolume(within(t, patience), volumeOf("pvc", nil))
	wantCode(t, "create", err, codes.Internal)
}

func TestSnapshotNamesAreOfTheCluster(t *testing.T) {
	p := newPlace(t, 2)
	r := p.start(quick())
	var ids []string
	for i := range 2 {
		ids = append(ids, r.create(volumeOf(fmt.Sprint("v", i), in(storeKey(i)))).GetVolumeId())
	}
	snap := func(source string) (string, error) {
		resp, err := r.CreateSnapshot(within(t, patience), &csi.CreateSnapshotRequest{
			Name: "snap", SourceVolumeId: source, AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{segments()}},
		})
		return resp.GetSnapshot().GetSnapshotId(), err
	}
	first, err := snap(ids[0])
	wantCode(t, "first", err, codes.OK)
	again, err := snap(ids[0])
	if wantCode(t, "again", err, codes.OK); again != first {
		t.Errorf("%s became %s", first, again)
	}
	_, err = snap(ids[1])
	wantCode(t, "of another volume", err, codes.AlreadyExists)
	_, err = r.DeleteSnapshot(within(t, patience), &csi.DeleteSnapshotRequest{SnapshotId: first})
	wantCode(t, "delete", err, codes.OK)
	_, err = snap(ids[1])
	wantCode(t, "once the first is gone", err, codes.OK)
}

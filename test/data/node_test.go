package data

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/lvm"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30

	class = "fast"
	// topologyKey is written out: what an agent says is compared with the
	// document, not with the code.
	topologyKey = "topology.lvme.dev/store"
)

// config has one class with room for both types of volumes. Overcommit lets
// many copies of small filesystems stand on small drives; isolation says that
// freed blocks keep their bytes, as they do on a drive that does not discard.
func config(layout drive.Layout) drive.Config {
	cfg := drive.DefaultConfig()
	c := &cfg.Classes[0]
	c.Name, c.Layout, c.Thin.Share, c.Thick.Share, c.Reserve, c.Thin.Overcommit = class, drive.PerDrive, 60, 6, 5, 4
	if layout != "" {
		c.Layout, c.Thin.GiveBack, c.Thin.Overcommit = layout, false, 1
	}
	if layout == drive.Mirrored {
		c.Thin.Share, c.Thick.Share = 25, 12 // the legs of a new pool are synchronised while the test runs
	}
	return cfg
}

// world is what lies below an agent: a host in memory or this very machine.
type world interface {
	// start starts an agent and waits until it serves.
	start(t *testing.T) *grpc.ClientConn
	// kill ends the agent between two instructions. What it started goes on.
	kill(t *testing.T)
	// stop ends it as SIGTERM does.
	stop(t *testing.T)
	// lvm is LVM below the agent's feet.
	lvm() *lvm.LVM
	drives(t *testing.T) []string
	mounts(t *testing.T) mount.Table
	// reboot ends the agent and forgets all that a reboot forgets.
	reboot(t *testing.T)
	// log is what the agent said last.
	log() string
}

// node is one node with an agent on it.
type node struct {
	csi.IdentityClient
	csi.ControllerClient
	csi.NodeClient
	world
	real   bool
	fake   *fakeWorld // nil on the bed
	config drive.Config
	// root is the directory below which volumes are mounted.
	root string
	// used is how much of each pool is used by nobody's volumes.
	used map[string]int64
	// spoiled: the case leaves the node broken, as is its purpose.
	spoiled bool
}

// connect starts the agent and connects to it.
func (n *node) connect(t *testing.T) {
	t.Helper()
	conn := n.start(t)
	n.IdentityClient, n.ControllerClient, n.NodeClient = csi.NewIdentityClient(conn), csi.NewControllerClient(conn), csi.NewNodeClient(conn)
}

// restart kills the agent and starts another.
func (n *node) restart(t *testing.T) {
	t.Helper()
	n.kill(t)
	n.connect(t)
}

// patience is how long a caller tries again; the bed is slow.
var patience = func() time.Duration {
	if os.Getenv("LVME_BED") == "1" || os.Getenv("LVME_TESTS") == "bed" {
		return 3 * time.Minute
	}
	return 20 * time.Second
}()

// passing are the answers after which sidecars and kubelets call again and
// that are no failure of ours.
var passing = []codes.Code{codes.Aborted, codes.DeadlineExceeded}

// insist makes a call until its answer is none that passes.
func insist(ctx context.Context, call func(context.Context) error, also ...codes.Code) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		err := call(ctx)
		c := status.Code(err)
		if err == nil || ctx.Err() != nil || !slices.Contains(passing, c) && !slices.Contains(also, c) {
			return err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-ctx.Done():
			return err
		}
	}
}

// ask makes a call that must succeed.
func ask[Q, R any](t *testing.T, rpc func(context.Context, Q, ...grpc.CallOption) (R, error), request Q) (response R) {
	t.Helper()
	err := insist(t.Context(), func(ctx context.Context) (err error) {
		response, err = rpc(ctx, request)
		return err
	})
	if err != nil {
		t.Fatalf("%T: %v", request, err)
	}
	return response
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what the agent does by itself.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// refused verifies the code of an answer and that its message holds all texts.
func refused(t *testing.T, what string, err error, want codes.Code, texts ...string) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%s: must be answered with %s, was with %v", what, want, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(status.Convert(err).Message(), text) {
			t.Errorf("%s: the message does not say %q: %v", what, text, err)
		}
	}
}

// scan is what LVM has.
func (n *node) scan(t *testing.T) []lvm.VGReport {
	t.Helper()
	report, err := n.lvm().Scan(t.Context(), n.drives(t))
	must(t, err)
	var ours []lvm.VGReport
	for _, vg := range report.VGs {
		if strings.HasPrefix(vg.Name, "lvme-") {
			ours = append(ours, vg)
		}
	}
	return ours
}

// lvs are the LVs that are not LVM's own, nor the pool.
func lvs(vg lvm.VGReport) []lvm.LV {
	return slices.DeleteFunc(slices.Clone(vg.LVs), func(lv lvm.LV) bool { return lv.Hidden || lv.Name == "pool" })
}

// state is all that a call may change, as text.
func (n *node) state(t *testing.T) string {
	t.Helper()
	var lines []string
	for _, vg := range n.scan(t) {
		for _, lv := range lvs(vg) {
			lines = append(lines, fmt.Sprint(vg.Name, "/", lv.Name, " ", lv.Size, " ", lv.Tags, " ", lv.Active))
		}
	}
	for _, p := range n.mounts(t) {
		lines = append(lines, fmt.Sprint("mount ", p))
	}
	must(t, filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprint(d.Type(), " ", path))
		if n.isMounted(t, path) {
			return fs.SkipDir
		}
		return nil
	}))
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (n *node) isMounted(t *testing.T, path string) bool {
	p, mounted := n.mounts(t).At(path)
	return mounted && p.FSType != "devtmpfs"
}

// unchanged verifies that what is done leaves the state as it is.
func (n *node) unchanged(t *testing.T, do func()) {
	t.Helper()
	before := n.state(t)
	do()
	if after := n.state(t); after != before {
		t.Errorf("the state changed from\n%s\nto\n%s", before, after)
	}
}

// storeKey is the store's, by the node's topology.
func (n *node) storeKey(t *testing.T) string {
	t.Helper()
	return ask(t, n.NodeGetInfo, &csi.NodeGetInfoRequest{}).GetAccessibleTopology().GetSegments()[topologyKey]
}

// consistent compares what the agent lists with what LVM has.
func (n *node) consistent(t *testing.T) {
	t.Helper()
	known, found := n.known(t), map[string]int64{}
	names := map[string]string{}
	key := n.storeKey(t)
	for _, vg := range n.scan(t) {
		for _, lv := range lvs(vg) {
			if strings.HasPrefix(lv.Name, "w-") {
				continue // deleted
			}
			id := key + "/" + strings.TrimPrefix(vg.Name, "lvme-") + "/" + lv.Name
			found[id] = lv.Size
			if other, twice := names[lv.Name]; twice {
				t.Errorf("%s stands twice, as %s too", id, other)
			}
			names[lv.Name] = id
		}
	}
	if !maps.Equal(known, found) {
		t.Errorf("the agent lists\n%v\nLVM has\n%v", known, found)
	}
	if n.fake != nil {
		n.fake.host.LVM.Check(t)
	}
}

// known are the ids and sizes that the agent lists, read in small pages.
func (n *node) known(t *testing.T) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	add := func(id string, bytes int64) {
		if _, twice := all[id]; twice {
			t.Errorf("%s is listed twice", id)
		}
		all[id] = bytes
	}
	for token := ""; ; {
		r := ask(t, n.ListVolumes, &csi.ListVolumesRequest{MaxEntries: 7, StartingToken: token})
		for _, e := range r.GetEntries() {
			add(e.GetVolume().GetVolumeId(), e.GetVolume().GetCapacityBytes())
		}
		if token = r.GetNextToken(); token == "" {
			break
		}
	}
	for token := ""; ; {
		r := ask(t, n.ListSnapshots, &csi.ListSnapshotsRequest{MaxEntries: 7, StartingToken: token})
		for _, e := range r.GetEntries() {
			add(e.GetSnapshot().GetSnapshotId(), e.GetSnapshot().GetSizeBytes())
		}
		if token = r.GetNextToken(); token == "" {
			return all
		}
	}
}

// empty verifies that nothing is left of what was made: no LV but the pools,
// no mount, no block in use.
func (n *node) empty(t *testing.T) {
	t.Helper()
	if t.Failed() || n.spoiled {
		return
	}
	if known := n.known(t); len(known) > 0 {
		t.Errorf("the agent still lists %v", known)
	}
	n.wiped(t)
	n.consistent(t)
	if mounts := n.mounts(t); len(mounts) > 0 {
		t.Errorf("still mounted: %v", mounts)
	}
	if used := n.poolUse(t); !maps.Equal(used, n.used) {
		t.Errorf("pools use %v, at the start %v", used, n.used)
	}
}

// wiped waits until what was deleted is gone.
func (n *node) wiped(t *testing.T) {
	t.Helper()
	eventually(t, "everything deleted is wiped", func() bool {
		return !slices.ContainsFunc(n.scan(t), func(vg lvm.VGReport) bool {
			return slices.ContainsFunc(vg.LVs, func(lv lvm.LV) bool { return strings.HasPrefix(lv.Name, "w-") })
		})
	})
}

// poolUse is how many chunks of each pool are in use.
func (n *node) poolUse(t *testing.T) map[string]int64 {
	t.Helper()
	used := map[string]int64{}
	for _, vg := range n.scan(t) {
		s, err := n.lvm().PoolStatus(t.Context(), vg.Name, "pool")
		must(t, err)
		used[vg.Name] = s.DataUsed
	}
	return used
}

// available is how many bytes of volumes of a type can be made, and the
// largest one.
func (n *node) available(t *testing.T, kind string) (bytes, largest int64) {
	t.Helper()
	r := ask(t, n.GetCapacity, &csi.GetCapacityRequest{Parameters: map[string]string{"type": kind}})
	return r.GetAvailableCapacity(), r.GetMaximumVolumeSize().GetValue()
}

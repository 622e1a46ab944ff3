package sanity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/volume"
)

// ourDevices begins the names of all devices of ours: device-mapper writes a
// hyphen within a VG's name twice.
const ourDevices = "lvme--"

// patience is how long drives may take to be taken and wiped.
const patience = 5 * time.Minute

// bench is the machine under the agent of a round.
type bench struct {
	agent.Host
	// root is the directory below which volumes are mounted.
	root    string
	options agent.Options
	// check looks whether the machine is in order, nil for a true one.
	check func(lvmTB)
}

// lvmTB is lvmtest.TB.
type lvmTB interface {
	Helper()
	Errorf(format string, args ...any)
}

// fakeBench is a machine in memory with two drives.
func fakeBench(tb testing.TB) *bench {
	h := agenttest.NewHost(tb, 2)
	return &bench{Host: h.Agent(), root: h.Mounts.Root, check: func(t lvmTB) { h.LVM.Check(t) }}
}

// realBench is the bed, with nothing of an earlier round on its drives.
func realBench(tb testing.TB) *bench {
	root := tb.TempDir()
	h, err := agent.ThisHost(run.Host{}, root)
	if err != nil {
		tb.Fatal(err)
	}
	b := &bench{Host: h, root: root}
	for _, vg := range b.report(tb).VGs {
		b.tool(tb, "lvm", "vgremove", "-ff", "-y", "--devices", strings.Join(vg.VG().Devices, ","), vg.Name)
	}
	for _, path := range b.paths(tb) {
		// No drive that holds anything, known or not, is taken automatically.
		if err := b.Blocks.Zero(tb.Context(), path, 0, 0); err != nil {
			tb.Fatal(err)
		}
	}
	return b
}

func (b *bench) tool(tb testing.TB, name string, args ...string) {
	tb.Helper()
	res, err := b.Runner.Run(tb.Context(), run.Cmd{Name: name, Args: args, Changes: true})
	if err != nil || res.Code != 0 {
		tb.Fatalf("%s %q: exit %d, %v: %s", name, args, res.Code, err, res.Stderr)
	}
}

// paths are the device nodes of the machine's drives.
func (b *bench) paths(tb testing.TB) []string {
	tb.Helper()
	drives, err := b.Drives(tb.Context())
	if err != nil || len(drives) == 0 {
		tb.Fatalf("drives: %v, %v", drives, err)
	}
	var all []string
	for _, d := range drives {
		all = append(all, d.Path)
	}
	return all
}

// report is what LVM says is on the drives.
func (b *bench) report(tb testing.TB) lvm.Report {
	tb.Helper()
	report, err := lvm.New(b.Runner, b.Kernel).Scan(tb.Context(), b.paths(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

// awaitRoom waits until the agent has taken every drive and volumes of that
// type can be made on each. What is beside them may still be wiped, as on a
// node where volumes are wanted at once.
func (b *bench) awaitRoom(tb testing.TB, a *agenttest.Running, kind volume.Type) {
	tb.Helper()
	drives := int64(len(b.paths(tb)))
	eventually(tb, "room for "+string(kind)+" volumes on all drives", func(ctx context.Context) bool {
		var available, largest int64
		for _, class := range b.options.Config.Classes {
			c, err := a.Store().Capacity(ctx, class.Name, kind)
			if err != nil || c.MaxVolume == 0 {
				return false
			}
			available, largest = available+c.Available, max(largest, c.MaxVolume)
		}
		// The drives have one size: fewer of them have less in all.
		return available > (drives-1)*largest
	}, a)
}

// awaitRest waits until nothing goes on in the background.
func (b *bench) awaitRest(tb testing.TB, a *agenttest.Running) {
	tb.Helper()
	if class := b.options.Config.Default(); class.Thick.Share > 0 {
		b.awaitRoom(tb, a, volume.Thick)
	}
	eventually(tb, "all deleted thick volumes are wiped", func(ctx context.Context) bool {
		return !slices.ContainsFunc(a.Store().Pools(ctx), func(p volume.Pool) bool { return p.Wiping > 0 })
	}, a)
}

// eventually waits for what the agent does by itself.
func eventually(tb testing.TB, what string, happened func(context.Context) bool, a *agenttest.Running) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !happened(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("not within %s: %s; the agent's drives: %+v; its pools: %+v", patience, what, a.Store().Verdicts(), a.Store().Pools(tb.Context()))
		}
	}
}

// leftovers is what the round left behind: volumes, snapshots, LVs, devices,
// mounts, directories, and a store that no longer knows what is on its drives.
func (b *bench) leftovers(tb testing.TB, a *agenttest.Running) []string {
	tb.Helper()
	b.awaitRest(tb, a)
	var left leftovers
	b.compareStores(tb, a.Store(), &left)
	pools := b.lvs(tb, &left)
	b.devices(tb, pools, &left)
	b.mounts(tb, &left)
	for _, path := range []string{"target", "staging"} {
		if _, err := os.Lstat(filepath.Join(b.root, path)); !errors.Is(err, fs.ErrNotExist) {
			left.Errorf("%s is still there: %v", path, err)
		}
	}
	if b.check != nil {
		b.check(&left)
	}
	return left
}

// leftovers collects what is wrong.
type leftovers []string

// Helper implements lvmTB.
func (*leftovers) Helper() {}

// Errorf implements lvmTB.
func (l *leftovers) Errorf(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

// state is all that a store knows.
type state struct {
	Volumes   []volume.Volume
	Snapshots []volume.Snapshot
	Pools     []volume.Pool
}

func stateOf(tb testing.TB, s *volume.Store) state {
	tb.Helper()
	volumes, err := s.Volumes(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	snapshots, err := s.Snapshots(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return state{volumes, snapshots, s.Pools(tb.Context())}
}

// compareStores compares what the agent's store remembers with what one finds
// that looks at the drives for the first time.
func (b *bench) compareStores(tb testing.TB, s *volume.Store, left *leftovers) {
	tb.Helper()
	o := b.StoreOptions(b.options.StateDir, b.options.Config)
	o.ReadOnly = true
	fresh, err := volume.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	defer fresh.Close()
	have, want := stateOf(tb, s), stateOf(tb, fresh)
	if len(have.Volumes)+len(have.Snapshots) > 0 {
		left.Errorf("the store has the volumes %+v and the snapshots %+v", have.Volumes, have.Snapshots)
	}
	if !reflect.DeepEqual(have, want) {
		left.Errorf("the store remembers %+v, on the drives is %+v", have, want)
	}
}

// lvs looks for LVs other than the thin pools and returns their device names.
func (b *bench) lvs(tb testing.TB, left *leftovers) (pools []string) {
	tb.Helper()
	class := b.options.Config.Default()
	report := b.report(tb)
	if drives := b.paths(tb); class.Layout == drive.PerDrive && len(report.VGs) != len(drives) {
		left.Errorf("%d VGs on %d drives", len(report.VGs), len(drives))
	}
	for _, vg := range report.VGs {
		for _, lv := range vg.LVs {
			switch {
			case lv.Hidden:
			case lv.SegType == "thin-pool" && class.Thin.Share > 0:
				pools = append(pools, dm.DeviceName(vg.Name, lv.Name))
			default:
				left.Errorf("LV %s/%s is left: %+v", vg.Name, lv.Name, lv)
			}
		}
	}
	return pools
}

// devices looks for devices that belong to no pool.
func (b *bench) devices(tb testing.TB, pools []string, left *leftovers) {
	tb.Helper()
	names, err := b.Kernel.Names(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	ofPool := func(name string) bool {
		for _, pool := range pools {
			if rest, ok := strings.CutPrefix(name, pool); ok && (rest == "" || rest == "-tpool" || rest == "_tdata" || rest == "_tmeta") {
				return true
			}
		}
		return false
	}
	for _, name := range names {
		if strings.HasPrefix(name, ourDevices) && !ofPool(name) {
			left.Errorf("device %s is left", name)
		}
	}
}

// mounts looks for mounts of volumes.
func (b *bench) mounts(tb testing.TB, left *leftovers) {
	tb.Helper()
	table, err := b.Mounts.Table()
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range table {
		if strings.HasPrefix(p.Path, b.root+"/") || strings.HasPrefix(p.Source, dm.Path(ourDevices)) {
			left.Errorf("mount %+v is left", p)
		}
	}
}

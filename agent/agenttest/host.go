// Package agenttest runs agents in the process of a test: on a host in memory,
// or on any host that it is given.
//
// It only makes things up and starts them; what they have to do is said in the
// tests.
package agenttest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/mount/mounttest"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// DriveBytes is the size of a Host's drives.
const DriveBytes = 20 << 30

// Host is a machine in memory: NVMe drives, LVM on them, filesystems.
type Host struct {
	LVM    *lvmtest.Fake
	Mounts *mounttest.Host

	// plugged is told that drives came and went.
	plugged chan struct{}

	mu     sync.Mutex
	drives []drive.Drive
	zeroed []string
	copied map[string]bool // UUIDs of the copies that have their content
}

// NewHost makes a machine with n blank drives, whose volumes are mounted below
// a directory of the test.
func NewHost(tb testing.TB, n int) *Host {
	tb.Helper()
	h := &Host{LVM: lvmtest.New(), plugged: make(chan struct{}, 1), copied: map[string]bool{}}
	h.LVM.Else = anyProgram{}
	h.Mounts = &mounttest.Host{Root: tb.TempDir(), Lookup: h.device}
	for range n {
		h.Plug()
	}
	return h
}

// Agent is the machine as an agent or a command gets it.
func (h *Host) Agent() agent.Host {
	return agent.Host{
		Runner: copies{h.LVM, h}, Kernel: h.LVM, Blocks: blocks{h}, Mounts: h.Mounts, Drives: h.list,
		Machine: hostrecord.Machine{ID: strings.Repeat("a", 32)},
		Watch:   func(context.Context) (<-chan struct{}, error) { return h.plugged, nil },
	}
}

// Plug plugs one more blank drive in and returns it.
func (h *Host) Plug() drive.Drive {
	h.mu.Lock()
	n := len(h.drives)
	d := drive.Drive{
		Name: fmt.Sprintf("nvme%dn1", n), Path: fmt.Sprintf("/dev/nvme%dn1", n), ID: fmt.Sprintf("eui.%032x", n+1), NGUID: fmt.Sprintf("%032x", n+1),
		Model: "QEMU NVMe Ctrl", Serial: fmt.Sprintf("LVME%04d", n), Firmware: "1.0", NSID: 1, Bytes: DriveBytes, LogicalBlock: 512, PhysicalBlock: 512,
		Transport: "pcie", State: "live", Controllers: []string{fmt.Sprintf("nvme%d", n)}, NUMANode: -1, Major: 259, Minor: uint32(n),
		Content: drive.Content{Probed: true, Blank: true},
		Health:  drive.Health{Status: drive.HealthGood, SMART: &drive.SMART{TemperatureC: 38, AvailableSpare: 100, SpareThreshold: 5}},
	}
	h.drives = append(h.drives, d)
	h.mu.Unlock()
	h.LVM.AddDrive(d.Path, d.Bytes)
	h.signal()
	return d
}

// Unplug takes a drive away.
func (h *Host) Unplug(path string) {
	h.Change(path, func(d *drive.Drive) { d.State = "" })
	h.LVM.Unplug(path)
	h.signal()
}

// Replug brings back a drive that was taken away.
func (h *Host) Replug(path string) {
	h.Change(path, func(d *drive.Drive) { d.State = "live" })
	h.LVM.Plug(path, path)
	h.signal()
}

// Change changes what the machine says of a drive.
func (h *Host) Change(path string, change func(*drive.Drive)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.drives {
		if h.drives[i].Path == path {
			change(&h.drives[i])
		}
	}
}

// Tell has whoever watches the drives look at them, as a drive does that reports
// something by itself.
func (h *Host) Tell() { h.signal() }

// Zeroed lists the devices that were overwritten or given back.
func (h *Host) Zeroed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.zeroed)
}

func (h *Host) signal() {
	select {
	case h.plugged <- struct{}{}:
	default:
	}
}

// list is what drive.Discover is on a true machine.
func (h *Host) list(context.Context) ([]drive.Drive, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.drives), func(d drive.Drive) bool { return d.State == "" }), nil
}

// device finds an active volume by its path.
func (h *Host) device(path string) (mounttest.Disk, bool) {
	name := filepath.Base(path)
	if _, err := h.LVM.Info(context.Background(), name); err != nil {
		return mounttest.Disk{}, false
	}
	for _, vg := range h.report(context.Background()).VGs {
		for _, lv := range vg.LVs {
			if dm.DeviceName(vg.Name, lv.Name) == name {
				return mounttest.Disk{ID: lv.UUID, Bytes: lv.Size}, true
			}
		}
	}
	return mounttest.Disk{}, false
}

// report is all that LVM has, nothing while it cannot be asked.
func (h *Host) report(ctx context.Context) lvm.Report {
	drives, _ := h.list(ctx)
	var paths []string
	for _, d := range drives {
		paths = append(paths, d.Path)
	}
	report, _ := lvm.New(h.LVM, h.LVM).Scan(ctx, paths)
	return report
}

// copies has the copies that LVM makes hold what their origin holds at that
// moment.
type copies struct {
	*lvmtest.Fake
	host *Host
}

// Run implements run.Runner.
func (c copies) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	res, err := c.Fake.Run(ctx, cmd)
	if cmd.Name == "lvm" && cmd.Args[0] == "lvcreate" && slices.Contains(cmd.Args, "-s") {
		c.host.takeOver(context.WithoutCancel(ctx))
	}
	return res, err
}

// takeOver looks for copies that were not there before.
func (h *Host) takeOver(ctx context.Context) {
	report := h.report(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, vg := range report.VGs {
		for _, lv := range vg.LVs {
			origin, ok := vg.LV(lv.Origin)
			if !ok || h.copied[lv.UUID] {
				continue
			}
			h.copied[lv.UUID] = true
			h.Mounts.Copied(origin.UUID, lv.UUID)
		}
	}
}

// blocks notes what is overwritten, and has it hold nothing.
type blocks struct{ host *Host }

func (b blocks) note(path string) error {
	b.host.Mounts.Erase(path)
	b.host.mu.Lock()
	defer b.host.mu.Unlock()
	b.host.zeroed = append(b.host.zeroed, path)
	return nil
}

// Discard implements volume.Blocks.
func (b blocks) Discard(_ context.Context, path string) error { return b.note(path) }

// Zero implements volume.Blocks.
func (b blocks) Zero(_ context.Context, path string, _, _ int64) error { return b.note(path) }

// ZeroShared implements volume.Blocks.
func (b blocks) ZeroShared(_ context.Context, path string, _, _ int64) error { return b.note(path) }

// anyProgram is every program that is not LVM: it is installed and succeeds.
type anyProgram struct{}

// Run implements run.Runner.
func (anyProgram) Run(context.Context, run.Cmd) (run.Result, error) { return run.Result{}, nil }

package volume

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/blockdev"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// rig is the node under a store: the fake LVM, or the real one on the bed.
// The same scenarios run on both.
type rig struct {
	real   bool
	runner run.Runner
	kernel dm.Kernel
	blocks Blocks
	drives func(context.Context) ([]drive.Drive, error)
	// write puts data on an active device, or makes as much mapped.
	write func(t *testing.T, path string, offset int64, data []byte)
	dir   string
	calls calls
	// patience with LVM and the kernel, where it is not the usual one.
	patience time.Duration
}

// calls counts LVM's commands by verb.
type calls struct {
	mu               sync.Mutex
	changes, reports []string
	// unflushed, of the fake, are the drives that a power cut would take changes from.
	unflushed func() []string
}

func (c *calls) observe(verb string, _ time.Duration, _ error, changes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes {
		c.changes = append(c.changes, verb)
	} else {
		c.reports = append(c.reports, verb)
	}
}

// take returns what ran since the last take, as in "lvcreate lvextend + 1 report".
func (c *calls) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.Join(c.changes, " ")
	if len(c.reports) > 0 {
		text += fmt.Sprintf(" + %d reports", len(c.reports))
	}
	if c.unflushed != nil {
		if drives := c.unflushed(); len(drives) > 0 {
			text += fmt.Sprintf(", not flushed: %v", drives)
		}
	}
	c.changes, c.reports = nil, nil
	return text
}

// fastClass is a class called "fast" with these shares in per cent.
func fastClass(layout drive.Layout, thin, thick int) drive.Config {
	cfg := drive.DefaultConfig()
	class := cfg.Default()
	class.Name, class.Layout, class.Thin.Share, class.Thick.Share, class.Reserve = "fast", layout, thin, thick, 5
	cfg.Classes = []drive.Class{class}
	return cfg
}

func (r *rig) options(cfg drive.Config) Options {
	how := []lvm.Option{lvm.WithObserver(r.calls.observe)}
	if r.patience > 0 {
		how = append(how, lvm.WithPatience(r.patience, r.patience))
	}
	return Options{
		Dir: r.dir, Machine: hostrecord.Machine{ID: strings.Repeat("a", 32)}, Config: cfg, Blocks: r.blocks, Drives: r.drives, Background: true,
		// Commands are counted, and a copy would be one: tests of copies say when.
		BackupAfter: time.Hour,
		LVM:         lvm.New(r.runner, r.kernel, how...),
	}
}

// open starts a store that ends with the test.
func (r *rig) open(t *testing.T, cfg drive.Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), r.options(cfg))
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// furnished starts a store and has it take every drive.
func (r *rig) furnished(t *testing.T, cfg drive.Config) *Store {
	t.Helper()
	s := r.open(t, cfg)
	if err := s.Init(t.Context(), s.Plan(nil), func(step string) { t.Log(step) }); err != nil {
		t.Fatalf("take the drives: %v", err)
	}
	waitWiped(t, s)
	r.calls.take()
	return s
}

// waitWiped waits until nothing of the store is being wiped.
func waitWiped(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "everything wiped", func() bool {
		for _, p := range s.Pools(t.Context()) {
			if p.Wiping > 0 {
				return false
			}
		}
		return true
	})
}

// eventually waits for what happens in the background.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 2 minutes: %s", what)
		}
	}
}

// fakeRig is a host in memory with two drives.
func fakeRig(t *testing.T) *rig {
	r, fake := sickRig(t)
	t.Cleanup(func() { fake.Check(t) })
	return r
}

// sickRig is fakeRig for states that no healthy host comes into.
func sickRig(t *testing.T) (*rig, *lvmtest.Fake) {
	fake := lvmtest.New()
	host := &fakeHost{Fake: fake}
	r := &rig{runner: fake, kernel: fake, blocks: host, dir: t.TempDir(), write: host.write}
	r.calls.unflushed = fake.Unflushed
	for i := range 2 {
		fake.AddDrive(fmt.Sprintf("/dev/nvme%dn1", i), 2<<30)
	}
	r.drives = func(context.Context) ([]drive.Drive, error) { return host.drives(), nil }
	return r, fake
}

// fakeHost is what lies around LVM on the host in memory.
type fakeHost struct{ *lvmtest.Fake }

func (fakeHost) drives() []drive.Drive {
	var all []drive.Drive
	for i := range 2 {
		serial := fmt.Sprintf("BED%d", i)
		all = append(all, drive.Drive{
			Name: fmt.Sprintf("nvme%dn1", i), Path: fmt.Sprintf("/dev/nvme%dn1", i), ID: "nvme." + serial, WWID: "nvme." + serial, Serial: serial, Model: "Fake",
			Bytes: 2 << 30, LogicalBlock: 512, PhysicalBlock: 512, Transport: "pcie", State: "live", Content: drive.Content{Probed: true, Blank: true},
		})
	}
	return all
}

// lvOf undoes dm.DeviceName for the names that a store gives.
func lvOf(path string) (vg, lv string) {
	name := strings.ReplaceAll(strings.TrimPrefix(path, dm.Dir+"/"), "--", "\x00")
	vg, lv, _ = strings.Cut(name, "-")
	return strings.ReplaceAll(vg, "\x00", "-"), strings.ReplaceAll(lv, "\x00", "-")
}

func (h fakeHost) write(_ *testing.T, path string, offset int64, data []byte) {
	vg, lv := lvOf(path)
	if strings.HasPrefix(lv, volumePrefix) {
		h.Map(vg, lv, offset+int64(len(data)))
	}
}

// Discard implements Blocks.
func (h fakeHost) Discard(_ context.Context, path string) error {
	h.Unmap(lvOf(path))
	return nil
}

// Zero implements Blocks; the fake keeps no data.
func (fakeHost) Zero(context.Context, string, int64, int64) error { return nil }

// ZeroShared implements Blocks.
func (fakeHost) ZeroShared(context.Context, string, int64, int64) error { return nil }

// realRig is the bed. Nothing of an earlier test is left on its drives.
func realRig(t *testing.T) *rig {
	if os.Getenv("LVME_BED") != "1" {
		t.Skip("needs the bed: make test-real")
	}
	r := &rig{real: true, runner: run.Host{}, kernel: dm.Open(), blocks: blockdev.Host{}, dir: t.TempDir(), write: writeDevice}
	serials := strings.Split(os.Getenv("LVME_BED_DRIVES"), ",")
	r.drives = func(ctx context.Context) ([]drive.Drive, error) {
		all, err := drive.Discover(ctx, drive.Host{Runner: r.runner})
		return slices.DeleteFunc(all, func(d drive.Drive) bool { return !slices.Contains(serials, d.Serial) }), err
	}
	r.wipeDrives(t)
	return r
}

// wipeDrives removes every VG from the drives, and then its traces.
func (r *rig) wipeDrives(t *testing.T) {
	t.Helper()
	drives, err := r.drives(t.Context())
	if err != nil || len(drives) == 0 {
		t.Fatalf("drives of the bed: %v, %v", drives, err)
	}
	report, err := lvm.New(r.runner, r.kernel).Scan(t.Context(), paths(drives))
	if err != nil {
		t.Fatal(err)
	}
	for _, vg := range report.VGs {
		r.tool(t, "lvm", "vgremove", "-ff", "-y", "--devices", strings.Join(vg.VG().Devices, ","), vg.Name)
	}
	for _, d := range drives {
		r.tool(t, "wipefs", "-a", d.Path)
	}
}

func (r *rig) tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	res, err := r.runner.Run(context.WithoutCancel(t.Context()), run.Cmd{Name: name, Args: args, Changes: true})
	if err != nil || res.Code != 0 {
		t.Fatalf("%s %q: exit %d, %v: %s", name, args, res.Code, err, res.Stderr)
	}
	return string(res.Stdout)
}

func paths(drives []drive.Drive) []string {
	var all []string
	for _, d := range drives {
		all = append(all, d.Path)
	}
	return all
}

func writeDevice(t *testing.T, path string, offset int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// nonZero counts the bytes of a device that are not zero.
func nonZero(t *testing.T, path string) (n int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		k, err := f.Read(buf)
		for _, b := range buf[:k] {
			if b != 0 {
				n++
			}
		}
		if k == 0 || err != nil {
			return n
		}
	}
}

func readDevice(t *testing.T, path string, offset int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, offset); err != nil {
		t.Fatal(err)
	}
	return buf
}

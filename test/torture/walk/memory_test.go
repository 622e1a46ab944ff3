package walk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/node"
	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/torture/model"
	"github.com/lvme/lvme/test/torture/mortal"
	"github.com/lvme/lvme/test/torture/walk"
	"github.com/lvme/lvme/volume"
)

const mib = int64(1) << 20

// memory is a host in memory with an agent in this process. What is written to
// its volumes is a mark, for they have no blocks.
type memory struct {
	t       testing.TB
	host    *agenttest.Host
	options agent.Options
	running *agenttest.Running

	mu     sync.Mutex
	life   *mortal.Life
	struck <-chan struct{}
	up     bool
	next   *mortal.Deed      // the death of the agent that is started next
	open   map[string]func() // by the paths of devices
}

// newMemory is a host with two drives that were taken, and things of others: a
// volume in each of our VGs, and a VG on a third drive.
func newMemory(t testing.TB) *memory {
	t.Helper()
	m := &memory{
		t: t, host: agenttest.NewHost(t, 2), options: agenttest.Options(t), life: new(mortal.Life),
		open: map[string]func(){},
	}
	m.options.Config = drive.DefaultConfig()
	c := &m.options.Config.Classes[0]
	c.Thin.Share, c.Thick.Share, c.Reserve, c.Thin.Overcommit = 60, 6, 5, 4
	mortal.Rule(m.host.Mounts, m.alive)
	s, err := volume.Open(t.Context(), m.host.Agent().StoreOptions(m.options.StateDir, m.options.Config))
	must(t, err)
	must(t, s.Init(t.Context(), s.Plan(nil), func(string) {}))
	s.Close()
	_, err = m.Start(t.Context())
	must(t, err)
	m.addForeign()
	must(t, m.Kill(t.Context()))
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addForeign waits until the free extents were wiped.
func (m *memory) addForeign() {
	m.t.Helper()
	ctx := m.t.Context()
	for {
		s, err := m.Look(ctx)
		must(m.t, err)
		if !strings.Contains(m.host.LVM.String(), " w-") {
			for _, vg := range s.VGs {
				must(m.t, m.lvm().CreateThick(ctx, vg.VG(), lvm.ThickSpec{Name: "v-theirs", Size: 4 * mib, Tags: []string{"theirs"}}))
			}
			break
		}
		time.Sleep(time.Millisecond) // the wiper tells nobody
	}
	d := m.host.Plug()
	must(m.t, m.lvm().CreateVG(ctx, lvm.VGSpec{Name: "theirs", Devices: []string{d.Path}}))
	must(m.t, m.lvm().CreateThick(ctx, lvm.VG{Name: "theirs", Devices: []string{d.Path}}, lvm.ThickSpec{Name: "v-pvc-1", Size: 4 * mib}))
}

func (m *memory) lvm() *lvm.LVM { return lvm.New(m.host.LVM, m.host.LVM) }

func (m *memory) alive() *mortal.Life {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life
}

func (m *memory) Root() string            { return m.host.Mounts.Root }
func (m *memory) Patience() time.Duration { return 20 * time.Second }

func (m *memory) Start(ctx context.Context) (walk.Agent, error) {
	m.mu.Lock()
	m.life = &mortal.Life{Halve: m.host.LVM.HalveLast}
	l := m.life
	m.mu.Unlock()
	m.struck = nil
	if m.next != nil {
		m.struck, m.next = l.EndAt(*m.next), nil
	}
	h := m.host.Agent()
	h.Runner = mortal.Runner{Next: h.Runner, Life: l}
	h.Blocks = mortal.Blocks{Next: h.Blocks, Life: l}
	h.Mounts = holding{h.Mounts, m}
	m.running = agenttest.Start(m.t, m.options, h)
	m.up = true
	select {
	case <-m.running.Opened():
		return walk.NewAgent(m.running.Conn), nil
	case <-m.struck: // nil, which is never ready, for an agent that was never doomed
		return walk.Agent{}, mortal.ErrDead
	case <-time.After(m.Patience()):
		return walk.Agent{}, errors.New("the store is not open")
	}
}

func (m *memory) Stop(context.Context) error {
	m.running.Stop()
	m.up = false
	return nil
}

func (m *memory) Kill(context.Context) error {
	m.alive().Die()
	m.running.Stop()
	m.up = false
	return nil
}

func (m *memory) Settled(context.Context) error { return nil }

// Doom orders the death of the agent that runs, or of the next one.
func (m *memory) Doom(_ context.Context, d mortal.Deed) error {
	if m.up {
		m.struck = m.alive().EndAt(d)
	} else {
		m.next, m.struck = &d, nil
	}
	return nil
}

func (m *memory) Struck(context.Context) (bool, error) {
	select {
	case <-m.struck:
		return true, nil
	default:
		return false, nil
	}
}

func (m *memory) Spare(context.Context) error { m.alive().Spare(); return nil }

func (m *memory) Changes(context.Context) (made []walk.Change, err error) {
	for _, what := range m.alive().Made() {
		made = append(made, walk.Change{What: what})
	}
	m.alive().Take()
	return made, nil
}

func (m *memory) PowerCut(ctx context.Context) error {
	err := m.Kill(ctx)
	m.host.Mounts.Reboot()
	m.mu.Lock()
	defer m.mu.Unlock()
	for path, release := range m.open {
		release()
		delete(m.open, path)
	}
	m.host.LVM.Reboot()
	return err
}

func (m *memory) Look(ctx context.Context) (model.Sight, error) {
	s := model.Sight{Pools: map[string]lvm.PoolStatus{}, Foreign: map[string]string{}}
	drives, err := m.host.Agent().Drives(ctx)
	if err != nil {
		return s, err
	}
	var paths []string
	for _, d := range drives {
		paths = append(paths, d.Path)
	}
	report, err := m.lvm().Scan(ctx, paths)
	if err != nil {
		return s, err
	}
	s.VGs = report.VGs
	for _, vg := range s.VGs {
		if status, err := m.lvm().PoolStatus(ctx, vg.Name, "pool"); err == nil {
			s.Pools[vg.Name] = status
		}
		for _, lv := range vg.LVs {
			if vg.Name == "theirs" || lv.Name == "v-theirs" {
				s.Foreign[vg.Name+"/"+lv.Name] = fmt.Sprint(lv.UUID, lv.Size, lv.Tags, lv.Active)
			}
		}
	}
	names, err := m.host.LVM.Names(ctx)
	for _, name := range names {
		if info, err := m.host.LVM.Info(ctx, name); err == nil {
			s.Devices = append(s.Devices, info)
		}
	}
	faults := &collector{}
	m.host.LVM.Check(faults)
	s.Faults = faults.texts
	table, tableErr := m.host.Mounts.Table()
	s.Mounts = table
	return s, errors.Join(err, tableErr)
}

// collector collects what a check of the host in memory finds.
type collector struct{ texts []string }

func (*collector) Helper() {}

func (c *collector) Errorf(format string, args ...any) {
	c.texts = append(c.texts, fmt.Sprintf(format, args...))
}

func (m *memory) MakeDirs(_ context.Context, dirs ...string) error {
	var err error
	for _, dir := range dirs {
		err = errors.Join(err, os.MkdirAll(dir, 0o750))
	}
	return err
}

// device is a published volume's device and LV.
func (m *memory) device(v *rig.Volume) (path, vg, lv string, err error) {
	parts := strings.Split(v.ID, "/")
	vg, lv = "lvme-"+parts[1], parts[2]
	table, err := m.host.Mounts.Table()
	if _, mounted := table.At(v.Target()); err != nil || !mounted {
		return "", "", "", fmt.Errorf("%s is not published: %w", v.ID, err)
	}
	return lvm.DevicePath(vg, lv), vg, lv, nil
}

func (m *memory) Fill(_ context.Context, v *rig.Volume, seed uint64) error {
	path, vg, lv, err := m.device(v)
	if err != nil {
		return err
	}
	if v.Parameters["type"] != "thick" {
		m.host.LVM.Map(vg, lv, mib)
	}
	return m.host.Mounts.Write(path, fmt.Sprint(seed))
}

func (m *memory) Sum(_ context.Context, v *rig.Volume) (string, error) {
	path, _, _, err := m.device(v)
	if err != nil {
		return "", err
	}
	return m.host.Mounts.Read(path)
}

func (m *memory) Check(context.Context, *rig.Volume, string) error { return nil }

func (m *memory) Write(context.Context, *rig.Volume) (walk.Writer, error) { return nil, nil }

func (m *memory) Hold(context.Context, *rig.Volume, string) error { return nil }

// holding has mounted filesystems hold their devices open.
type holding struct {
	node.Host
	m *memory
}

func (h holding) Mount(ctx context.Context, s mount.Spec) error {
	err := h.Host.Mount(ctx, s)
	h.m.hold(s.Device)
	return err
}

func (h holding) Unmount(ctx context.Context, target string) error {
	table, err := h.Table()
	if err != nil {
		return err
	}
	p, _ := table.At(target)
	err = h.Host.Unmount(ctx, target)
	h.m.hold(mount.Device{Path: p.Source, Number: p.Device})
	return err
}

// hold opens or closes a device by what is mounted of it.
func (m *memory) hold(d mount.Device) {
	table, err := m.host.Mounts.Table()
	if err != nil {
		m.t.Error(err)
	}
	mounted := false
	for _, p := range table {
		mounted = mounted || p.Device == d.Number && p.FSType != "devtmpfs"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	release, open := m.open[d.Path]
	switch {
	case mounted && !open:
		parts := strings.Split(strings.TrimPrefix(d.Path, "/dev/mapper/lvme--"), "-v--")
		m.open[d.Path] = m.host.LVM.Open("lvme-"+parts[0], "v-"+strings.ReplaceAll(parts[1], "--", "-"))
	case !mounted && open:
		release()
		delete(m.open, d.Path)
	}
}

package data

import (
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/test/torture/mortal"
	"github.com/lvme/lvme/volume"
)

// fakeWorld is a host in memory with an agent in this process.
type fakeWorld struct {
	tb      testing.TB // at whose end the agent is stopped
	host    *agenttest.Host
	options agent.Options
	running *agenttest.Running

	mu   sync.Mutex
	life *mortal.Life
}

// fakeNode is a node in memory with two drives that were taken.
func fakeNode(t *testing.T, cfg drive.Config) *node {
	t.Helper()
	w := &fakeWorld{tb: t, host: agenttest.NewHost(t, 2), options: agenttest.Options(t), life: new(mortal.Life)}
	w.options.Config = cfg
	mortal.Rule(w.host.Mounts, w.alive)
	furnish(t, w.host.Agent(), w.options)
	n := &node{world: w, fake: w, config: w.options.Config, root: w.host.Mounts.Root}
	n.connect(t)
	n.wiped(t)
	n.used = n.poolUse(t)
	return n
}

// furnish has the drives taken, as `lvme init` does.
func furnish(t *testing.T, h agent.Host, o agent.Options) {
	t.Helper()
	s, err := volume.Open(t.Context(), h.StoreOptions(o.StateDir, o.Config))
	must(t, err)
	defer s.Close()
	must(t, s.Init(t.Context(), s.Plan(nil), func(string) {}))
}

func (w *fakeWorld) alive() *mortal.Life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.life
}

func (w *fakeWorld) start(t *testing.T) *grpc.ClientConn {
	t.Helper()
	l := new(mortal.Life)
	w.mu.Lock()
	w.life = l
	w.mu.Unlock()
	h := w.host.Agent()
	h.Runner, h.Blocks = mortal.Runner{Next: h.Runner, Life: l}, mortal.Blocks{Next: h.Blocks, Life: l}
	w.running = agenttest.Start(w.tb, w.options, h).WaitOpen()
	return w.running.Conn
}

// kill keeps everything that the agent still does from having an effect.
func (w *fakeWorld) kill(t *testing.T) {
	t.Helper()
	w.alive().Die()
	w.running.Stop()
}

func (w *fakeWorld) stop(t *testing.T) { t.Helper(); w.running.Stop() }

func (w *fakeWorld) lvm() *lvm.LVM { return lvm.New(w.host.LVM, w.host.LVM) }

func (w *fakeWorld) drives(t *testing.T) []string {
	t.Helper()
	drives, err := w.host.Agent().Drives(t.Context())
	must(t, err)
	var paths []string
	for _, d := range drives {
		paths = append(paths, d.Path)
	}
	return paths
}

func (w *fakeWorld) mounts(t *testing.T) mount.Table {
	t.Helper()
	table, err := w.host.Mounts.Table()
	must(t, err)
	return table
}

func (w *fakeWorld) reboot(t *testing.T) {
	t.Helper()
	w.kill(t)
	w.host.Mounts.Reboot()
	w.host.LVM.Reboot()
}

func (w *fakeWorld) log() string { return "" }

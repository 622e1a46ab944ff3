package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/volume"
)

// fakeWorld is a host in memory with an agent in this process.
type fakeWorld struct {
	tb      testing.TB // at whose end the agent is stopped
	host    *agenttest.Host
	options agent.Options
	running *agenttest.Running

	mu   sync.Mutex
	life *life
}

// fakeNode is a node in memory with two drives that were taken.
func fakeNode(t *testing.T, cfg drive.Config) *node {
	t.Helper()
	w := &fakeWorld{tb: t, host: agenttest.NewHost(t, 2), options: agenttest.Options(t), life: new(life)}
	w.options.Config = cfg
	w.host.Mounts.Before = func(op string) error { return w.alive().before("mount:" + op) }
	w.host.Mounts.After = func(op string) error { return w.alive().after() }
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

func (w *fakeWorld) alive() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.life
}

func (w *fakeWorld) start(t *testing.T) *grpc.ClientConn {
	t.Helper()
	l := new(life)
	w.mu.Lock()
	w.life = l
	w.mu.Unlock()
	h := w.host.Agent()
	h.Runner, h.Blocks = mortalRunner{h.Runner, l}, mortalBlocks{h.Blocks, l}
	w.running = agenttest.Start(w.tb, w.options, h).WaitOpen()
	return w.running.Conn
}

// kill keeps everything that the agent still does from having an effect.
func (w *fakeWorld) kill(t *testing.T) {
	t.Helper()
	w.alive().die()
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

// errDead is what an agent gets to see that was killed.
var errDead = errors.New("the agent is dead")

// life counts the changes that one agent makes to its host, and ends before or
// after one of them.
type life struct {
	mu      sync.Mutex
	dead    bool
	changes []string
	reads   int
	// until is the number of the change at which it ends, 0 for none; late has
	// that change still take effect.
	until int
	late  bool
	// ended is closed when until was reached.
	ended chan struct{}
}

// endAt has the agent die at its n-th change from now on.
func (l *life) endAt(n int, late bool) (ended <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until, l.late, l.ended = len(l.changes)+n, late, make(chan struct{})
	return l.ended
}

func (l *life) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

func (l *life) before(what string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDead
	}
	l.changes = append(l.changes, what)
	if len(l.changes) == l.until && !l.late {
		l.end()
		return errDead
	}
	return nil
}

func (l *life) after() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until > 0 && len(l.changes) >= l.until {
		l.end()
	}
	if l.dead {
		return errDead
	}
	return nil
}

func (l *life) end() {
	if l.dead = true; l.ended != nil {
		close(l.ended)
		l.ended = nil
	}
}

func (l *life) read() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDead
	}
	l.reads++
	return nil
}

// take says which changes of LVM were made since the last time, and how many
// reports of it.
func (l *life) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(slices.DeleteFunc(l.changes, func(s string) bool { return strings.Contains(s, ":") }), " ")
	if l.reads > 0 {
		text += fmt.Sprintf(" + %d reports", l.reads)
	}
	l.changes, l.reads = nil, 0
	return text
}

// made is how many changes of all kinds were made since the last take.
func (l *life) made() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.changes)
}

// mortalRunner is a runner of an agent that may die.
type mortalRunner struct {
	next run.Runner
	life *life
}

// Run implements run.Runner.
func (r mortalRunner) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if !c.Changes {
		if err := r.life.read(); err != nil {
			return run.Result{}, err
		}
		return r.next.Run(ctx, c)
	}
	if err := r.life.before(c.Args[0]); err != nil {
		return run.Result{}, err
	}
	res, err := r.next.Run(ctx, c)
	if dead := r.life.after(); dead != nil {
		return run.Result{}, dead
	}
	return res, err
}

// mortalBlocks does the same for what is overwritten.
type mortalBlocks struct {
	next volume.Blocks
	life *life
}

func (b mortalBlocks) step(what string, do func() error) error {
	if err := b.life.before("blocks:" + what); err != nil {
		return err
	}
	return errors.Join(do(), b.life.after())
}

// Discard implements volume.Blocks.
func (b mortalBlocks) Discard(ctx context.Context, path string) error {
	return b.step("discard", func() error { return b.next.Discard(ctx, path) })
}

// Zero implements volume.Blocks.
func (b mortalBlocks) Zero(ctx context.Context, path string, offset, length int64) error {
	return b.step("zero", func() error { return b.next.Zero(ctx, path, offset, length) })
}

// ZeroShared implements volume.Blocks.
func (b mortalBlocks) ZeroShared(ctx context.Context, path string, offset, length int64) error {
	return b.step("zero", func() error { return b.next.ZeroShared(ctx, path, offset, length) })
}

package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/test/e2e/check"
	"github.com/lvme/lvme/volume"
)

// node is a machine with drives in memory, its agent, and the wire to it.
type node struct {
	rig     *rig
	name    string
	host    *agenttest.Host
	options agent.Options
	wire    *wire
	// slow is for how long each lvcreate and lvremove does nothing at first.
	slow atomic.Int64
	// made counts the lvcreates of volumes.
	made atomic.Int32
	// certificate is the version of the Secret that the agent has the files of.
	certificate string
	// shadow has the drives of another node in sight, which is asked about them.
	shadow bool

	running *agenttest.Running
	life    *life
}

// newNode makes a machine with drives. Its last one is of the class fast, if it is to have that.
func newNode(t *testing.T, r *rig, name, address string, drives int, fast bool) *node {
	t.Helper()
	n := &node{rig: r, name: name, host: agenttest.NewHost(r.t, drives), options: agenttest.Options(r.t), wire: newWire(address + ":9811")}
	n.options.Grace = 0
	n.options.ClusterAddress, n.options.TLSDir = "127.0.0.1:0", r.t.TempDir()
	n.options.Config = drive.DefaultConfig()
	class := n.options.Config.Default()
	class.Auto, class.Thin.Share, class.Thick.Share = true, 60, 30
	n.options.Config.Classes = []drive.Class{class}
	if fast {
		quick := class
		quick.Name, quick.Select = "fast", drive.Selector{Serials: []string{fmt.Sprintf("LVME%04d", drives-1)}}
		n.options.Config.Classes = []drive.Class{class, quick}
		for i := range drives + 1 { // one more may be plugged in
			if i != drives-1 {
				n.options.Config.Classes[0].Select.Serials = append(n.options.Config.Classes[0].Select.Serials, fmt.Sprintf("LVME%04d", i))
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[name] = n
	return n
}

// store is the key of the node's store.
func (n *node) store() string { return n.running.Store().Key() }

// boot starts the agent on the node and waits until it has taken its drives.
func (n *node) boot(t *testing.T) {
	t.Helper()
	n.options.NodeID = n.name
	n.life = &life{node: n, next: n.host.LVM, over: make(chan struct{})}
	h := n.host.Agent()
	h.Runner = n.life
	n.running = agenttest.Start(n.rig.t, n.options, h).WaitOpen()
	await(t, "the agent of "+n.name+" has taken its drives", func(ctx context.Context) (bool, string) {
		for _, class := range n.options.Config.Classes {
			for _, kind := range []volume.Type{volume.Thin, volume.Thick} {
				if c, err := n.running.Store().Capacity(ctx, class.Name, kind); err != nil || c.MaxVolume == 0 {
					return false, fmt.Sprintf("class %s: %+v, %v", class.Name, c, err)
				}
			}
		}
		return true, ""
	})
	n.wire.connect(t, n.running.ClusterAddress())
}

// kill ends the agent as SIGKILL does: nothing that it was about to say arrives, and nothing that it would have done is
// done. A command of LVM that runs is not touched.
func (n *node) kill() {
	n.wire.cut()
	close(n.life.over)
	n.running.Stop()
}

// life is the time between two ends of an agent. What it has started goes on after it.
type life struct {
	node *node
	next run.Runner
	over chan struct{}
}

var errOver = errors.New("the process was killed")

// Run implements run.Runner.
func (l *life) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	select {
	case <-l.over:
		return run.Result{}, errOver
	default:
	}
	if c.Changes {
		ctx = context.WithoutCancel(ctx)
	}
	type answer struct {
		result run.Result
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		l.node.note(c)
		result, err := l.next.Run(ctx, c)
		answers <- answer{result, err}
	}()
	select {
	case a := <-answers:
		return a.result, a.err
	case <-l.over:
		return run.Result{}, errOver
	}
}

// note counts a command that is about to run, and holds it up if it is to be slow.
func (n *node) note(c run.Cmd) {
	if c.Name != "lvm" {
		return
	}
	if c.Args[0] == "lvcreate" {
		n.made.Add(1)
	}
	if c.Args[0] == "lvcreate" || c.Args[0] == "lvremove" {
		time.Sleep(time.Duration(n.slow.Load()))
	}
}

// scan is what LVM on the node says, past the agent.
func (n *node) scan(ctx context.Context) ([]check.LV, error) {
	drives, err := n.host.Agent().Drives(ctx)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, d := range drives {
		paths = append(paths, d.Path)
	}
	report, err := lvm.New(n.host.LVM, n.host.LVM).Scan(ctx, paths)
	if err != nil {
		return nil, err
	}
	var all []check.LV
	for _, vg := range report.VGs {
		for _, lv := range vg.LVs {
			if !lv.Hidden {
				all = append(all, check.LV{Node: n.name, Store: n.store(), VG: vg.Name, Name: lv.Name, Bytes: lv.Size})
			}
		}
	}
	return all, nil
}

// has says how many logical volumes of that name the node has.
func (n *node) has(t *testing.T, name string) (count int) {
	t.Helper()
	all, err := n.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, lv := range all {
		if lv.Name == name {
			count++
		}
	}
	return count
}

// put writes the files of the Secret as a kubelet does: all of them change at once.
func (n *node) put(version string, files map[string][]byte) error {
	if n.certificate == version {
		return nil
	}
	dir := n.options.TLSDir
	data := filepath.Join(dir, ".."+version)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(data, name), text, 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	swap := filepath.Join(dir, "..tmp")
	if err := os.Symlink(".."+version, swap); err != nil {
		return err
	}
	n.certificate = version
	return os.Rename(swap, filepath.Join(dir, "..data"))
}

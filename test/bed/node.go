package bed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// Options describe a node.
type Options struct {
	Name      string // host name; "bed" when empty
	Drives    []Drive
	MemoryMiB int       // 2048 when 0
	CPUs      int       // 2 when 0
	MachineID string    // 32 hexadecimal digits; random when empty
	Console   io.Writer // gets what the guest writes to its console
	Card      *Card     // a second network card
	Flavour   Flavour   // the plain one when empty
	Seed      uint64    // what a power cut takes from volatile caches depends on it
}

func (o Options) shape() shape {
	sh := shape{MemoryMiB: o.MemoryMiB, CPUs: o.CPUs}
	if sh.MemoryMiB == 0 {
		sh.MemoryMiB = 2048
	}
	if sh.CPUs == 0 {
		sh.CPUs = 2
	}
	return sh
}

// Node is a virtual machine, running or not. Its methods may be called at the same time.
type Node struct {
	name    string
	img     *image
	dir     string // holds its disks
	console io.Writer
	guard   *guardian
	card    *Card

	wiring sync.Mutex // held while a drive's parts in QEMU are changed

	mu        sync.Mutex
	machine   *machine // nil while the power is off
	drives    []*drive
	dice      *mathrand.Rand
	forgotten Forgotten
}

// Forgotten counts, in blocks of 4 KiB, what was in volatile caches when the power was cut, and what of it was lost.
type Forgotten struct{ Written, Lost int }

// errOff is the answer of a node whose power is off.
var errOff = errors.New("the node is switched off")

// Start starts a node. The first one of an unusual shape boots for a while, to save a state for those after it.
func Start(ctx context.Context, opts Options) (*Node, error) {
	img, err := newImage(opts, func(string, ...any) {})
	if err != nil {
		return nil, err
	}
	if err := img.ensureReady(ctx); err != nil {
		return nil, fmt.Errorf("start a node: %w", err)
	}
	n, err := newNode(opts, img)
	if err != nil {
		return nil, fmt.Errorf("start a node: %w", err)
	}
	if err := n.start(ctx, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", n.name, err), n.Close())
	}
	return n, nil
}

// newNode makes a node's directory.
func newNode(opts Options, img *image) (*Node, error) {
	n := &Node{name: opts.Name, img: img, console: opts.Console, card: opts.Card, dice: mathrand.New(mathrand.NewPCG(opts.Seed, 0))}
	if n.name == "" {
		n.name = "bed"
	}
	var err error
	if n.dir, err = os.MkdirTemp("", "lvme-bed-"); err != nil {
		return nil, err
	}
	if n.guard, err = guard(n.dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(n.dir))
	}
	return n, nil
}

// start restores the saved state and makes a node of it.
func (n *Node) start(ctx context.Context, opts Options) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	ready := n.img.cache.Path(n.img.ready)
	if err := n.img.overlay(ctx, n.rootDisk(), filepath.Join(ready, readyDisk), "qcow2"); err != nil {
		return err
	}
	m, err := startMachine(ctx, n.img, n.rootDisk(), n.console, append(hangArgs(), "-incoming", "defer"))
	if err != nil {
		return err
	}
	n.setMachine(m)
	if err := m.restore(ctx, filepath.Join(ready, readyState)); err != nil {
		return m.explain(err)
	}
	if opts.MachineID == "" {
		opts.MachineID = hex.EncodeToString(randomBytes(16))
	}
	if err := m.hello(ctx, n.name, opts.MachineID); err != nil {
		return m.explain(err)
	}
	if err := m.attachCard(ctx, n.card); err != nil {
		return m.explain(err)
	}
	for _, spec := range opts.Drives {
		if err := n.AddDrive(ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) rootDisk() string {
	return filepath.Join(n.dir, "root.qcow2")
}

// hangArgs makes the throttle group for hung drives.
func hangArgs() []string {
	return []string{"-object", encode(args{"qom-type": "throttle-group", "id": hangGroup, "limits": args{"bps-total": 1}})}
}

// hello tells the guest who it is and what time it is.
func (m *machine) hello(ctx context.Context, name, machineID string) error {
	conn, _, err := m.request(ctx, wire.Request{Op: wire.OpHello, Hello: &wire.Hello{
		Now: time.Now(), Seed: randomBytes(64), Hostname: name, MachineID: machineID,
	}})
	if err != nil {
		return fmt.Errorf("greet the guest: %w", err)
	}
	return conn.Close()
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// running returns the machine, or errOff.
func (n *Node) running() (*machine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine == nil {
		return nil, errOff
	}
	return n.machine, nil
}

func (n *Node) setMachine(m *machine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine = m
}

// takeMachine returns the machine and leaves the node switched off.
func (n *Node) takeMachine() *machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machine
	n.machine = nil
	return m
}

// PowerCut stops the machine between two instructions. The drives keep every write that they have answered, unless they
// are volatile; what was in the guest's memory is lost. In one of three cuts volatile drives lose all that they may.
func (n *Node) PowerCut() {
	n.cut(false)
}

// HardPowerCut is a PowerCut in which volatile drives lose all that was not flushed.
func (n *Node) HardPowerCut() {
	n.cut(true)
}

func (n *Node) cut(hard bool) {
	if m := n.takeMachine(); m != nil {
		m.kill()
		n.forget(hard)
	}
}

// Forgotten says what the drives forgot in all power cuts so far.
func (n *Node) Forgotten() Forgotten {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.forgotten
}

// Boot switches a node on that is off, with the drives that were plugged in.
func (n *Node) Boot(ctx context.Context) error {
	if _, err := n.running(); err == nil {
		return fmt.Errorf("boot %s: it is running", n.name)
	}
	n.forgetUnplugged()
	m, err := boot(ctx, n.img, n.rootDisk(), n.console, slices.Concat(hangArgs(), n.card.args(), n.driveArgs()))
	if err != nil {
		return fmt.Errorf("boot %s: %w", n.name, err)
	}
	if err := n.meet(ctx, m); err != nil {
		m.kill()
		return m.explain(fmt.Errorf("boot %s: %w", n.name, err))
	}
	n.setMachine(m)
	return nil
}

// meet greets a guest that has booted, and waits for its drives.
func (n *Node) meet(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if err := m.hello(ctx, n.name, ""); err != nil {
		return err
	}
	for _, d := range n.plugged() {
		if _, err := m.awaitDrive(ctx, d.Serial, false); err != nil {
			return err
		}
	}
	return nil
}

// driveArgs are the arguments of QEMU for the drives that are plugged in.
func (n *Node) driveArgs() []string {
	var argv []string
	for _, d := range n.plugged() {
		argv = append(argv, "-object", encode(d.throttleGroup()))
		for _, node := range d.blockNodes() {
			argv = append(argv, "-blockdev", encode(node))
		}
		argv = append(argv, "-device", encode(d.controller()), "-device", encode(d.namespace()))
	}
	return argv
}

func (n *Node) plugged() []*drive {
	n.mu.Lock()
	defer n.mu.Unlock()
	var plugged []*drive
	for _, d := range n.drives {
		if d.slot >= 0 {
			plugged = append(plugged, d)
		}
	}
	return plugged
}

// Reboot shuts the guest down cleanly and boots it again.
func (n *Node) Reboot(ctx context.Context) error {
	err := n.with("shut down "+n.name, func(m *machine) error {
		ctx, cancel := context.WithTimeout(ctx, bootLimit)
		defer cancel()
		conn, _, err := m.request(ctx, wire.Request{Op: wire.OpRestart})
		if err != nil {
			return err
		}
		defer conn.Close()
		return m.awaitEnd(ctx)
	})
	if err != nil {
		return err
	}
	n.PowerCut() // it has ended; this takes note of that
	return n.Boot(ctx)
}

// Serials returns the serial numbers of the drives that are plugged in, in the order of their adding.
func (n *Node) Serials() []string {
	var serials []string
	for _, d := range n.plugged() {
		serials = append(serials, d.Serial)
	}
	return serials
}

// Close ends the machine and removes its files.
func (n *Node) Close() error {
	n.PowerCut()
	var err error
	for _, d := range n.drives {
		err = errors.Join(err, d.close())
	}
	return errors.Join(err, os.RemoveAll(n.dir), n.guard.dismiss())
}

// guardian is a process that removes a node's directory when this process is killed. (The kernel kills QEMU then.)
type guardian struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// guard starts a guardian. It is in a session of its own, so that what ends this process's group spares it.
func guard(dir string) (*guardian, error) {
	cmd := exec.Command("/bin/sh", "-c", `read -r line; [ "$line" = done ] || { sleep 1; rm -rf -- "$1"; }`, "guardian", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	return &guardian{cmd, pipe}, nil
}

// dismiss ends the guardian without its work being needed.
func (g *guardian) dismiss() error {
	_, err := io.WriteString(g.pipe, "done\n")
	return errors.Join(err, g.pipe.Close(), g.cmd.Wait())
}

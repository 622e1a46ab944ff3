package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// Drive describes an NVMe drive. Its model is always "QEMU NVMe Ctrl".
type Drive struct {
	Serial string // at most 20 characters; unique in a node
	Size   int64  // bytes; 4 GiB when 0

	LogicalBlockSize  int // 512 when 0
	PhysicalBlockSize int // the logical block size when 0
}

// Fault is what a failing drive answers with an I/O error (unrecovered read, write fault). Flushes
// succeed: QEMU flushes a drive itself when its fault is changed.
type Fault struct {
	Reads, Writes bool
}

// driveTimeout is how long a guest may take to notice that a drive has come or gone.
const driveTimeout = 60 * time.Second

// drive is a drive of a node and what is done to it. It is kept while it is unplugged.
type drive struct {
	Drive
	file    string
	slot    int // of the machine; -1 while it is unplugged
	fault   Fault
	hung    bool
	nodes   int    // how many fault nodes there have been, for their names
	current string // the name of the fault node in use, or ""
}

// The names of the parts of a drive in QEMU: NVMe device -> throttle filter -> (error injector ->) file.
func (d *drive) id(part string) string {
	return fmt.Sprintf("%s-%d", part, d.slot)
}

// AddDrive plugs a new drive in and waits until the guest has it.
func (n *Node) AddDrive(ctx context.Context, spec Drive) error {
	d, err := n.newDrive(spec)
	if err != nil {
		return fmt.Errorf("add drive %q to %s: %w", spec.Serial, n.name, err)
	}
	return n.with("add drive "+d.Serial+" to "+n.name, func(m *machine) error { return n.plug(ctx, m, d) })
}

// RemoveDrive pulls a drive out, used or not, and waits until the guest has lost it. The drive keeps its data.
func (n *Node) RemoveDrive(ctx context.Context, serial string) error {
	return n.withDrive("remove", serial, func(m *machine, d *drive) error { return n.unplug(ctx, m, d) })
}

// ReplugDrive plugs a removed drive in again.
func (n *Node) ReplugDrive(ctx context.Context, serial string) error {
	return n.withDrive("replug", serial, func(m *machine, d *drive) error {
		if d.slot >= 0 {
			return errors.New("it is plugged in")
		}
		return n.plug(ctx, m, d)
	})
}

// FailDrive makes a drive answer with I/O errors from now on, instead of its earlier fault.
func (n *Node) FailDrive(ctx context.Context, serial string, fault Fault) error {
	return n.withDrive("fail", serial, func(m *machine, d *drive) error {
		d.fault = fault
		return m.rewire(ctx, d)
	})
}

// HangDrive makes a drive take requests without ever answering them, until it is healed or removed. What it held back
// is done then. The guest's driver is told to wait for ever: it would reset the controller after a minute, and QEMU's
// controller waits for the same answers then.
func (n *Node) HangDrive(ctx context.Context, serial string) error {
	return n.withDrive("hang", serial, func(m *machine, d *drive) error {
		d.hung = true
		return m.rewire(ctx, d)
	})
}

// HealDrive makes a drive work again.
func (n *Node) HealDrive(ctx context.Context, serial string) error {
	return n.withDrive("heal", serial, func(m *machine, d *drive) error {
		d.fault, d.hung = Fault{}, false
		return m.rewire(ctx, d)
	})
}

// Device returns the node of a plugged drive in the guest, /dev/nvme0n1 or the like. It changes when the drive is
// plugged again.
func (n *Node) Device(ctx context.Context, serial string) (string, error) {
	var device string
	err := n.withDrive("find", serial, func(m *machine, _ *drive) (err error) {
		device, err = m.awaitDrive(ctx, serial, false)
		return err
	})
	return device, err
}

// DriveFile returns the file of the host that holds a drive's data, raw.
func (n *Node) DriveFile(serial string) (string, error) {
	d, err := n.drive(serial)
	if err != nil {
		return "", err
	}
	return d.file, nil
}

// withDrive runs an action on a drive of the running machine.
func (n *Node) withDrive(what, serial string, do func(*machine, *drive) error) error {
	what = fmt.Sprintf("%s drive %s of %s", what, serial, n.name)
	d, err := n.drive(serial)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return n.with(what, func(m *machine) error {
		n.wiring.Lock()
		defer n.wiring.Unlock()
		return do(m, d)
	})
}

// drive finds a drive by its serial number.
func (n *Node) drive(serial string) (*drive, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.drives {
		if d.Serial == serial {
			return d, nil
		}
	}
	return nil, fmt.Errorf("%s has no drive with the serial number %q", n.name, serial)
}

// newDrive makes the file of a drive that is not plugged in yet.
func (n *Node) newDrive(spec Drive) (*drive, error) {
	if spec.Size == 0 {
		spec.Size = 4 << 30
	}
	if spec.Serial == "" || len(spec.Serial) > 20 || filepath.Base(spec.Serial) != spec.Serial {
		return nil, errors.New("a serial number has 1 to 20 characters and no slash")
	}
	d := &drive{Drive: spec, file: filepath.Join(n.dir, spec.Serial+".raw"), slot: -1}
	f, err := os.OpenFile(d.file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(spec.Size), f.Close()); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drives = append(n.drives, d)
	return d, nil
}

// takeSlot gives a drive a free slot.
func (n *Node) takeSlot(d *drive) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for slot := range slots {
		if !slices.ContainsFunc(n.drives, func(d *drive) bool { return d.slot == slot }) {
			d.slot = slot
			return nil
		}
	}
	return fmt.Errorf("all %d slots are taken", slots)
}

// freeSlot marks a drive as unplugged.
func (n *Node) freeSlot(d *drive) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d.slot, d.current = -1, ""
}

// plug gives a drive a slot and waits until the guest has found it.
func (n *Node) plug(ctx context.Context, m *machine, d *drive) error {
	if err := n.takeSlot(d); err != nil {
		return err
	}
	if err := m.attach(ctx, d); err != nil {
		return err
	}
	_, err := m.awaitDrive(ctx, d.Serial, false)
	return err
}

// attach makes the drive's parts in QEMU.
func (m *machine) attach(ctx context.Context, d *drive) error {
	if err := m.qmp.do(ctx, "object-add", d.throttleGroup()); err != nil {
		return err
	}
	for _, node := range d.blockNodes() {
		if err := m.qmp.do(ctx, "blockdev-add", node); err != nil {
			return err
		}
	}
	return m.qmp.do(ctx, "device_add", d.device())
}

// unplug takes the drive and its parts out of QEMU.
func (n *Node) unplug(ctx context.Context, m *machine, d *drive) error {
	if d.slot < 0 {
		return errors.New("it is not plugged in")
	}
	ctx, cancel := context.WithTimeout(ctx, driveTimeout)
	defer cancel()
	if d.hung {
		// The guest would wait for the answers, and so would QEMU.
		d.hung = false
		if err := m.rewire(ctx, d); err != nil {
			return err
		}
	}
	if err := m.pull(ctx, d.id("nvme")); err != nil {
		return err
	}
	for _, node := range slices.Backward(d.blockNodes()) {
		if err := m.qmp.do(ctx, "blockdev-del", args{"node-name": node["node-name"]}); err != nil {
			return err
		}
	}
	if err := m.qmp.do(ctx, "object-del", args{"id": d.id("group")}); err != nil {
		return err
	}
	n.freeSlot(d)
	_, err := m.awaitDrive(ctx, d.Serial, true)
	return err
}

// pull takes a device out and waits until the guest has let go of it.
func (m *machine) pull(ctx context.Context, id string) error {
	wait, stop := m.qmp.watch(func(e message) bool { return e.Event == "DEVICE_DELETED" && e.Data.Device == id })
	defer stop()
	if err := m.qmp.do(ctx, "device_del", args{"id": id}); err != nil {
		return err
	}
	if err := wait(ctx); err != nil {
		return fmt.Errorf("the guest does not let go of the device: %w", err)
	}
	return nil
}

// awaitDrive waits until the guest has a drive, or has lost it, and returns its device node.
func (m *machine) awaitDrive(ctx context.Context, serial string, gone bool) (string, error) {
	conn, reply, err := m.request(ctx, wire.Request{Op: wire.OpDrive, Drive: &wire.Drive{Serial: serial, Gone: gone, Wait: driveTimeout}})
	if err != nil {
		return "", err
	}
	return reply.Device, conn.Close()
}

// hangGroup is a throttle group through which next to nothing passes: a byte a second.
const hangGroup = "hang"

// throttleGroup is the group in which the drive is when it does not hang.
func (d *drive) throttleGroup() args {
	return args{"qom-type": "throttle-group", "id": d.id("group")}
}

// blockNodes are the drive's block nodes, from the file up. What the guest has written is in the page cache of the
// host, where it outlives QEMU; the host's own flushes are left out.
func (d *drive) blockNodes() []args {
	nodes := []args{{
		"driver": "file", "node-name": d.id("file"), "filename": d.file,
		"discard": "unmap", "detect-zeroes": "unmap", "cache": args{"direct": false, "no-flush": true},
	}}
	if rules := d.fault.rules(); len(rules) > 0 {
		if d.current == "" {
			d.nodes++
			d.current = fmt.Sprintf("%s-%d", d.id("fault"), d.nodes)
		}
		nodes = append(nodes, args{"driver": "blkdebug", "node-name": d.current, "image": d.id("file"), "inject-error": rules, "discard": "unmap"})
	}
	return append(nodes, d.filter(nodes[len(nodes)-1]["node-name"]))
}

// filter is the uppermost node. All that is done to a drive at run time is to change its child and its group.
func (d *drive) filter(child any) args {
	group := d.id("group")
	if d.hung {
		group = hangGroup
	}
	return args{"driver": "throttle", "node-name": d.id("drive"), "throttle-group": group, "file": child, "discard": "unmap"}
}

// rules are blkdebug's: every request of the failing types fails.
func (f Fault) rules() []args {
	var types []string
	if f.Reads {
		types = append(types, "read")
	}
	if f.Writes {
		types = append(types, "write", "write-zeroes", "discard")
	}
	var rules []args
	for _, t := range types {
		rules = append(rules, args{"event": "none", "iotype": t, "errno": 5, "immediately": false})
	}
	return rules
}

// device is the drive's NVMe controller.
func (d *drive) device() args {
	a := args{"driver": "nvme", "id": d.id("nvme"), "serial": d.Serial, "drive": d.id("drive"), "bus": port(d.slot)}
	if d.LogicalBlockSize != 0 {
		a["logical_block_size"] = d.LogicalBlockSize
		a["physical_block_size"] = max(d.LogicalBlockSize, d.PhysicalBlockSize)
	}
	return a
}

// rewire makes QEMU do to the drive what its fault and hang say now. Requests that are held back are let go.
func (m *machine) rewire(ctx context.Context, d *drive) error {
	if d.slot < 0 {
		return errors.New("it is not plugged in")
	}
	old := d.current
	d.current = ""
	nodes := d.blockNodes()
	for _, node := range nodes[1 : len(nodes)-1] {
		if err := m.qmp.do(ctx, "blockdev-add", node); err != nil {
			return err
		}
	}
	if err := m.qmp.do(ctx, "blockdev-reopen", args{"options": nodes[len(nodes)-1:]}); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return m.qmp.do(ctx, "blockdev-del", args{"node-name": old})
}

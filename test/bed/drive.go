package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/test/bed/internal/volatile"
	"github.com/lvme/lvme/test/bed/internal/wire"
)

// Drive describes an NVMe drive. Its model is always "QEMU NVMe Ctrl".
type Drive struct {
	Serial string // at most 20 characters; unique in a node
	Size   int64  // bytes; 4 GiB when 0

	LogicalBlockSize  int // 512 when 0
	PhysicalBlockSize int // the logical block size when 0

	// The identifiers of the drive's namespace; it has none of those that are left empty.
	EUI64 uint64
	NGUID string // 32 hexadecimal digits
	UUID  string // 36 characters, as in RFC 9562

	// Volatile: the drive has a volatile write cache, as NVMe drives without power-loss protection have. A power cut takes
	// from it, block by block, some of what was written since it was last flushed, or all.
	Volatile bool

	NUMANode int // the node whose PCIe ports the drive is in: 0, which has the CPUs, or 1

	Limit Limit // of its speed; none when empty
}

// Limit is what a drive can do at most, reads and writes together. What is 0 has no limit.
type Limit struct {
	IOPS           int64
	BytesPerSecond int64
}

// String says it in words.
func (l Limit) String() string {
	var parts []string
	if l.IOPS > 0 {
		parts = append(parts, fmt.Sprintf("%d I/Os a second", l.IOPS))
	}
	if l.BytesPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes a second", l.BytesPerSecond))
	}
	if len(parts) == 0 {
		return "no limit"
	}
	return "at most " + strings.Join(parts, ", ")
}

var (
	nguidForm = regexp.MustCompile(`^([0-9A-Fa-f]{32})?$`)
	uuidForm  = regexp.MustCompile(`^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?$`)
)

// check tells what QEMU would not take. It says so too late: with the controller plugged in already.
func (d Drive) check() error {
	switch {
	case d.Serial == "" || len(d.Serial) > 20 || filepath.Base(d.Serial) != d.Serial:
		return errors.New("a serial number has 1 to 20 characters and no slash")
	case !nguidForm.MatchString(d.NGUID):
		return fmt.Errorf("NGUID %q is not 32 hexadecimal digits", d.NGUID)
	case !uuidForm.MatchString(d.UUID):
		return fmt.Errorf("UUID %q is not of the form 01234567-89ab-cdef-0123-456789abcdef", d.UUID)
	case d.NUMANode < 0 || d.NUMANode >= len(nodeSlots):
		return fmt.Errorf("there is no NUMA node %d: there are %d", d.NUMANode, len(nodeSlots))
	}
	return nil
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
	number  int  // in the order of the drives' making; what is the drive's in QEMU has it in its name
	slot    int  // of the machine; -1 while it is unplugged
	made    bool // this QEMU has its namespace, plugged in or not
	fault   Fault
	hung    bool
	warning uint8            // of its SMART log
	nodes   int              // how many fault nodes there have been, for their names
	current string           // the name of the fault node in use, or ""
	cache   *volatile.Server // serves the file if the drive is volatile
}

// socket is where a volatile drive is served.
func (d *drive) socket() string { return d.file + ".sock" }

// close ends what serves it.
func (d *drive) close() error {
	if d.cache == nil {
		return nil
	}
	return d.cache.Close()
}

// AddDrive plugs a new drive in and waits until the guest has it.
func (n *Node) AddDrive(ctx context.Context, spec Drive) error {
	d, err := n.newDrive(spec)
	if err != nil {
		return fmt.Errorf("add drive %q to %s: %w", spec.Serial, n.name, err)
	}
	return n.with("add drive "+d.Serial+" to "+n.name, func(m *machine) error { return n.plug(ctx, m, d) })
}

// RemoveDrive pulls a drive out, used or not, and waits until the guest has lost it: half a second, or six seconds on
// NUMA node 1, where it works for another five. The drive keeps its data.
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

// FailDrive makes a drive, plugged in or not, answer with I/O errors from now on, instead of its earlier fault.
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

// WarnDrive sets the bits of the critical warning in a drive's SMART log, 0 for none. It works as well as before.
func (n *Node) WarnDrive(ctx context.Context, serial string, bits uint8) error {
	return n.withDrive("warn of", serial, func(m *machine, d *drive) error {
		d.warning = bits
		return m.warn(ctx, d)
	})
}

// LimitDrive makes a drive, plugged in or not, as slow as the limit says from now on.
func (n *Node) LimitDrive(ctx context.Context, serial string, limit Limit) error {
	return n.withDrive("limit", serial, func(m *machine, d *drive) error {
		d.Limit = limit
		if !d.made {
			return nil // its group will be made so
		}
		return m.qmp.do(ctx, "qom-set", args{"path": "/objects/" + d.id("group"), "property": "limits", "value": d.Limit.limits()})
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

// Record is what a volatile drive was told since it is recorded, to look at every moment of it.
type Record struct {
	*volatile.Cache
}

// Left is what a power cut leaves of the writes since the last flush: all, none, or the last alone.
type Left = volatile.Left

// The kinds of power cuts.
const (
	LeftAll  = volatile.LeftAll
	LeftNone = volatile.LeftNone
	LeftLast = volatile.LeftLast
)

// RecordDrive begins to record a volatile drive. It is rewound while it is not plugged in.
func (n *Node) RecordDrive(serial string) (Record, error) {
	d, err := n.drive(serial)
	if err == nil && d.cache == nil {
		err = errors.New("it is not volatile")
	}
	if err == nil {
		err = d.cache.Record()
	}
	if err != nil {
		return Record{}, fmt.Errorf("record drive %s of %s: %w", serial, n.name, err)
	}
	return Record{d.cache.Cache}, nil
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
	if err := spec.check(); err != nil {
		return nil, err
	}
	d := &drive{Drive: spec, file: filepath.Join(n.dir, spec.Serial+".raw"), slot: -1}
	f, err := os.OpenFile(d.file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(spec.Size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if spec.Volatile {
		d.cache, err = volatile.Serve(volatile.New(f, spec.Size), d.socket())
	} else {
		err = f.Close()
	}
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.number = len(n.drives); d.number == maxDrives {
		return nil, fmt.Errorf("a node has %d drives in its life", maxDrives)
	}
	n.drives = append(n.drives, d)
	return d, nil
}

// forget has the drives with a volatile cache lose what a power cut takes of it.
func (n *Node) forget(hard bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := hard || n.dice.IntN(3) == 0
	for _, d := range n.drives {
		if d.cache == nil {
			continue
		}
		d.cache.Drain(false)
		written, lost, err := d.cache.Cut(n.dice, all)
		if err != nil {
			panic(fmt.Sprintf("drive %s: %v", d.Serial, err)) // nothing is true of its file any more
		}
		n.forgotten.Written += written
		n.forgotten.Lost += lost
	}
}

// takeSlot gives a drive a free slot of its NUMA node.
func (n *Node) takeSlot(d *drive) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, slot := range nodeSlots[d.NUMANode] {
		if slot == cardSlot && n.card != nil {
			continue
		}
		if !slices.ContainsFunc(n.drives, func(d *drive) bool { return d.slot == slot }) {
			d.slot = slot
			return nil
		}
	}
	return fmt.Errorf("all %d slots of NUMA node %d are taken", len(nodeSlots[d.NUMANode]), d.NUMANode)
}

// freeSlot marks a drive as unplugged.
func (n *Node) freeSlot(d *drive) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d.slot = -1
}

// forgetUnplugged takes note that a new QEMU knows nothing of the drives that are not plugged in.
func (n *Node) forgetUnplugged() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.drives {
		if d.slot < 0 {
			d.made, d.current = false, ""
		}
	}
}

// plug gives a drive a slot and waits until the guest has found it.
func (n *Node) plug(ctx context.Context, m *machine, d *drive) error {
	if err := n.takeSlot(d); err != nil {
		return err
	}
	if err := m.attach(ctx, d); err != nil {
		return err
	}
	if err := m.warn(ctx, d); err != nil {
		return err
	}
	_, err := m.awaitDrive(ctx, d.Serial, false)
	return err
}

// unplug takes the drive's controller out of QEMU, and leaves the namespace in its subsystem.
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
	n.freeSlot(d)
	_, err := m.awaitDrive(ctx, d.Serial, true)
	return err
}

// awaitDrive waits until the guest has a drive, or has lost it, and returns its device node.
func (m *machine) awaitDrive(ctx context.Context, serial string, gone bool) (string, error) {
	conn, reply, err := m.request(ctx, wire.Request{Op: wire.OpDrive, Drive: &wire.Drive{Serial: serial, Gone: gone, Wait: driveTimeout}})
	if err != nil {
		return "", err
	}
	return reply.Device, conn.Close()
}

package bed

import (
	"context"
	"fmt"
)

// The names of the parts of a drive in QEMU: NVMe controller -> subsystem -> namespace -> throttle filter -> (error
// injector ->) file. Only the controller comes and goes with the drive.
func (d *drive) id(part string) string {
	return partID(part, d.number)
}

func partID(part string, number int) string {
	return fmt.Sprintf("%s-%d", part, number)
}

// attach makes the drive's parts in QEMU, but for those that it has kept.
func (m *machine) attach(ctx context.Context, d *drive) error {
	if d.made {
		return m.qmp.do(ctx, "device_add", d.controller())
	}
	if err := m.qmp.do(ctx, "object-add", d.throttleGroup()); err != nil {
		return err
	}
	for _, node := range d.blockNodes() {
		if err := m.qmp.do(ctx, "blockdev-add", node); err != nil {
			return err
		}
	}
	if err := m.qmp.do(ctx, "device_add", d.controller()); err != nil {
		return err
	}
	// QEMU takes a new namespace only by way of a controller, and not while the machine runs. The latter is a matter of
	// the controller's bus having somebody to tell of new devices: the machine will do. The guest needs a hundred times
	// as long to find the controller, and guestd makes it look again if it was faster all the same.
	bus := "/machine/peripheral/" + d.id("nvme") + "/" + d.id("nvme")
	if err := m.qmp.do(ctx, "qom-set", args{"path": bus, "property": "hotplug-handler", "value": "/machine"}); err != nil {
		return err
	}
	if err := m.qmp.do(ctx, "device_add", d.namespace()); err != nil {
		return err
	}
	d.made = true
	return nil
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

// hangGroup is a throttle group through which next to nothing passes: a byte a second.
const hangGroup = "hang"

// throttleGroup is the group in which the drive is when it does not hang.
func (d *drive) throttleGroup() args {
	return args{"qom-type": "throttle-group", "id": d.id("group"), "limits": d.Limit.limits()}
}

// limits are those of a throttle group.
func (l Limit) limits() args {
	return args{"iops-total": l.IOPS, "bps-total": l.BytesPerSecond}
}

// data is the lowest block node. What the guest has written is in the page cache of the host, where it outlives QEMU;
// the host's own flushes are left out. A volatile drive's is in this process's care.
func (d *drive) data() args {
	if d.cache != nil {
		return args{"driver": "nbd", "node-name": d.id("file"), "server": args{"type": "unix", "path": d.socket()}, "discard": "unmap"}
	}
	return args{
		"driver": "file", "node-name": d.id("file"), "filename": d.file,
		"discard": "unmap", "detect-zeroes": "unmap", "cache": args{"direct": false, "no-flush": true},
	}
}

// blockNodes are the drive's block nodes, from the data up.
func (d *drive) blockNodes() []args {
	nodes := []args{d.data()}
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

// controller is the drive's NVMe controller, which finds the drive's namespace in its subsystem.
func (d *drive) controller() args {
	return args{"driver": "nvme", "id": d.id("nvme"), "serial": d.Serial, "bus": port(d.slot), "subsys": d.id("subsys")}
}

// namespace is the drive's namespace. It is made on the bus of a controller and moves to the subsystem by itself.
func (d *drive) namespace() args {
	a := args{"driver": "nvme-ns", "id": d.id("ns"), "bus": d.id("nvme"), "nsid": 1, "drive": d.id("drive")}
	if d.LogicalBlockSize != 0 {
		a["logical_block_size"] = d.LogicalBlockSize
		a["physical_block_size"] = max(d.LogicalBlockSize, d.PhysicalBlockSize)
	}
	if d.EUI64 != 0 {
		a["eui64"] = d.EUI64
	}
	if d.NGUID != "" {
		a["nguid"] = d.NGUID
	}
	if d.UUID != "" {
		a["uuid"] = d.UUID
	}
	return a
}

// warn tells the drive's controller its critical warning.
func (m *machine) warn(ctx context.Context, d *drive) error {
	if d.slot < 0 {
		return nil // it is told when it is plugged in
	}
	return m.qmp.do(ctx, "qom-set", args{"path": "/machine/peripheral/" + d.id("nvme"), "property": "smart_critical_warning", "value": d.warning})
}

// rewire makes QEMU do to the drive what its fault and hang say now. Requests that are held back are let go.
func (m *machine) rewire(ctx context.Context, d *drive) error {
	if !d.made {
		return nil // its parts will be made so
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

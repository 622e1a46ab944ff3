package bed

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// The slots of a machine are PCIe ports for drives and, one of them, for handing files over.
const transferSlot = 0

// nodeSlots are the slots for drives of each NUMA node.
var nodeSlots = [2][]int{slotRange(1, 16), slotRange(17, 8)}

func slotRange(first, count int) []int {
	var slots []int
	for i := range count {
		slots = append(slots, first+i)
	}
	return slots
}

// maxDrives is how many drives a node can have had: each needs a subsystem that is there from the start.
const maxDrives = 64

// farMemoryMiB is the memory of NUMA node 1. It is there to make the node one.
const farMemoryMiB = 128

// kernelArgs is the kernel's command line. The crypto self-tests crash or crawl under TCG; what is of the real
// machine's speed only (mitigations, moving memory between NUMA nodes) or of its diversity (random addresses, interface
// names, second paths to a drive, which QEMU's drives claim to be able to have) is off.
const kernelArgs = "console=ttyS0 panic=-1 oops=panic quiet loglevel=4 cryptomgr.notests mitigations=off nokaslr " +
	"nvme_core.io_timeout=86400 nvme_core.multipath=N numa_balancing=disable random.trust_cpu=on net.ifnames=0"

// shape is what a saved state depends on.
type shape struct {
	MemoryMiB int
	CPUs      int
}

// machineArgs are the arguments of QEMU that make the machine. They are the same for saving a state and for
// restoring it.
func (img *image) machineArgs() []string {
	argv := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,vmport=off,smbus=off,sata=off,i8042=off",
		"-accel", "tcg,thread=multi,tb-size=512",
		"-cpu", "max,-erms,-fsrm,-fzrm,-fsrs,-fsrc", // without the string instructions: TCG does them byte by byte
		"-smp", strconv.Itoa(img.shape.CPUs),
		"-m", strconv.Itoa(img.shape.MemoryMiB),
		"-kernel", filepath.Join(img.cache.Path(img.root), kernelFile),
		"-initrd", filepath.Join(img.cache.Path(img.boot), "initrd"),
		"-append", kernelArgs,
		"-L", filepath.Join(img.cache.Path(img.tools), "tree", "usr", "share", "qemu"),
		"-L", filepath.Join(img.cache.Path(img.tools), "tree", "usr", "share", "seabios"),
	}
	argv = append(argv, img.numaArgs()...)
	argv = append(argv, portArgs("pcie.0", 4, append([]int{transferSlot}, nodeSlots[0]...))...)
	argv = append(argv, portArgs("far", 0, nodeSlots[1])...)
	for i := range maxDrives {
		argv = append(argv, "-device", encode(args{"driver": "nvme-subsys", "id": partID("subsys", i)}))
	}
	return argv
}

// numaArgs make the machine one of two NUMA nodes. Node 0 has the CPUs, nearly all memory and the PCI bus pcie.0; node 1
// has a PCI bus of its own.
func (img *image) numaArgs() []string {
	memory := func(id string, mib int) string {
		return encode(args{"qom-type": "memory-backend-ram", "id": id, "size": int64(mib) << 20})
	}
	table := filepath.Join(img.cache.Path(img.boot), acpiFile)
	return []string{
		"-object", memory("ram0", img.shape.MemoryMiB-farMemoryMiB),
		"-object", memory("ram1", farMemoryMiB),
		"-numa", fmt.Sprintf("node,nodeid=0,cpus=0-%d,memdev=ram0", img.shape.CPUs-1),
		"-numa", "node,nodeid=1,memdev=ram1",
		"-device", encode(args{"driver": "pxb-pcie", "id": "far", "bus": "pcie.0", "addr": "0x10", "bus_nr": 128, "numa_node": 1}),
		"-acpitable", "sig=SSDT,rev=2,oem_id=LVME,oem_table_id=NUMA,data=" + strings.ReplaceAll(table, ",", ",,"),
	}
}

// acpiFile holds acpiTable in the boot stage.
const acpiFile = "numa.aml"

// acpiTable is what QEMU's own tables lack, that pcie.0 is of node 0: Scope (\_SB.PCI0) { Name (_PXM, Zero) }.
const acpiTable = "\x10\x11\\\x2e_SB_PCI0\x08_PXM\x00"

// portArgs make PCIe ports on a bus, eight functions to a device.
func portArgs(bus string, device int, slots []int) []string {
	var argv []string
	for i, slot := range slots {
		argv = append(argv, "-device", encode(args{
			"driver": "pcie-root-port", "id": port(slot), "bus": bus, "chassis": slot + 1,
			"addr": fmt.Sprintf("%#x.%d", device+i/8, i%8), "multifunction": i%8 == 0,
		}))
	}
	return argv
}

// port is the name of a slot for a drive.
func port(slot int) string {
	return fmt.Sprintf("port%d", slot)
}

// hostArgs are the arguments of QEMU that connect the machine with the host: its root disk, console and network. The
// control socket is file descriptor 3.
func (img *image) hostArgs(rootDisk string) []string {
	return []string{
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-blockdev", encode(args{
			"node-name": "root", "driver": "qcow2", "discard": "unmap",
			"file": args{"driver": "file", "filename": rootDisk, "discard": "unmap"},
		}),
		"-device", encode(args{"driver": "virtio-blk-pci", "drive": "root", "id": "rootdisk", "bus": "pcie.0", "addr": "0x2"}),
		"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:%d", wire.Port),
		"-device", encode(args{"driver": "virtio-net-pci", "netdev": "net", "id": "nic", "romfile": "", "bus": "pcie.0", "addr": "0x3"}),
	}
}

// encode writes an object in JSON, which QEMU takes wherever it takes its own syntax.
func encode(a args) string {
	raw, err := json.Marshal(a)
	if err != nil {
		panic(err) // args hold only what JSON has
	}
	return string(raw)
}

// overlay makes a disk that holds the differences to another.
func (img *image) overlay(ctx context.Context, file, backing, format string) error {
	return run(ctx, nil, nil, img.tool("bin/qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "-b", backing, "-F", format, file)...)
}

// The files of the ready stage.
const (
	readyDisk  = "disk.qcow2"
	readyState = "state"
)

// makeReady boots a guest without drives and saves its state once its daemon answers and the flavour is done with it.
// There must be no NVMe drive in it: QEMU cannot save one.
func (img *image) makeReady(ctx context.Context, dir string) error {
	disk := filepath.Join(dir, readyDisk)
	if err := img.overlay(ctx, disk, filepath.Join(img.cache.Path(img.root), "disk.img"), "raw"); err != nil {
		return err
	}
	start := time.Now()
	m, err := boot(ctx, img, disk, nil, nil)
	if err != nil {
		return err
	}
	defer m.kill()
	img.cache.Log("guest booted in %.1fs", time.Since(start).Seconds())
	if img.flavour.Prepare != nil {
		if err := img.flavour.Prepare(ctx, &Node{name: "image", img: img, dir: dir, machine: m}); err != nil {
			return fmt.Errorf("prepare the guest: %w", err)
		}
	}
	return m.explain(m.save(ctx, filepath.Join(dir, readyState)))
}

// save writes the state of a machine into a file. The machine does not go on.
func (m *machine) save(ctx context.Context, file string) error {
	if err := m.qmp.do(ctx, "stop", nil); err != nil {
		return err
	}
	if err := m.migrationSettings(ctx); err != nil {
		return err
	}
	wait, stop := m.qmp.watch(migrationEnded)
	defer stop()
	if err := m.qmp.do(ctx, "migrate", args{"uri": "file:" + file}); err != nil {
		return err
	}
	if err := wait(ctx); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	if err := m.migrationResult(ctx); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	// An orderly end writes the disk's last tables.
	if err := m.qmp.do(ctx, "quit", nil); err != nil {
		return err
	}
	return m.awaitEnd(ctx)
}

// restore loads a saved state into a machine that was started for it, and lets it run.
func (m *machine) restore(ctx context.Context, file string) error {
	if err := m.migrationSettings(ctx); err != nil {
		return err
	}
	wait, stop := m.qmp.watch(migrationEnded)
	defer stop()
	if err := m.qmp.do(ctx, "migrate-incoming", args{"uri": "file:" + file}); err != nil {
		return err
	}
	if err := wait(ctx); err != nil {
		return fmt.Errorf("restore the state: %w", err)
	}
	if err := m.migrationResult(ctx); err != nil {
		return fmt.Errorf("restore the state: %w", err)
	}
	return m.qmp.do(ctx, "cont", nil) // it was stopped when it was saved
}

// migrationSettings makes QEMU write each page of memory to its own place in the file, and tell when it is done.
func (m *machine) migrationSettings(ctx context.Context) error {
	on := []args{{"capability": "mapped-ram", "state": true}, {"capability": "events", "state": true}}
	if err := m.qmp.do(ctx, "migrate-set-capabilities", args{"capabilities": on}); err != nil {
		return err
	}
	return m.qmp.do(ctx, "migrate-set-parameters", args{"max-bandwidth": 1 << 40})
}

func migrationEnded(e message) bool {
	return e.Event == "MIGRATION" && (e.Data.Status == "completed" || e.Data.Status == "failed")
}

func (m *machine) migrationResult(ctx context.Context) error {
	var result struct {
		Status string `json:"status"`
		Desc   string `json:"error-desc"`
	}
	if err := m.qmp.ask(ctx, "query-migrate", nil, &result); err != nil {
		return err
	}
	if result.Status != "completed" {
		return fmt.Errorf("migration %s: %s", result.Status, result.Desc)
	}
	return nil
}

// daemonPort asks QEMU which port of the host it forwards to the daemon.
func (m *machine) daemonPort(ctx context.Context) (string, error) {
	var text string
	if err := m.qmp.ask(ctx, "human-monitor-command", args{"command-line": "info usernet"}, &text); err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		// Protocol[State] FD Source-Address Port Dest-Address Port RecvQ SendQ
		f := strings.Fields(line)
		if len(f) >= 6 && f[0] == "TCP[HOST_FORWARD]" && f[5] == strconv.Itoa(wire.Port) {
			return f[3], nil
		}
	}
	return "", fmt.Errorf("no forwarded port in %q", text)
}

// tailSize is how much of the console and of QEMU's own messages an error quotes.
const tailSize = 4 << 10

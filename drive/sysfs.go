package drive

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names of the kernel's NVMe devices. A namespace with several paths is a head
// (nvme0n1) over hidden paths (nvme0c1n1: subsystem 0, controller 1).
var (
	namespaceName  = regexp.MustCompile(`^nvme([0-9]+)n([0-9]+)$`)
	controllerName = regexp.MustCompile(`^nvme[0-9]+$`)
	subsystemName  = regexp.MustCompile(`^nvme-subsys[0-9]+$`)
)

// sector is the unit of every "size" in sysfs, whatever the drive's blocks.
const sector = 512

// tree reads small files below a root.
type tree string

func (t tree) path(elem ...string) string {
	return filepath.Join(append([]string{string(t), "/"}, elem...)...)
}

// text is the trimmed content of a file, empty when it cannot be read: sysfs
// leaves out what does not apply, and attributes of a dying device fail.
func (t tree) text(elem ...string) string {
	data, err := os.ReadFile(t.path(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// number is the content as a number, or otherwise when there is none.
func (t tree) number(otherwise int64, elem ...string) int64 {
	n, err := strconv.ParseInt(t.text(elem...), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// names lists a directory, sorted; nothing when it cannot be read.
func (t tree) names(elem ...string) []string {
	entries, err := os.ReadDir(t.path(elem...))
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// namespaces lists the NVMe block devices that a program can open.
func (t tree) namespaces() ([]string, error) {
	entries, err := os.ReadDir(t.path("sys/block"))
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	var found []string
	for _, e := range entries {
		if namespaceName.MatchString(e.Name()) && t.text("sys/block", e.Name(), "hidden") != "1" {
			found = append(found, e.Name())
		}
	}
	slices.SortFunc(found, compareNames)
	return found, nil
}

// compareNames orders nvme2n1 before nvme10n1.
func compareNames(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// drive reads what sysfs says of one namespace.
func (t tree) drive(name string) Drive {
	block := "sys/block/" + name
	d := Drive{
		Name:           name,
		Path:           "/dev/" + name,
		WWID:           t.text(block, "wwid"),
		EUI64:          hexDigits(t.text(block, "eui")),
		NGUID:          hexDigits(t.text(block, "nguid")),
		UUID:           strings.ToLower(t.text(block, "uuid")),
		NSID:           t.number(0, block, "nsid"),
		Bytes:          t.number(0, block, "size") * sector,
		LogicalBlock:   t.number(sector, block, "queue/logical_block_size"),
		PhysicalBlock:  t.number(sector, block, "queue/physical_block_size"),
		DiscardMax:     t.number(0, block, "queue/discard_max_bytes"),
		WriteZeroesMax: t.number(0, block, "queue/write_zeroes_max_bytes"),
		ReadOnly:       t.text(block, "ro") == "1",
	}
	if zoned := t.text(block, "queue/zoned"); zoned != "none" {
		d.Zoned = zoned
	}
	// A drive without a UUID shows its NGUID there.
	if hexDigits(d.UUID) == d.NGUID {
		d.UUID = ""
	}
	d.Major, d.Minor = t.number2(block, "dev")
	t.addController(&d)
	d.Partitions = t.partitions(name)
	d.Holders = t.holders(name, d.Partitions)
	if ids := d.IDs(); len(ids) > 0 {
		d.ID = ids[0]
	}
	return d
}

// number2 reads "major:minor".
func (t tree) number2(elem ...string) (major, minor uint32) {
	a, b, _ := strings.Cut(t.text(elem...), ":")
	return uint32Of(a), uint32Of(b)
}

func uint32Of(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// addController fills in what only the controller knows, from a live one where
// there is a choice.
func (t tree) addController(d *Drive) {
	d.Controllers = t.controllers(d.Name)
	d.State, d.NUMANode = "unknown", -1
	if len(d.Controllers) == 0 {
		return
	}
	chosen := d.Controllers[0]
	for _, c := range d.Controllers {
		if t.text("sys/class/nvme", c, "state") == stateLive {
			chosen = c
			break
		}
	}
	ctrl := "sys/class/nvme/" + chosen
	d.Model = t.text(ctrl, "model")
	d.Serial = t.text(ctrl, "serial")
	d.Firmware = t.text(ctrl, "firmware_rev")
	d.Transport = t.text(ctrl, "transport")
	d.Address = t.text(ctrl, "address")
	if state := t.text(ctrl, "state"); state != "" {
		d.State = state
	}
	d.NUMANode = int(t.number(t.number(-1, ctrl, "device/numa_node"), ctrl, "numa_node"))
}

// controllers are those that lead to a namespace: its parent, or for a head
// those of its hidden paths, else all of its subsystem.
func (t tree) controllers(name string) []string {
	parent := t.parent(name)
	if controllerName.MatchString(parent) {
		return []string{parent}
	}
	ids := namespaceName.FindStringSubmatch(name)
	hidden := regexp.MustCompile(`^nvme` + ids[1] + `c([0-9]+)n` + ids[2] + `$`)
	var found []string
	for _, n := range t.names("sys/block") {
		if m := hidden.FindStringSubmatch(n); m != nil {
			found = append(found, "nvme"+m[1])
		}
	}
	if len(found) == 0 && subsystemName.MatchString(parent) {
		for _, n := range t.names("sys/class/nvme-subsystem", parent) {
			if controllerName.MatchString(n) {
				found = append(found, n)
			}
		}
	}
	slices.SortFunc(found, compareNames)
	return found
}

// parent is the name of the device above a block device.
func (t tree) parent(name string) string {
	target, err := os.Readlink(t.path("sys/block", name, "device"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

func (t tree) partitions(name string) []Partition {
	var parts []Partition
	for _, n := range t.names("sys/block", name) {
		dir := "sys/block/" + name + "/" + n
		if !strings.HasPrefix(n, name) || t.text(dir, "partition") == "" {
			continue
		}
		p := Partition{Name: n, Bytes: t.number(0, dir, "size") * sector}
		p.Major, p.Minor = t.number2(dir, "dev")
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b Partition) int { return compareNames(a.Name, b.Name) })
	return parts
}

// holders are the devices built on the drive or on its partitions.
func (t tree) holders(name string, parts []Partition) []Use {
	var uses []Use
	add := func(device, dir string) {
		for _, h := range t.names("sys/block", dir, "holders") {
			by := h
			if label := t.text("sys/block", h, "dm/name"); label != "" {
				by = h + " (" + label + ")"
			}
			uses = append(uses, Use{Device: device, By: by})
		}
	}
	add(name, name)
	for _, p := range parts {
		add(p.Name, name+"/"+p.Name)
	}
	return uses
}

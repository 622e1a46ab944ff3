package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
)

// Point is one mount in the mount table.
type Point struct {
	// Path is where it is mounted, Root what part of its filesystem.
	Path, Root string
	FSType     string
	Source     string
	// ReadOnly is of this mount alone; its filesystem may be read-only as well.
	ReadOnly bool
	// Failed says that its filesystem has made itself read-only or shut down
	// after an error: none is ever mounted read-only as a whole.
	Failed bool
	// Device is the block device whose filesystem it is or, for a device node
	// that is bound to a file, that device.
	Device Number
}

// Table is a mount table in the kernel's order: of two mounts on one path the
// later one covers the earlier.
type Table []Point

// At returns the mount that is visible at path.
func (t Table) At(path string) (Point, bool) {
	for _, p := range slices.Backward(t) {
		if p.Path == path {
			return p, true
		}
	}
	return Point{}, false
}

// Of returns the paths at which dev or its filesystem is mounted, each once.
func (t Table) Of(dev Number) []string {
	var paths []string
	for _, p := range t {
		if p.Device == dev && !slices.Contains(paths, p.Path) {
			paths = append(paths, p.Path)
		}
	}
	return paths
}

// Table reads the mount table of this process.
func (h *Host) Table() (Table, error) { return readTable(h.proc + "/self/mountinfo") }

func readTable(file string) (Table, error) {
	infos, err := mountutils.ParseMountInfo(file)
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	table := make(Table, 0, len(infos))
	for _, i := range infos {
		p := Point{
			Path: unescape(i.MountPoint), Root: unescape(i.Root), FSType: i.FsType, Source: unescape(i.Source),
			ReadOnly: slices.Contains(i.MountOptions, "ro"),
			Failed:   slices.ContainsFunc(i.SuperOptions, func(o string) bool { return slices.Contains(gaveUp, o) }),
			Device:   Number{uint32(i.Major), uint32(i.Minor)},
		}
		p.findDevice()
		table = append(table, p)
	}
	return table, nil
}

// gaveUp are the options that the kernel shows of a filesystem after an error:
// "ro" of all, and since Linux 6.15 others of ext4.
var gaveUp = []string{"ro", "emergency_ro", "shutdown"}

// Holds says that it is a mount of a filesystem on a device of its own, and not a
// device node that is bound to a file.
func (p Point) Holds() bool { return p.FSType == Ext4 || p.FSType == XFS || p.FSType == Btrfs }

// findDevice corrects Device where mountinfo does not show the block device.
// Btrfs shows a number of its own making. A bound device node shows the number
// of the filesystem that the node is in. Neither stat can hang: both files are
// in /dev.
func (p *Point) findDevice() {
	switch {
	case p.FSType == Btrfs:
		p.statDevice(p.Source)
	case p.FSType == "devtmpfs" && p.Root != "/":
		p.statDevice(p.Path)
	}
}

func (p *Point) statDevice(path string) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFBLK {
		p.Device = number(stat.Rdev)
	}
}

func number(dev uint64) Number { return Number{unix.Major(dev), unix.Minor(dev)} }

// unescape undoes the kernel's writing of space, tab, newline and backslash as
// three octal digits, which mount-utils leaves as it is.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxHolders bounds how many holders an error names.
const maxHolders = 5

// Holders names the mounts of dev in every mount namespace of the host: a
// container that got a copy of a mount keeps the device open.
func (h *Host) Holders(dev Number) []string {
	var holders []string
	seen := map[string]bool{}
	pids, _ := filepath.Glob(h.proc + "/[0-9]*")
	for _, pid := range pids {
		namespace, err := os.Readlink(pid + "/ns/mnt")
		if err != nil || seen[namespace] {
			continue
		}
		seen[namespace] = true
		table, err := readTable(pid + "/mountinfo")
		if err != nil {
			continue // It has ended meanwhile.
		}
		for _, path := range table.Of(dev) {
			holders = append(holders, fmt.Sprintf("%s (%s, pid %s)", path, processName(pid), filepath.Base(pid)))
		}
	}
	if len(holders) > maxHolders {
		holders = append(holders[:maxHolders], fmt.Sprintf("and %d more", len(holders)-maxHolders))
	}
	return holders
}

func processName(pidDir string) string {
	name, err := os.ReadFile(pidDir + "/comm")
	if err != nil {
		return "ended"
	}
	return strings.TrimSpace(string(name))
}

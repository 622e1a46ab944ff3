// Package dm reads the kernel's device-mapper: what a device is made of and
// how full it is. It asks by ioctl on /dev/mapper/control, so that a reading
// costs microseconds and starts no program.
//
// It changes nothing: every change of a device goes through LVM, whose
// metadata would be wrong otherwise. It reads no LVM metadata and knows no
// target beyond its name and its line of parameters.
package dm

import (
	"context"
	"errors"
	"strings"
)

// ErrNotFound reports that the kernel has no device of that name. It is never
// returned when the kernel could not be asked.
var ErrNotFound = errors.New("no such device-mapper device")

// ErrUnavailable reports that this host's kernel has no device-mapper, or that
// its control node is missing.
var ErrUnavailable = errors.New("device-mapper is not available")

// Dir is where udev makes the nodes of device-mapper devices.
const Dir = "/dev/mapper"

// MaxName is the longest device name that the kernel takes.
const MaxName = 127

// Target is one line of a device's status.
type Target struct {
	// Start and Length say which part of the device it serves, in bytes.
	Start, Length int64
	// Type is the target's name: linear, striped, thin, thin-pool, raid, error.
	Type string
	// Params is the target's own status line, in the words of its kernel module.
	Params string
}

// Info is the state of one device.
type Info struct {
	Name string
	// UUID is what its maker called it: LVM's begin with "LVM-" and the UUIDs
	// of VG and LV without their hyphens.
	UUID         string
	Major, Minor uint32
	// Opened counts the openers: mounts, file descriptors and devices above.
	Opened int
	// Live says that the device has a table, so that it can serve I/O.
	Live      bool
	Suspended bool
	ReadOnly  bool
	// Node is the device's node under Dir, verified to be this device, and
	// empty while udev has made none.
	Node string
}

// Dep is a device that another is made of.
type Dep struct {
	Major, Minor uint32
	// Gone says that the kernel has no such device any more: the drive was
	// pulled out, and only who had it open still holds on to it. Plugged in
	// again it has another number.
	Gone bool
}

// Kernel is what device-mapper and drives say of themselves; all that it changes
// is where a drive keeps what was written.
type Kernel interface {
	// Status is the device's targets in the order of their start. It does not
	// flush or commit anything.
	Status(ctx context.Context, name string) ([]Target, error)
	// Info is the device's state.
	Info(ctx context.Context, name string) (Info, error)
	// Deps are the devices that it is made of.
	Deps(ctx context.Context, name string) ([]Dep, error)
	// Names lists every device, sorted.
	Names(ctx context.Context) ([]string, error)
	// Present says whether there is a block device at path, such as the drive
	// of a PV: nil, ErrNotFound, or why it could not be told.
	Present(path string) error
	// Read reads so many bytes of a block device, past the page cache.
	Read(ctx context.Context, path string, offset int64, n int) ([]byte, error)
	// Flush has a drive make durable all that it was given, of whomever. One
	// without a volatile write cache has nothing to do.
	Flush(ctx context.Context, path string) error
}

// DeviceName is the name under which LVM shows a logical volume to the
// kernel: hyphens within the names are doubled, one hyphen joins them. Each
// layer, such as "tpool" under a thin pool, is joined by a hyphen too.
func DeviceName(vg, lv string, layer ...string) string {
	parts := append([]string{double(vg), double(lv)}, layer...)
	return strings.Join(parts, "-")
}

// Path is the node under which udev shows the device of that name.
func Path(name string) string { return Dir + "/" + name }

func double(name string) string { return strings.ReplaceAll(name, "-", "--") }

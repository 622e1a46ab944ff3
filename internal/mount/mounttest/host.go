// Package mounttest is a host in memory: devices, what is on them, and mounts.
// It stands in for mount.Host where there is no root and no device; only
// directories and files to mount on are made in the true filesystem.
package mounttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/lvme/lvme/internal/mount"
)

// Disk is a device as a Lookup finds it.
type Disk struct {
	// ID tells a device from another that had the same path before.
	ID    string
	Bytes int64
	// Source is the ID of the device it was copied from, or empty. Its content is
	// taken over when the copy is first looked at, unless Copied was called.
	Source string
}

// content is what is on a device.
type content struct {
	fsType  string
	bytes   int64
	clone   string
	formats int
	// mark stands for what a user wrote.
	mark string
}

// Host implements all that package node asks of a host. The zero value has no
// devices. Set the fields before the first call.
type Host struct {
	// Root is mount.New's root.
	Root string
	// Lookup finds the device of a path.
	Lookup func(path string) (Disk, bool)
	// Before and After, where set, are called around each change with its
	// name. An error of Before keeps the change from being made; one of After
	// is returned though it was made, as when its maker died of it.
	Before, After func(op string) error

	mu      sync.Mutex
	ids     []string
	content map[string]*content
	table   mount.Table
	options map[string][]string
	tuned   map[string]int
	down    map[string]bool // paths of filesystems that have shut down
}

// Put lays a filesystem of that type and size on a device.
func (h *Host) Put(path, fsType string, bytes int64) {
	d, _ := h.disk(path)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fill(d, content{fsType: fsType, bytes: bytes})
}

// Formats says how often the device at path was formatted.
func (h *Host) Formats(path string) int {
	d, _ := h.disk(path)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.on(d); c != nil {
		return c.formats
	}
	return 0
}

// FSBytes is the size of the filesystem on the device, Clone the name that
// Prepare gave it.
func (h *Host) FSBytes(path string) (bytes int64, clone string) {
	d, _ := h.disk(path)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.on(d); c != nil {
		return c.bytes, c.clone
	}
	return 0, ""
}

// Copied has the device with the ID of target hold what source holds now.
func (h *Host) Copied(source, target string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var c content
	if of := h.content[source]; of != nil {
		c = content{fsType: of.fsType, bytes: of.bytes, clone: of.clone, mark: of.mark}
	}
	h.fill(Disk{ID: target}, c)
}

// Write has a mark stand for what a user wrote to the device, Read finds it
// there. Making a filesystem and Erase take it away.
func (h *Host) Write(path, mark string) error {
	d, err := h.disk(path)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.on(d)
	if c == nil {
		c = h.fill(d, content{})
	}
	c.mark = mark
	return nil
}

// Read is told with Write.
func (h *Host) Read(path string) (mark string, err error) {
	d, err := h.disk(path)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.on(d); c != nil {
		mark = c.mark
	}
	return mark, nil
}

// Erase overwrites a device, if it is there.
func (h *Host) Erase(path string) {
	if d, err := h.disk(path); err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.fill(d, content{})
	}
}

// MountOptions are those of the mount at path, ReadAhead what was set for the
// device there.
func (h *Host) MountOptions(path string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.options[path]
}

// ReadAhead is what Tune set for the device.
func (h *Host) ReadAhead(device string) int { h.mu.Lock(); defer h.mu.Unlock(); return h.tuned[device] }

// Reboot forgets all mounts.
func (h *Host) Reboot() { h.mu.Lock(); defer h.mu.Unlock(); h.table = nil }

// MountOther mounts something that is none of the devices.
func (h *Host) MountOther(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.table = append(h.table, mount.Point{Path: path, Root: "/", FSType: "tmpfs", Source: "tmpfs", Device: mount.Number{Minor: 77}})
}

func (h *Host) disk(path string) (Disk, error) {
	if h.Lookup != nil {
		if d, ok := h.Lookup(path); ok {
			return d, nil
		}
	}
	return Disk{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
}

// on returns what is on a device; a copy has what its source had when the copy
// was first looked at. h.mu is held.
func (h *Host) on(d Disk) *content {
	if c := h.content[d.ID]; c != nil {
		return c
	}
	if c := h.content[d.Source]; c != nil {
		return h.fill(d, content{fsType: c.fsType, bytes: c.bytes, clone: c.clone, mark: c.mark})
	}
	return nil
}

func (h *Host) fill(d Disk, c content) *content {
	if h.content == nil {
		h.content = map[string]*content{}
	}
	h.content[d.ID] = &c
	return &c
}

// number numbers devices in the order they are seen in; h.mu is held.
func (h *Host) number(d Disk) mount.Number {
	i := slices.Index(h.ids, d.ID)
	if i < 0 {
		i, h.ids = len(h.ids), append(h.ids, d.ID)
	}
	return mount.Number{Major: 253, Minor: uint32(i)}
}

// change makes one change.
func (h *Host) change(op string, apply func() error) error {
	if h.Before != nil {
		if err := h.Before(op); err != nil {
			return err
		}
	}
	h.mu.Lock()
	err := apply()
	h.mu.Unlock()
	if err == nil && h.After != nil {
		err = h.After(op)
	}
	return err
}

// Device is mount.Host's.
func (h *Host) Device(path string) (mount.Device, error) {
	d, err := h.disk(path)
	if err != nil {
		return mount.Device{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return mount.Device{Path: path, Number: h.number(d), Bytes: d.Bytes}, nil
}

// Probe is mount.Host's.
func (h *Host) Probe(_ context.Context, dev string) (string, error) {
	d, err := h.disk(dev)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.on(d); c != nil {
		return c.fsType, err
	}
	return "", err
}

// CheckBlank is mount.Host's.
func (h *Host) CheckBlank(ctx context.Context, dev string) error {
	what, err := h.Probe(ctx, dev)
	if err == nil && what != "" {
		err = fmt.Errorf("%s: %w: it holds %s", dev, mount.ErrNotBlank, what)
	}
	return err
}

// Format is mount.Host's.
func (h *Host) Format(_ context.Context, dev string, s mount.FormatSpec) error {
	d, err := h.disk(dev)
	if err != nil {
		return err
	}
	return h.change("format", func() error {
		if users := h.table.Of(h.number(d)); len(users) > 0 {
			return fmt.Errorf("format %s: %w: %v", dev, mount.ErrBusy, users)
		}
		n := 1
		if old := h.on(d); old != nil {
			if old.fsType != "" && !s.Again && s.FSType != mount.Ext4 {
				return fmt.Errorf("mkfs.%s: %s appears to contain %s", s.FSType, dev, old.fsType)
			}
			n += old.formats
		}
		h.fill(d, content{fsType: s.FSType, bytes: d.Bytes, formats: n})
		return nil
	})
}

// Prepare is mount.Host's.
func (h *Host) Prepare(_ context.Context, dev mount.Device, fsType, clone string) error {
	d, err := h.disk(dev.Path)
	if err != nil {
		return err
	}
	return h.change("prepare", func() error {
		c := h.on(d)
		if c == nil || c.fsType != fsType {
			return fmt.Errorf("%s holds no %s filesystem", dev.Path, fsType)
		}
		if fsType == mount.Btrfs && clone != "" {
			c.clone = clone
		}
		return nil
	})
}

// Grow is mount.Host's.
func (h *Host) Grow(_ context.Context, dev mount.Device, fsType, target string) error {
	d, err := h.disk(dev.Path)
	if err != nil {
		return err
	}
	return h.change("grow", func() error {
		if p, ok := h.table.At(target); !ok || p.ReadOnly || p.Device != h.number(d) {
			return fmt.Errorf("grow %s: not mounted writable at %s", dev.Path, target)
		}
		if c := h.on(d); c != nil && c.fsType == fsType {
			c.bytes = d.Bytes
			return nil
		}
		return fmt.Errorf("%s holds no %s filesystem", dev.Path, fsType)
	})
}

// Tune is mount.Host's.
func (h *Host) Tune(dev mount.Device, _ string, readAheadKiB int) error {
	return h.change("tune", func() error {
		if h.tuned == nil {
			h.tuned = map[string]int{}
		}
		h.tuned[dev.Path] = readAheadKiB
		return nil
	})
}

// Stats is mount.Host's.
func (h *Host) Stats(path string) (mount.Stats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.table.At(path)
	if !ok || p.Device.Major != 253 {
		return mount.Stats{}, errors.New("statfs: not a filesystem of ours")
	}
	c := h.content[h.ids[p.Device.Minor]]
	return mount.Stats{
		Bytes: c.bytes, BytesUsed: c.bytes / 8, BytesFree: c.bytes - c.bytes/8,
		Inodes: 1000, InodesUsed: 11, InodesFree: 989,
	}, nil
}

// Check is mount.Host's.
func (h *Host) Check(_ mount.Device, p mount.Point) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.Failed || h.down[p.Path] {
		return fmt.Errorf("%w: open %s: input/output error", mount.ErrBroken, p.Path)
	}
	return nil
}

// Trim is mount.Host's: all that a filesystem does not use comes back, once
// for each part of the device.
func (h *Host) Trim(dev mount.Device, p mount.Point, offset, length int64) (bytes int64, err error) {
	err = h.change("trim", func() error {
		if at, ok := h.table.At(p.Path); !ok || at.Device != dev.Number {
			return fmt.Errorf("trim %s: %w", dev.Path, mount.ErrBusy)
		}
		if offset < 0 || length <= 0 || offset+length > dev.Bytes && p.FSType != mount.Btrfs {
			return fmt.Errorf("trim %s: bytes %d to %d of %d", dev.Path, offset, offset+length, dev.Bytes)
		}
		bytes = length / 2
		return nil
	})
	return bytes, err
}

// ShutDown has the filesystem mounted at path refuse everything, as XFS does after
// errors, until it is mounted anew.
func (h *Host) ShutDown(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down == nil {
		h.down = map[string]bool{}
	}
	at, _ := h.table.At(path)
	for _, p := range h.table.Of(at.Device) {
		h.down[p] = true
	}
}

// Fail has the filesystem mounted at path make itself read-only, as ext4 does
// after errors, until it is mounted anew.
func (h *Host) Fail(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, _ := h.table.At(path)
	for i := range h.table {
		if h.table[i].Device == at.Device {
			h.table[i].Failed = true
		}
	}
}

// Holders is mount.Host's, for the one mount namespace there is.
func (h *Host) Holders(dev mount.Number) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.Of(dev)
}

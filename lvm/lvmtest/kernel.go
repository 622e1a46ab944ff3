package lvmtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"

	"github.com/lvme/lvme/internal/dm"
)

// Status implements dm.Kernel.
func (f *Fake) Status(ctx context.Context, name string) ([]dm.Target, error) {
	f.hangStatus(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	d, found := f.devices()[name]
	if !found {
		return nil, fmt.Errorf("status of %s: %w", name, dm.ErrNotFound)
	}
	return []dm.Target{{Length: d.size, Type: d.kind, Params: d.params}}, ctx.Err()
}

// Info implements dm.Kernel.
func (f *Fake) Info(ctx context.Context, name string) (dm.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, found := f.devices()[name]
	if !found {
		return dm.Info{}, fmt.Errorf("state of %s: %w", name, dm.ErrNotFound)
	}
	uuid := ""
	if d.lv != nil {
		uuid = "LVM-" + strings.ReplaceAll(d.lv.vg.uuid, "-", "") + strings.ReplaceAll(d.lv.uuid, "-", "")
	}
	return dm.Info{Name: name, UUID: uuid, Major: dmMajor, Minor: minor(name), Opened: d.opened, Live: true, Suspended: f.frozen[name], ReadOnly: d.readOnly, Node: dm.Path(name)}, ctx.Err()
}

// Deps implements dm.Kernel.
func (f *Fake) Deps(ctx context.Context, name string) ([]dm.Dep, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, found := f.devices()[name]
	if !found {
		return nil, fmt.Errorf("what %s is made of: %w", name, dm.ErrNotFound)
	}
	var deps []dm.Dep
	for _, below := range d.below {
		deps = append(deps, dm.Dep{Major: dmMajor, Minor: minor(below)})
	}
	for _, number := range d.drives {
		deps = append(deps, dm.Dep{Major: nvmeMajor, Minor: number, Gone: !d.lv.plugged(number)})
	}
	return deps, ctx.Err()
}

// Names implements dm.Kernel.
func (f *Fake) Names(ctx context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.devices() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, ctx.Err()
}

// Present implements dm.Kernel.
func (f *Fake) Present(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.drive(path); d == nil || d.away {
		return fmt.Errorf("%s: %w", path, dm.ErrNotFound)
	}
	return nil
}

// Flush implements dm.Kernel.
func (f *Fake) Flush(ctx context.Context, path string) error {
	f.mu.Lock()
	d := f.drive(path)
	if d == nil || d.away {
		f.mu.Unlock()
		return fmt.Errorf("open %s: %w", path, os.ErrNotExist)
	}
	hung := d.hung
	f.mu.Unlock()
	if hung != nil {
		<-hung // nothing ends it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d.dirty = false
	return ctx.Err()
}

// Unflushed are the drives to which LVM wrote since they were last flushed.
func (f *Fake) Unflushed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var paths []string
	for _, d := range f.drives {
		if d.dirty && !d.away {
			paths = append(paths, d.path)
		}
	}
	return paths
}

// minor is a number that the device keeps and hardly shares.
func minor(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32() % (1 << 20)
}

// The kernel's numbers of device-mapper and of NVMe namespaces.
const (
	dmMajor   = 254
	nvmeMajor = 259
)

type device struct {
	lv           *lv
	kind, params string
	size         int64
	opened       int
	readOnly     bool
	// below are the devices that it is made of, and drives those that it lies on.
	below  []string
	drives []uint32
}

// devices are all that the kernel has.
func (f *Fake) devices() map[string]device {
	all := map[string]device{}
	for _, name := range f.extra {
		all[name] = device{kind: "linear", size: mebibyte}
	}
	for _, g := range f.vgs() {
		for _, v := range g.lvs {
			switch {
			case v.segType == "thin-pool" && v.up():
				v.poolDevices(all)
			case v.segType == "thin" && v.active:
				all[v.device()] = device{lv: v, kind: "thin", params: thinStatus(v), size: v.size, opened: v.opened, readOnly: v.readOnly,
					below: []string{v.pool.poolDevice()}}
			case v.active:
				v.thickDevices(all, v.opened)
			}
		}
	}
	return all
}

// thickDevices are those of an LV that has its own extents: itself, and the
// legs of a mirror.
func (v *lv) thickDevices(all map[string]device, opened int) {
	d := device{lv: v, kind: v.target(), size: v.size, opened: opened, params: v.thickStatus(), readOnly: v.readOnly, drives: v.table}
	if v.segType == "raid1" {
		for _, part := range v.vg.parts(v) {
			part.thickDevices(all, 1)
			d.below = append(d.below, part.device())
		}
	}
	all[v.device()] = d
}

func (v *lv) target() string {
	if v.segType == "raid1" {
		return "raid"
	}
	return v.segType
}

func (v *lv) thickStatus() string {
	if v.segType != "raid1" {
		return ""
	}
	return v.raidStatus()
}

// poolDevice is the device with the pool's target: it lies below a layer once
// the pool has had a thin.
func (v *lv) poolDevice() string {
	if v.layered {
		return v.device("tpool")
	}
	return v.device()
}

// poolDevices are the pool's own.
func (v *lv) poolDevices(all map[string]device) {
	pool := device{lv: v, kind: "thin-pool", params: poolStatus(v), size: v.size}
	for _, t := range v.vg.thins(v) {
		if t.active {
			pool.opened++
		}
	}
	for _, part := range []string{"_tdata", "_tmeta"} {
		p := v.part(part)
		p.thickDevices(all, 1)
		pool.below = append(pool.below, p.device())
	}
	if v.layered && v.active {
		pool.opened++
		all[v.device()] = device{lv: v, kind: "linear", size: v.size, below: []string{v.poolDevice()}}
	}
	all[v.poolDevice()] = pool
}

func thinStatus(v *lv) string {
	highest := int64(-1)
	for at := range v.pool.kernel.thins[v.thinID] {
		highest = max(highest, at)
	}
	if highest < 0 {
		return "0 -"
	}
	last := min((highest+1)*v.pool.chunk, v.size) / 512
	return fmt.Sprintf("%d %d", v.mapped()/512, last-1)
}

func poolStatus(v *lv) string {
	held, mode, full, check := "-", "rw", "error_if_no_space", "-"
	if v.kernel.held {
		held = "7"
	}
	switch {
	case v.metaUsed() >= v.metaTotal():
		mode = "ro"
	case v.dataUsed() >= v.dataTotal():
		mode = "out_of_data_space"
	}
	if v.kernel.unwritable {
		mode, check = "ro", "needs_check"
	}
	if v.queue {
		full = "queue_if_no_space"
	}
	if v.kernel.mode != "" {
		mode = v.kernel.mode
	}
	if v.kernel.needsCheck {
		check = "needs_check"
	}
	if mode == "Fail" {
		return mode
	}
	return fmt.Sprintf("%d %d/%d %d/%d %s %s discard_passdown %s %s 512 ", v.kernel.transaction, v.metaUsed(), v.metaTotal(),
		v.dataUsed(), v.dataTotal(), held, mode, full, check)
}

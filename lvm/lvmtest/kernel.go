package lvmtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/lvme/lvme/internal/dm"
)

// Status implements dm.Reader.
func (f *Fake) Status(ctx context.Context, name string) ([]dm.Target, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, found := f.devices()[name]
	if !found {
		return nil, fmt.Errorf("status of %s: %w", name, dm.ErrNotFound)
	}
	return []dm.Target{{Length: d.size, Type: d.kind, Params: d.params}}, ctx.Err()
}

// Info implements dm.Reader.
func (f *Fake) Info(ctx context.Context, name string) (dm.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, found := f.devices()[name]
	if !found {
		return dm.Info{}, fmt.Errorf("state of %s: %w", name, dm.ErrNotFound)
	}
	return dm.Info{Name: name, Major: 254, Minor: minor(name), Opened: d.opened, Live: true, ReadOnly: d.readOnly, Node: dm.Path(name)}, ctx.Err()
}

// Names implements dm.Reader.
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

// Present implements dm.Reader.
func (f *Fake) Present(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.drive(path); d == nil || d.away {
		return fmt.Errorf("%s: %w", path, dm.ErrNotFound)
	}
	return nil
}

// minor is a number that the device keeps and hardly shares.
func minor(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32() % (1 << 20)
}

type device struct {
	kind, params string
	size         int64
	opened       int
	readOnly     bool
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
				all[v.device()] = device{kind: "thin", params: thinStatus(v), size: v.size, opened: v.opened, readOnly: v.readOnly}
			case v.active:
				all[v.device()] = device{kind: v.target(), size: v.size, opened: v.opened, params: v.thickStatus()}
			}
		}
	}
	return all
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
	return fmt.Sprintf("raid1 2 AA %d/%d idle 0 0 -", v.size/512, v.size/512)
}

// poolDevices are the pool's own; its target lies below a layer once the pool
// has had a thin.
func (v *lv) poolDevices(all map[string]device) {
	pool := device{kind: "thin-pool", params: poolStatus(v), size: v.size}
	for _, t := range v.vg.thins(v) {
		if t.active {
			pool.opened++
		}
	}
	for _, part := range []string{"_tdata", "_tmeta"} {
		p := v.part(part)
		all[p.device()] = device{kind: p.target(), size: p.size, opened: 1, params: p.thickStatus()}
	}
	if !v.layered {
		all[v.device()] = pool
		return
	}
	if v.active {
		pool.opened++
		all[v.device()] = device{kind: "linear", size: v.size}
	}
	all[v.device("tpool")] = pool
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

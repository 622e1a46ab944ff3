package mounttest

import (
	"context"
	"fmt"
	"slices"

	"github.com/lvme/lvme/internal/mount"
)

// Resolve is mount.Host's.
func (h *Host) Resolve(path string) (string, error) { return mount.Resolve(h.Root, path) }

// Remove is mount.Host's.
func (h *Host) Remove(path string) error {
	return h.change("remove", func() error { return mount.RemoveTarget(path) })
}

// Table is mount.Host's.
func (h *Host) Table() (mount.Table, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.table), nil
}

// Mount is mount.Host's.
func (h *Host) Mount(_ context.Context, s mount.Spec) error {
	d, err := h.disk(s.Device.Path)
	if err != nil {
		return err
	}
	return h.change("mount", func() error {
		if c := h.on(d); c == nil || c.fsType != s.FSType {
			return fmt.Errorf("mount %s: wrong fs type %s", s.Device.Path, s.FSType)
		}
		if err := mount.MakeTarget(s.Target, true); err != nil {
			return err
		}
		if h.options == nil {
			h.options = map[string][]string{}
		}
		h.options[s.Target] = s.Options
		h.table = append(h.table, mount.Point{
			Path: s.Target, Root: "/", FSType: s.FSType, Source: s.Device.Path, Device: h.number(d),
		})
		return nil
	})
}

// Bind is mount.Host's.
func (h *Host) Bind(_ context.Context, source, target string, dir, readOnly bool) error {
	d, lookErr := h.disk(source)
	return h.change("bind", func() error {
		p, mounted := h.table.At(source)
		switch {
		case mounted && dir:
		case lookErr == nil && !dir:
			n := h.number(d)
			p = mount.Point{Root: fmt.Sprintf("/dm-%d", n.Minor), FSType: "devtmpfs", Source: "udev", Device: n}
		default:
			return fmt.Errorf("bind: open %s: no such mount or device", source)
		}
		if err := mount.MakeTarget(target, dir); err != nil {
			return err
		}
		p.Path, p.ReadOnly = target, readOnly
		h.table = append(h.table, p)
		return nil
	})
}

// Unmount is mount.Host's.
func (h *Host) Unmount(_ context.Context, target string) error {
	return h.change("unmount", func() error {
		delete(h.down, target)
		for i, p := range slices.Backward(h.table) {
			if p.Path == target {
				h.table = slices.Delete(h.table, i, i+1)
				break
			}
		}
		return nil
	})
}

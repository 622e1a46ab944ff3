package lvmtest

import (
	"fmt"
	"slices"
	"strings"
)

// TB is what Check needs of a testing.TB.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// String is the whole state as text, the same for the same state: no UUIDs, no
// dates, no counters of changes.
func (f *Fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, d := range f.drives {
		state := "blank"
		switch {
		case d.pv != nil && d.pv.vg != nil:
			state = "PV of " + d.pv.vg.name
		case d.pv != nil:
			state = "PV of no VG"
		case d.signature != "":
			state = d.signature
		}
		if d.away {
			state += ", away"
		}
		fmt.Fprintf(&b, "drive %s %s: %s\n", d.path, human(d.size), state)
	}
	for _, g := range f.vgs() {
		fmt.Fprintf(&b, "VG %s %s free%s\n", g.name, human(g.free()*g.extent), tagText(g.tags))
		for _, v := range g.lvs {
			if !v.hidden() {
				fmt.Fprintf(&b, "  %s\n", v)
			}
		}
	}
	return b.String()
}

// String is one line of Fake.String.
func (v *lv) String() string {
	parts := []string{v.name, v.segType, human(v.size)}
	if v.segType == "thin-pool" {
		parts = append(parts, fmt.Sprintf("used %d/%d", v.dataUsed(), v.dataTotal()))
		if v.queue {
			parts = append(parts, "queues")
		}
	}
	if v.pool != nil {
		parts = append(parts, "in "+v.pool.name, "mapped "+human(v.mapped()))
	}
	if v.origin != nil {
		parts = append(parts, "of "+v.origin.name)
	}
	for word, is := range map[string]bool{"active": v.active, "open": v.opened > 0, "read-only": v.readOnly} {
		if is {
			parts = append(parts, word)
		}
	}
	slices.Sort(parts[3:])
	return strings.Join(parts, " ") + tagText(v.tags)
}

func tagText(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return " [" + strings.Join(tags, " ") + "]"
}

func human(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "T"}, {1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprint(n)
}

// Check fails t where the state could not be that of a host: extents owned
// twice or by nobody, thins that share a number, VG and kernel that disagree.
// StaleThin, Damage and ForeignTransaction make such states on purpose.
func (f *Fake) Check(t TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.vgs() {
		g.checkExtents(t)
		for _, v := range g.lvs {
			if v.segType == "thin-pool" {
				v.checkPool(t)
			}
		}
	}
}

func (g *vg) checkExtents(t TB) {
	t.Helper()
	owned := map[*lv]int64{}
	for _, p := range g.pvs {
		end := int64(0)
		for _, r := range p.used {
			if r.start < end || r.start+r.count > p.extents {
				t.Errorf("%s: extents %d+%d of %s are owned twice or do not exist", g.name, r.start, r.count, p.drive.path)
			}
			if !slices.Contains(g.lvs, r.owner) {
				t.Errorf("%s: extents %d+%d of %s belong to %s, which is gone", g.name, r.start, r.count, p.drive.path, r.owner.name)
			}
			end = r.start + r.count
			owned[r.owner] += r.count
		}
	}
	for _, v := range g.lvs {
		onDrives := (v.segType == "linear" || v.segType == "striped") && owned[v]*g.extent != v.size
		if onDrives || v.size%g.extent != 0 || v.size <= 0 {
			t.Errorf("%s has %d extents for %d bytes", v.path(), owned[v], v.size)
		}
	}
}

func (v *lv) checkPool(t TB) {
	t.Helper()
	seen := map[int64]string{}
	for _, thin := range v.vg.thins(v) {
		if other, twice := seen[thin.thinID]; twice {
			t.Errorf("%s and %s have the same number %d", other, thin.name, thin.thinID)
		}
		seen[thin.thinID] = thin.name
		if v.kernel.thins[thin.thinID] == nil {
			t.Errorf("%s is unknown to the kernel", thin.path())
		}
	}
	if len(seen) != len(v.kernel.thins) {
		t.Errorf("%s has %d thins in LVM and %d in the kernel", v.path(), len(seen), len(v.kernel.thins))
	}
	if v.transaction != v.kernel.transaction {
		t.Errorf("%s is at transaction %d in LVM and %d in the kernel", v.path(), v.transaction, v.kernel.transaction)
	}
	if v.size != v.part("_tdata").size {
		t.Errorf("%s has %d bytes, its data %d", v.path(), v.size, v.part("_tdata").size)
	}
}

package lvmtest

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

type drive struct {
	path      string
	size      int64
	signature string
	away      bool
	// number is the kernel's minor number: another each time it is plugged in.
	number uint32
	// hung is closed when the drive answers again; nil while it does.
	hung chan struct{}
	// dirty: LVM wrote to it, and nobody flushed it since.
	dirty bool
	// torn: LVM cannot read the VG's metadata on it.
	torn bool
	pv   *pv
}

type pv struct {
	uuid    string
	drive   *drive
	vg      *vg
	mdaSize int64
	peStart int64
	extents int64
	// used are the runs of extents that LVs own, sorted.
	used []extentRun
	// lost says that LVM takes it for lost, even when it is back.
	lost bool
}

type extentRun struct {
	start, count int64
	owner        *lv
}

type vg struct {
	name, uuid string
	tags       []string
	extent     int64
	seqno      int64
	// autoactivation is off in a VG that package lvm makes.
	autoactivation bool
	pvs            []*pv
	lvs            []*lv
}

// lv is a volume, a pool, or a hidden part of one.
type lv struct {
	vg         *vg
	name, uuid string
	segType    string
	size       int64
	tags       []string
	created    time.Time
	readOnly   bool
	skip       bool
	// role is LVM's, for hidden parts; parent is the LV they are parts of.
	role   string
	parent *lv
	// stripes and stripeSize are those of its first segment.
	stripes    int
	stripeSize int64

	active bool
	opened int
	// table are the drives' numbers as of the activation of an LV that lies on
	// drives itself; 0 stands for one that was missing. raised says that a
	// mirror was active once, so that its legs know of each other.
	table  []uint32
	raised bool

	// of a pool
	chunk       int64
	queue       bool
	noZero      bool
	discards    string // "" means passdown
	transaction int64
	// uncounted: the kernel has made the last change and not counted it.
	uncounted bool
	layered   bool
	kernel    *kernelPool
	// unmade is a thin that LVM has written down and the kernel has not made.
	unmade *lv
	// doomed is the number of a thin that LVM has queued a delete for.
	doomed int64

	// of a thin
	pool   *lv
	origin *lv
	thinID int64
	made   int64 // by which change of the pool
}

func (v *lv) path() string { return v.vg.name + "/" + v.name }

func (v *lv) hidden() bool { return v.role != "" }

// part is the hidden LV of that suffix.
func (v *lv) part(suffix string) *lv { return v.vg.lv(v.name + suffix) }

// up says whether the kernel has the pool: for itself or for one of its thins.
func (v *lv) up() bool {
	return v.active || slices.ContainsFunc(v.vg.thins(v), func(t *lv) bool { return t.active })
}

func (g *vg) lv(name string) *lv {
	for _, v := range g.lvs {
		if v.name == name {
			return v
		}
	}
	return nil
}

// thins are those of a pool.
func (g *vg) thins(pool *lv) []*lv {
	var thins []*lv
	for _, v := range g.lvs {
		if v.pool == pool && pool != nil {
			thins = append(thins, v)
		}
	}
	return thins
}

// nextThinID is how LVM chooses: one more than the highest that it knows.
func (g *vg) nextThinID(pool *lv) int64 {
	var highest int64
	for _, t := range g.thins(pool) {
		highest = max(highest, t.thinID)
	}
	return highest + 1
}

// off deactivates everything, as a reboot does.
func (g *vg) off() {
	for _, v := range g.lvs {
		v.active, v.opened, v.layered = false, 0, false
	}
}

func (g *vg) free() int64 {
	var n int64
	for _, p := range g.pvs {
		for _, r := range p.free() {
			n += r.count
		}
	}
	return n
}

// free are the runs of extents that nobody owns.
func (p *pv) free() []extentRun {
	var free []extentRun
	at := int64(0)
	for _, r := range p.used {
		if r.start > at {
			free = append(free, extentRun{start: at, count: r.start - at})
		}
		at = r.start + r.count
	}
	if at < p.extents {
		free = append(free, extentRun{start: at, count: p.extents - at})
	}
	return free
}

func (p *pv) take(start, count int64, owner *lv) {
	p.used = append(p.used, extentRun{start, count, owner})
	sort.Slice(p.used, func(i, j int) bool { return p.used[i].start < p.used[j].start })
}

// area is where an allocation may look: all of a PV, or some of its extents.
type area struct {
	pv     *pv
	ranges [][2]int64 // first and last extent; nil means all
}

// free are the free runs of the area.
func (a area) free() []extentRun {
	if a.ranges == nil {
		return a.pv.free()
	}
	var free []extentRun
	for _, r := range a.pv.free() {
		for _, want := range a.ranges {
			first, last := max(r.start, want[0]), min(r.start+r.count-1, want[1])
			if first <= last {
				free = append(free, extentRun{start: first, count: last - first + 1})
			}
		}
	}
	return free
}

func (a area) room() int64 {
	var n int64
	for _, r := range a.free() {
		n += r.count
	}
	return n
}

// fill gives up to count extents of the area to owner.
func (a area) fill(count int64, owner *lv) (given int64) {
	for _, r := range a.free() {
		n := min(count-given, r.count)
		if n > 0 {
			a.pv.take(r.start, n, owner)
			given += n
		}
	}
	return given
}

// release gives an LV's extents back.
func (g *vg) release(v *lv) {
	for _, p := range g.pvs {
		p.used = slices.DeleteFunc(p.used, func(r extentRun) bool { return r.owner == v })
	}
}

// drop takes an LV and its hidden parts out of the VG.
func (g *vg) drop(v *lv) {
	for _, part := range g.parts(v) {
		g.drop(part)
	}
	g.release(v)
	g.lvs = slices.DeleteFunc(g.lvs, func(o *lv) bool { return o == v })
	for _, o := range g.lvs {
		if o.origin == v {
			o.origin = nil
		}
	}
}

func (g *vg) parts(v *lv) []*lv {
	var parts []*lv
	for _, o := range g.lvs {
		if o.parent == v {
			parts = append(parts, o)
		}
	}
	return parts
}

// textSize is about how long the VG's description is.
func (g *vg) textSize() int64 {
	n := int64(1000 + 300*len(g.pvs))
	for _, v := range g.lvs {
		n += int64(340 + len(v.name) + len(strings.Join(v.tags, `", "`)))
	}
	return n
}

func (g *vg) mdaSize() int64 {
	size := g.pvs[0].mdaSize
	for _, p := range g.pvs {
		size = min(size, p.mdaSize)
	}
	return size
}

// vgs are all VGs of which a drive is plugged in, by name.
func (f *Fake) vgs() []*vg {
	var all []*vg
	for _, d := range f.drives {
		if d.pv != nil && d.pv.vg != nil && !slices.Contains(all, d.pv.vg) {
			all = append(all, d.pv.vg)
		}
	}
	slices.SortStableFunc(all, func(a, b *vg) int { return strings.Compare(a.name, b.name) })
	return all
}

func (f *Fake) drive(path string) *drive {
	for _, d := range f.drives {
		if d.path == path {
			return d
		}
	}
	return nil
}

// mustDrive and mustLV are for what a test says of the host: a wrong name
// there is a fault of the test.
func (f *Fake) mustDrive(path string) *drive {
	d := f.drive(path)
	if d == nil {
		panic("no drive " + path)
	}
	return d
}

func (f *Fake) mustLV(vgName, name string) *lv {
	for _, g := range f.vgs() {
		if g.name == vgName {
			if v := g.lv(name); v != nil {
				return v
			}
		}
	}
	panic("no LV " + vgName + "/" + name)
}

var lastUUID atomic.Int64

// newUUID is in LVM's form and never the same twice, on any host.
func newUUID() string {
	return fmt.Sprintf("FakeID-0000-0000-0000-0000-0000-%06d", lastUUID.Add(1))
}

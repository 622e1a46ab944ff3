package lvmtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lvme/lvme/internal/dm"
)

func (v *lv) device(layer ...string) string { return dm.DeviceName(v.vg.name, v.name, layer...) }

func (f *Fake) lvextend(c *command) answer {
	v, a := c.lv(c.args[0])
	if v == nil {
		return a
	}
	if c.has("--poolmetadatasize") {
		a := f.extendTo(v.part("_tmeta"), c.size("--poolmetadatasize"))
		f.keepSpare(v.vg)
		return a
	}
	want := roundUp(c.size("-L"), v.vg.extent)
	if v.segType == "thin-pool" {
		if a := f.extendTo(v.part("_tdata"), want); a.code != 0 {
			return a
		}
		v.size = v.part("_tdata").size
		return answer{}
	}
	return f.extendTo(v, want)
}

func (f *Fake) extendTo(v *lv, want int64) answer {
	extents, now := roundUp(want, v.vg.extent)/v.vg.extent, v.size/v.vg.extent
	switch {
	case extents == now:
		return no("No size change.")
	case extents < now:
		return no("New size given (%d extents) not larger than existing size (%d extents)", extents, now)
	}
	by := (extents - now) * v.vg.extent
	if v.segType == "thin" {
		v.size += by
	} else if a := f.grow(v, by); a.code != 0 {
		return a
	}
	return v.vg.commit()
}

func (f *Fake) lvremove(c *command) answer {
	if strings.HasSuffix(c.args[0], "_pmspare") {
		return f.removeSpare(c)
	}
	v, a := c.lv(c.args[0])
	if v == nil {
		return a
	}
	thins := v.vg.thins(v)
	switch {
	case len(thins) > 0: // with --yes they would go too, which nobody may ask for
		return refuse(failed, fmt.Sprintf("Removing pool %s will remove %d dependent volume(s). Proceed? [y/n]: [n]", v.path(), len(thins)),
			"Logical volume "+v.path()+" not removed.")
	case v.opened > 0:
		return no("Logical volume %s contains a filesystem in use.", v.path())
	case v.active && !c.has("--yes"):
		return refuse(failed, "Do you really want to remove active logical volume "+v.path()+"? [y/n]: [n]", "Logical volume "+v.path()+" not removed.")
	}
	p := v.pool
	v.vg.drop(v)
	v.vg.seqno++
	f.keepSpare(v.vg)
	if p == nil {
		return answer{}
	}
	// LVM has forgotten the thin before it tells the kernel.
	if p.unmade == v {
		p.unmade = nil
		p.kernel.transaction++
	}
	if a := p.start(c); a.code != 0 {
		p.transaction++
		return refuse(failed, append(a.stderr, "Failed to update thin pool "+p.path()+".")...)
	}
	p.sendQueued()
	p.kernel.clear(v.thinID)
	delete(p.kernel.thins, v.thinID)
	p.step()
	return answer{stderr: []string{notBackedUp}}
}

// start is what LVM checks before the kernel gets the pool.
func (v *lv) start(c *command) answer {
	if v.up() {
		return answer{}
	}
	if !v.passes(c) {
		return v.wantsRepair()
	}
	v.sendQueued()
	if v.kernel.transaction != v.transaction {
		return no("Thin pool %s (254:2) transaction_id is %d, while expected %d.", v.device("tpool"), v.kernel.transaction, v.transaction)
	}
	return answer{}
}

// passes says whether a pool passes thin_check, which mends what it may.
func (v *lv) passes(c *command) bool {
	if strings.Contains(c.value("--config"), `thin_check_options=["-q","--clear-needs-check-flag"]`) && !v.kernel.damaged {
		v.kernel.leaks, v.kernel.needsCheck = false, false
	}
	return !v.kernel.damaged && !v.kernel.leaks
}

func (f *Fake) lvrename(c *command) answer {
	g, a := c.whole(c.args[0])
	if g == nil {
		return a
	}
	from, to := c.args[1], c.args[2]
	v := g.lv(from)
	if from == to {
		return refuse(badUsage, "Old and new logical volume names must differ")
	}
	if v == nil {
		return no("Existing logical volume %q not found in volume group %q", from, g.name)
	}
	if a := taken(g, to); a.code != 0 {
		return a
	}
	for _, part := range g.parts(v) {
		part.name = to + strings.TrimPrefix(part.name, from)
	}
	v.name = to
	slices.SortFunc(g.lvs, func(a, b *lv) int { return strings.Compare(a.name, b.name) })
	return g.commit()
}

func (f *Fake) lvchange(c *command) answer {
	v, a := c.anyLV(c.args[0])
	if v == nil {
		return a
	}
	switch {
	case c.has("-ay"):
		return v.activate(c)
	case c.has("-an"):
		return v.deactivate()
	case c.has("--refresh"):
		delete(f.frozen, frozenDevice(v))
		return v.refresh(c)
	}
	if _, a := c.lv(c.args[0]); a.code != 0 {
		return a
	}
	switch {
	case c.has("--zero"):
		if c.value("--zero") == "n" {
			v.noZero = true
			return v.vg.commit()
		}
		if !v.noZero {
			return no("Logical volume %s already zero new blocks.", v.path())
		}
		v.noZero = false
		return v.vg.commit()
	case c.has("--errorwhenfull"):
		if !v.queue {
			return no("Error when full is already set for %s.", v.path())
		}
		v.queue = false
		return v.vg.commit()
	}
	return v.vg.retag(&v.tags, c)
}

// activate leaves an LV that is flagged to be skipped as it is, with success,
// and so it does with one that is active.
func (v *lv) activate(c *command) answer {
	if v.skip && !c.has("-K") || v.active {
		return answer{}
	}
	if a := v.whole(c); a.code != 0 {
		return a
	}
	p := v
	if v.segType == "thin" {
		p = v.pool
	}
	if p.segType == "thin-pool" {
		if a := p.start(c); a.code != 0 {
			return a
		}
		if !p.up() {
			p.layered = p != v || len(p.vg.thins(p)) > 0
			p.raise(c)
			p.kernel.unwritable = false
		}
		if p.unmade == v {
			return no("device-mapper: reload ioctl on  (253:5) failed: No data available")
		}
	}
	v.active = true
	v.raise(c)
	return answer{}
}

func (v *lv) deactivate() answer {
	if v.opened > 0 {
		return no("Logical volume %s in use.", v.path())
	}
	v.active = false
	return answer{}
}

// lvconvert turns two LVs into a pool.
func (f *Fake) lvconvert(c *command) answer {
	if c.has("--repair") {
		return f.replaceLeg(c)
	}
	v, a := c.lv(c.args[0])
	if v == nil {
		return a
	}
	if v.segType == "thin-pool" {
		return refuse(failed, "WARNING: Command on LV "+v.path()+" does not accept LV type thinpool.", "Command not permitted on LV "+v.path()+".")
	}
	g := v.vg
	meta := g.lv(c.value("--poolmetadata"))
	if meta == nil {
		return no("Failed to find logical volume %q", g.name+"/"+c.value("--poolmetadata"))
	}
	pool := &lv{name: v.name, segType: "thin-pool", size: v.size, tags: v.tags, chunk: c.size("--chunksize"), kernel: newKernelPool(), stripes: 1,
		queue: !strings.Contains(c.value("--config"), "error_when_full=1")}
	rename(g, v, pool.name+"_tdata", "private,thin,pool,data", pool)
	rename(g, meta, pool.name+"_tmeta", "private,thin,pool,metadata", pool)
	v.tags = nil
	a = f.add(g, pool)
	f.keepSpare(g)
	return a
}

// rename makes an LV with its parts a hidden part of a pool.
func rename(g *vg, v *lv, name, role string, parent *lv) {
	for _, part := range g.parts(v) {
		part.name = name + strings.TrimPrefix(part.name, v.name)
	}
	v.name, v.role, v.parent = name, role, parent
}

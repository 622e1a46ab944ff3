package lvmtest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// spare is the name of the LV that LVM keeps to repair pools with.
const spare = "lvol0_pmspare"

func (f *Fake) lvcreate(c *command) answer {
	if len(c.args) == 0 {
		return refuse(badUsage, "Please specify a logical volume to act on.")
	}
	vgName, second, _ := strings.Cut(c.args[0], "/")
	g, a := c.whole(vgName)
	if g == nil {
		return a
	}
	for _, opt := range []string{"-L", "-V", "--poolmetadatasize"} {
		if c.has(opt) && (c.size(opt) <= 0 || c.size(opt)%512 != 0) {
			return refuse(badUsage, "Invalid argument for "+opt+": "+c.value(opt), "Error during parsing of command line.")
		}
	}
	if most := g.extent * math.MaxUint32; max(c.size("-L"), c.size("-V")) > most {
		return no("Volume too large (%d) for extent size %d. Upper limit is less than %d.", max(c.size("-L"), c.size("-V")), g.extent, most)
	}
	switch {
	case c.has("-s"):
		return f.createSnapshot(c, g, second)
	case c.has("-T") && c.has("-V"):
		return f.createThin(c, g, second)
	case c.has("-T"):
		return f.createPool(c, g, second)
	}
	return f.createThick(c, g)
}

// add makes an LV with what all kinds have in common; it is dropped again when
// it does not fit into the VG's description.
func (f *Fake) add(g *vg, v *lv) answer {
	v.vg, v.uuid, v.created = g, newUUID(), f.Now()
	v.tags = slices.Compact(slices.Sorted(slices.Values(v.tags)))
	g.lvs = append(g.lvs, v)
	slices.SortFunc(g.lvs, func(a, b *lv) int { return strings.Compare(a.name, b.name) })
	if a := g.commit(); a.code != 0 {
		g.drop(v)
		return a
	}
	return answer{stdout: fmt.Sprintf("  Logical volume %q created.\n", v.name), stderr: []string{notBackedUp}}
}

func taken(g *vg, name string) answer {
	if g.lv(name) != nil {
		return no("Logical Volume %q already exists in volume group %q", name, g.name)
	}
	return answer{}
}

func (f *Fake) createThin(c *command, g *vg, pool string) answer {
	p := g.lv(pool)
	if p == nil || p.segType != "thin-pool" {
		return no("Pool %s not found in Volume group %s.", pool, g.name)
	}
	name := c.value("-n")
	if a := taken(g, name); a.code != 0 {
		return a
	}
	if a := p.takesThins(c); a.code != 0 {
		return a
	}
	p.sendQueued()
	v := &lv{name: name, segType: "thin", size: roundUp(c.size("-V"), g.extent), tags: c.opts["--addtag"], pool: p, thinID: g.nextThinID(p), made: p.transaction}
	a := f.add(g, v)
	if a.code != 0 {
		return a
	}
	// A thin that the kernel already has under this number is taken as it is,
	// and LVM notices nothing.
	if p.kernel.thins[v.thinID] == nil {
		p.kernel.thins[v.thinID] = map[int64]int64{}
	}
	p.step()
	f.last = v
	return a
}

func (f *Fake) createSnapshot(c *command, g *vg, origin string) answer {
	if a := f.target("snapshot"); a.code != 0 {
		return a
	}
	o := g.lv(origin)
	if o == nil {
		return no("Snapshot origin LV %s not found in Volume group %s.", origin, g.name)
	}
	name := c.value("-n")
	if a := taken(g, name); a.code != 0 {
		return a
	}
	if o.segType != "thin" {
		return no("Please specify either size or extents with snapshots.")
	}
	p := o.pool
	if a := p.takesThins(c); a.code != 0 {
		return a
	}
	p.sendQueued()
	id := g.nextThinID(p)
	if p.kernel.thins[id] != nil {
		return p.staleSnapshot(id, o)
	}
	v := &lv{name: name, segType: "thin", size: o.size, tags: c.opts["--addtag"], pool: p, thinID: id, origin: o, made: p.transaction,
		readOnly: c.value("-p") == "r", skip: !c.has("-kn")}
	a := f.add(g, v)
	if a.code == 0 {
		p.kernel.snapshot(id, o.thinID)
		p.step()
		f.last = v
	}
	return a
}

// staleSnapshot is how a snapshot fails whose number the kernel has given away.
// With an inactive origin LVM leaves it to its next change of the pool to
// delete what it takes for its own half-made snapshot.
func (v *lv) staleSnapshot(id int64, origin *lv) answer {
	last := "Failed to suspend thin snapshot origin " + origin.path() + "."
	if !origin.active {
		last = "Failed to suspend " + v.path() + " with queued messages."
		v.doomed = id
	}
	return refuse(failed, "device-mapper: message ioctl on  (254:2) failed: File exists",
		fmt.Sprintf("Failed to process message \"create_snap %d %d\".", id, origin.thinID),
		fmt.Sprintf("Thin pool %s-tpool (254:2) already contain thin device with device_id %d.", v.device(), id), last)
}

// takesThins is LVM's look at a pool before it makes a thin in it.
func (v *lv) takesThins(c *command) answer {
	full := []string{"Cannot create new thin volume, free space in thin pool " + v.path() + " reached threshold."}
	switch k := v.kernel; {
	case !v.up() && !v.passes(c):
		return v.wantsRepair()
	case v.uncounted:
		return refuse(failed, "device-mapper: message ioctl on  (254:2) failed: File exists", `Failed to process message "create_thin 1".`,
			fmt.Sprintf("Thin pool %s-tpool (254:2) already contain thin device with device_id 1.", v.device()))
	case k.transaction != v.transaction && v.unmade == nil:
		return refuse(failed, append([]string{fmt.Sprintf("WARNING: Thin pool %s has unexpected transaction id %d, expecting %d.",
			v.path(), k.transaction, v.transaction)}, full...)...)
	case v.dataUsed() >= v.dataTotal():
		return refuse(failed, append([]string{"WARNING: Thin pool " + v.path() + " is out of data space."}, full...)...)
	case v.metaTotal()-v.metaUsed() <= min(v.metaTotal()/4, (4<<20)/metaBlock):
		return no("Free space in pool %s is above threshold, new volumes are not allowed.", v.path())
	}
	return answer{}
}

func (v *lv) wantsRepair() answer {
	return no("Check of pool %s failed (status:64). Manual repair required!", v.path())
}

// sendQueued does what a command that failed, or was cut off, has left to be done.
func (v *lv) sendQueued() {
	if t := v.unmade; t != nil {
		if v.unmade = nil; t.origin != nil {
			v.kernel.snapshot(t.thinID, t.origin.thinID)
		} else {
			v.kernel.thins[t.thinID] = map[int64]int64{}
		}
		v.kernel.transaction++
	}
	if v.doomed == 0 {
		return
	}
	v.kernel.clear(v.doomed)
	delete(v.kernel.thins, v.doomed)
	v.doomed = 0
	v.step()
}

// step counts a change of the pool in the VG and in the kernel alike.
func (v *lv) step() {
	v.transaction++
	v.kernel.transaction++
	if v.active {
		v.layered = true
	}
}

func (f *Fake) createPool(c *command, g *vg, name string) answer {
	if g.lv(name) != nil {
		return no("Logical volume %s already exists in Volume group %s.", name, g.name)
	}
	stripes := c.number("--stripes", 1)
	size := roundUp(c.size("-L"), g.extent*int64(stripes))
	meta := roundUp(c.size("--poolmetadatasize"), g.extent)
	more := meta
	if s := g.lv(spare); s != nil {
		more = max(meta-s.size, 0)
	}
	if need := (size + meta + more) / g.extent; need > g.free() {
		return no("Volume group %q has insufficient free space (%d extents): %d required.", g.name, g.free(), need)
	}
	p := &lv{name: name, segType: "thin-pool", size: size, tags: c.opts["--addtag"], chunk: c.size("--chunksize"),
		queue: c.value("--errorwhenfull") != "y", kernel: newKernelPool(), stripes: 1}
	data := &lv{name: name + "_tdata", size: size, stripes: stripes, stripeSize: c.size("--stripesize"), role: "private,thin,pool,data", parent: p}
	if a := f.allocate(g, data, g.everywhere()); a.code != 0 {
		return a
	}
	md := &lv{name: name + "_tmeta", size: meta, stripes: 1, role: "private,thin,pool,metadata", parent: p}
	if a := f.allocate(g, md, g.everywhere()); a.code != 0 {
		g.drop(data)
		return a
	}
	a := f.add(g, p)
	if a.code != 0 {
		g.drop(data)
		g.drop(md)
		return a
	}
	f.keepSpare(g)
	if p.active = !c.has("-an"); p.active {
		p.raise(c)
	}
	return a
}

// keepSpare has the spare as large as the largest pool's metadata, or gone
// with the last pool.
func (f *Fake) keepSpare(g *vg) {
	var want int64
	for _, v := range g.lvs {
		if v.segType == "thin-pool" {
			want = max(want, v.part("_tmeta").size)
		}
	}
	s := g.lv(spare)
	switch {
	case want == 0 && s != nil:
		g.drop(s)
	case want > 0 && s == nil:
		f.allocate(g, &lv{name: spare, size: want, stripes: 1, role: "private,pool,spare"}, g.everywhere())
	case want > 0 && s.size < want:
		f.grow(s, want-s.size)
	}
}

func (f *Fake) createThick(c *command, g *vg) answer {
	name := c.value("-n")
	if a := taken(g, name); a.code != 0 {
		return a
	}
	v := &lv{name: name, size: c.size("-L"), stripes: 1, tags: c.opts["--addtag"]}
	areas, a := c.areas(g)
	if a.code != 0 {
		return a
	}
	switch c.value("--type") {
	case "raid1":
		return f.createRaid(c, g, v, areas)
	case "striped":
		v.stripes, v.stripeSize = c.number("--stripes", 1), c.size("--stripesize")
	}
	return f.allocate(g, v, areas)
}

// createRaid makes an LV out of two legs on two drives, each with its own
// extent of metadata.
func (f *Fake) createRaid(c *command, g *vg, v *lv, areas []area) answer {
	if a := f.target("raid1"); a.code != 0 {
		return a
	}
	v.size, v.segType, v.stripes = roundUp(v.size, g.extent), "raid1", 2
	legs := apart(areas, v.size/g.extent+1)
	if len(legs) < 2 {
		return no("Insufficient suitable allocatable extents for logical volume %s: %d more required", v.name, 2*(v.size/g.extent+1))
	}
	a := f.add(g, v)
	if a.code != 0 {
		return a
	}
	for i, leg := range legs[:2] {
		meta := &lv{name: v.name + "_rmeta_" + strconv.Itoa(i), size: g.extent, stripes: 1, role: "private,raid,metadata", parent: v, tags: v.tags}
		image := &lv{name: v.name + "_rimage_" + strconv.Itoa(i), size: v.size, stripes: 1, role: "private,raid,image", parent: v}
		f.allocate(g, meta, []area{leg})
		f.allocate(g, image, []area{leg})
	}
	return a
}

// target is LVM's look whether the kernel can do it.
func (f *Fake) target(name string) answer {
	if slices.Contains(f.noTargets, name) {
		return refuse(badUsage, name+": Required device-mapper target(s) not detected in your kernel.")
	}
	return answer{}
}

func (g *vg) everywhere() []area {
	var areas []area
	for _, p := range g.pvs {
		areas = append(areas, area{pv: p})
	}
	return areas
}

// areas are where the command's arguments after the VG allow it to allocate.
func (c *command) areas(g *vg) ([]area, answer) {
	if len(c.args) == 1 {
		return g.everywhere(), answer{}
	}
	var areas []area
	for _, arg := range c.args[1:] {
		path, ranges, limited := strings.Cut(arg, ":")
		i := slices.IndexFunc(g.pvs, func(p *pv) bool { return p.drive.path == path })
		if i < 0 {
			return nil, no("Physical Volume %q not found in Volume Group %q.", path, g.name)
		}
		a := area{pv: g.pvs[i]}
		for r := range strings.SplitSeq(ranges, ":") {
			first, last, _ := strings.Cut(r, "-")
			from, err1 := strconv.ParseInt(first, 10, 64)
			to, err2 := strconv.ParseInt(last, 10, 64)
			if limited && (err1 != nil || err2 != nil) {
				return nil, refuse(badUsage, "Physical extent parsing error at "+ranges)
			}
			if limited {
				a.ranges = append(a.ranges, [2]int64{from, to})
			}
		}
		areas = append(areas, a)
	}
	return areas, answer{}
}

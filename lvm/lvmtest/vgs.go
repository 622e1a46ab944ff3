package lvmtest

import (
	"fmt"
	"slices"
)

// defaultMDA is what LVM takes for a PV's metadata area without an option.
const (
	defaultMDA    = 1020 << 10
	defaultExtent = 4 << 20
	mebibyte      = 1 << 20
	minPV         = 2 << 20
)

func (f *Fake) vgcreate(c *command) answer {
	name := c.args[0]
	if g, _ := c.vg(name); g != nil {
		return no("A volume group called %s already exists.", name)
	}
	var drives []*drive
	for _, path := range c.args[1:] {
		d := f.drive(path)
		if a := usable(d, path); a.code != 0 {
			return a
		}
		drives = append(drives, d)
	}
	g := &vg{name: name, uuid: newUUID(), tags: c.opts["--addtag"], extent: c.size("--physicalextentsize"), seqno: 1}
	if g.extent == 0 {
		g.extent = defaultExtent
	}
	mda := c.size("--metadatasize")
	if mda == 0 {
		mda = defaultMDA
	}
	for _, d := range drives {
		g.addPV(d, mda)
	}
	return answer{stdout: fmt.Sprintf("  Volume group %q successfully created\n", name), stderr: []string{notBackedUp}}
}

// addPV makes a drive a PV of the VG.
func (g *vg) addPV(d *drive, mda int64) {
	if d.pv == nil {
		d.pv = &pv{uuid: newUUID(), drive: d, mdaSize: mda}
	}
	p := d.pv
	p.vg = g
	p.peStart = roundUp(p.mdaSize+metaBlock, mebibyte)
	p.extents = (d.size - p.peStart) / g.extent
	g.pvs = append(g.pvs, p)
}

const notBackedUp = "WARNING: This metadata update is NOT backed up."

// usable says whether vgcreate takes the drive.
func usable(d *drive, path string) answer {
	switch {
	case d == nil || d.away:
		return no("No device found for %s.", path)
	case d.signature != "":
		return refuse(failed, fmt.Sprintf("WARNING: %s signature detected on %s at offset 1080. Wipe it? [y/n]: [n]", d.signature, path),
			"Aborted wiping of "+d.signature+".", "1 existing signature left on the device.")
	case d.pv != nil && d.pv.vg != nil:
		return refuse(failed, fmt.Sprintf("Physical volume '%s' is already in volume group '%s'", path, d.pv.vg.name),
			fmt.Sprintf("%s: physical volume not initialized.", path))
	case d.size < minPV:
		return no("Cannot use %s: device is too small (pv_min_size)", path)
	}
	return answer{}
}

func (f *Fake) vgremove(c *command) answer {
	g, a := c.whole(c.args[0])
	if g == nil {
		return a
	}
	if len(g.lvs) > 0 {
		return refuse(failed, fmt.Sprintf("Do you really want to remove volume group %q containing %d logical volumes? [y/n]: [n]", g.name, len(g.lvs)),
			fmt.Sprintf("Volume group %q not removed", g.name))
	}
	for _, p := range g.pvs {
		p.vg = nil
	}
	return answer{}
}

func (f *Fake) pvremove(c *command) answer {
	var a answer
	for _, path := range c.args {
		d := f.drive(path)
		switch {
		case d == nil || d.pv == nil:
			a.code, a.stderr = failed, append(a.stderr, "No PV found on device "+path+".")
		case d.pv.vg != nil:
			a.code, a.stderr = failed, append(a.stderr, fmt.Sprintf("PV %s is used by VG %s so please use vgreduce first.", path, d.pv.vg.name))
		default:
			d.pv = nil
		}
	}
	return a
}

func (f *Fake) vgrename(c *command) answer {
	uuid, name := c.args[0], c.args[1]
	i := slices.IndexFunc(c.vgs, func(g *vg) bool { return g.uuid == uuid })
	if i < 0 {
		return refuse(failed, fmt.Sprintf("Volume group %q not found", uuid), "Cannot process volume group "+uuid)
	}
	if c.vgs[i].name == name {
		return no("New VG name must differ from the old VG name.")
	}
	if slices.ContainsFunc(c.vgs, func(g *vg) bool { return g.name == name }) {
		return no("New VG name %q already exists", name)
	}
	c.vgs[i].name = name
	c.vgs[i].seqno++
	return answer{}
}

func (f *Fake) vgchange(c *command) answer {
	g, a := c.vg(c.args[0])
	if g == nil {
		return a
	}
	a = g.retag(&g.tags, c)
	c.giveUp(g, a)
	return a
}

// retag adds and removes tags as one change of the VG.
func (g *vg) retag(tags *[]string, c *command) answer {
	before := *tags
	after := slices.DeleteFunc(slices.Clone(before), func(t string) bool { return slices.Contains(c.opts["--deltag"], t) })
	for _, t := range c.opts["--addtag"] {
		if !slices.Contains(after, t) {
			after = append(after, t)
		}
	}
	slices.Sort(after)
	*tags = after
	if a := g.commit(); a.code != 0 {
		*tags = before
		return a
	}
	return answer{stderr: []string{notBackedUp}}
}

// commit counts a change, unless the VG's description no longer fits.
func (g *vg) commit() answer {
	if n := g.textSize(); n > g.mdaSize()/2 {
		return refuse(failed, fmt.Sprintf("VG %s %d metadata on %s (%d bytes) exceeds maximum metadata size (%d bytes)",
			g.name, g.seqno+1, g.pvs[0].drive.path, n, g.mdaSize()/2), "Failed to write VG "+g.name+".")
	}
	g.seqno++
	return answer{}
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

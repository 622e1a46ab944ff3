package lvmtest

import (
	"fmt"
	"slices"

	"github.com/lvme/lvme/internal/run"
)

// whole says whether LVM activates an LV that may lack drives: a mirror that
// was active before works with one leg, anything else only if it is asked to.
func (v *lv) whole(c *command) answer {
	switch {
	case !v.partial(c):
		return answer{}
	case v.segType == "raid1" && v.raised:
		return answer{}
	case v.segType == "raid1":
		return no("device-mapper: reload ioctl on  (253:18) failed: Invalid argument")
	case c.value("--activationmode") == "partial":
		return answer{stderr: []string{"PARTIAL MODE. Incomplete logical volumes will be processed."}}
	}
	return no("Refusing activation of partial LV %s.  Use '--activationmode partial' to override.", v.path())
}

// refresh loads the tables of an active LV anew.
func (v *lv) refresh(c *command) answer {
	switch {
	case v.hidden():
		return no("Operation not permitted on hidden LV %s.", v.path())
	case v.active || v.segType == "thin-pool" && v.up():
		v.raise(c)
	}
	return answer{}
}

// giveUp has LVM take the drives that it did not see for lost, after a change
// that it made without them.
func (c *command) giveUp(g *vg, a answer) {
	if a.code != 0 {
		return
	}
	for _, p := range c.missing(g) {
		p.lost = true
	}
}

func (f *Fake) vgextend(c *command) answer {
	g, a := c.vg(c.args[0])
	if g == nil {
		return a
	}
	path := c.args[1]
	if c.has("--restoremissing") {
		i := slices.IndexFunc(g.pvs, func(p *pv) bool { return p.drive.path == path && slices.Contains(c.visible, p.drive) })
		if i < 0 || !g.pvs[i].lost {
			return refuse(failed, "WARNING: PV "+path+" was not missing", "No PVs missing in VG "+g.name+".")
		}
		g.pvs[i].lost = false
		return g.commit()
	}
	if a := usable(f.drive(path), path); a.code != 0 {
		return a
	}
	g.addPV(f.drive(path), c.size("--metadatasize"))
	a = g.commit()
	c.giveUp(g, a)
	return a
}

func (f *Fake) vgreduce(c *command) answer {
	g, a := c.vg(c.args[0])
	if g == nil {
		return a
	}
	a = answer{}
	for _, p := range c.missing(g) {
		if len(p.used) > 0 {
			a.code, a.stderr = failed, append(a.stderr, "There are still partial LVs in VG "+g.name+".")
			p.lost = true
			continue
		}
		p.vg, p.drive.pv = nil, nil
		g.pvs = slices.DeleteFunc(g.pvs, func(o *pv) bool { return o == p })
	}
	g.seqno++
	return a
}

func (f *Fake) removeSpare(c *command) answer {
	v, a := c.anyLV(c.args[0])
	switch {
	case v == nil:
		return a
	case !c.has("--yes"):
		return refuse(failed, "Removal of pool metadata spare logical volume "+v.path()+
			" disables automatic recovery attempts after damage to a thin or cache pool. Proceed? [y/n]: [n]", "Logical volume "+v.path()+" not removed.")
	}
	v.vg.drop(v)
	a = v.vg.commit()
	c.giveUp(v.vg, a)
	return a
}

// replaceLeg puts the parts of a mirror that are on a missing drive on another.
func (f *Fake) replaceLeg(c *command) answer {
	v, a := c.anyLV(c.args[0])
	if v == nil {
		return a
	}
	g := v.vg
	if !v.active && !v.parentUp() {
		return no("%s must be active to perform this operation.", v.path())
	}
	onto := slices.IndexFunc(g.pvs, func(p *pv) bool { return p.drive.path == c.args[1] })
	if onto < 0 {
		return no("Physical Volume %q not found in Volume Group %q.", c.args[1], g.name)
	}
	moved := false
	for _, part := range g.parts(v) {
		for _, p := range c.missing(g) {
			if !slices.ContainsFunc(p.used, func(r extentRun) bool { return r.owner == part }) {
				continue
			}
			count := part.size / g.extent
			if (area{pv: g.pvs[onto]}).room() < count {
				return no("Insufficient suitable allocatable extents for logical volume %s: %d more required", part.name, count)
			}
			g.release(part)
			area{pv: g.pvs[onto]}.fill(count, part)
			part.raise(c)
			moved = true
		}
	}
	if !moved {
		return refuse(failed, "Logical volume "+v.path()+" does not contain devices specified to replace.",
			"Failed to replace faulty devices in "+v.path()+".")
	}
	a = g.commit()
	c.giveUp(g, a)
	return a
}

// dmsetup is dmsetup remove of one device.
func (f *Fake) dmsetup(c run.Cmd) run.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := c.Args[len(c.Args)-1]
	d, found := f.devices()[name]
	switch {
	case c.Args[0] != "remove":
		return refuse(badUsage, "Fake: dmsetup does nothing but remove.").result()
	case !found:
		return refuse(1, "device-mapper: remove ioctl on "+name+"  failed: No such device or address", "Command failed.").result()
	case d.opened > 0:
		return refuse(1, "device-mapper: remove ioctl on "+name+"  failed: Device or resource busy", "Command failed.").result()
	}
	d.lv.active = false // what is below goes with it
	return run.Result{}
}

func (v *lv) raidStatus() string {
	legs := v.legs()
	return fmt.Sprintf("raid1 %d %s %d/%d idle 0 0 -", len(legs), legs, v.size/512, v.size/512)
}

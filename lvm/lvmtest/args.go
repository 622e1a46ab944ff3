package lvmtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// command is a parsed command line and what it can see.
type command struct {
	verb string
	// opts has the values of each option, in order; flags have an empty one.
	opts map[string][]string
	args []string

	visible  []*drive
	warnings []string
	vgs      []*vg
}

// withValue are the options that take a value as their next argument.
var withValue = []string{
	"--devices", "--config", "-f", "-n", "-L", "-V", "-p", "-m", "-o", "--addtag", "--deltag", "--type", "--stripes", "--stripesize",
	"--chunksize", "--poolmetadata", "--poolmetadatasize", "--poolmetadataspare", "--zero", "--discards", "--errorwhenfull",
	"--metadatasize", "--physicalextentsize", "--setautoactivation", "--reportformat", "--configreport", "--activationmode", "--dump", "--settings",
}

var withoutValue = []string{"-an", "-ay", "-kn", "-Zn", "-Wn", "-s", "-T", "-K", "-a", "--yes", "--refresh", "--repair",
	"--removemissing", "--restoremissing"}

// toggles says that a command changes what is active, and nothing on the drives.
func (c *command) toggles() bool {
	return c.verb == "lvchange" && (c.has("-ay") || c.has("-an") || c.has("--refresh"))
}

func parseArgs(args []string) (*command, error) {
	c := &command{verb: args[0], opts: map[string][]string{}}
	for rest := args[1:]; len(rest) > 0; rest = rest[1:] {
		arg := rest[0]
		switch {
		case slices.Contains(withValue, arg):
			if len(rest) < 2 {
				return nil, fmt.Errorf("%s: option requires an argument -- '%s'", c.verb, arg)
			}
			rest = rest[1:]
			c.opts[arg] = append(c.opts[arg], rest[0])
		case slices.Contains(withoutValue, arg):
			c.opts[arg] = append(c.opts[arg], "")
		case strings.HasPrefix(arg, "-"):
			return nil, fmt.Errorf("%s: unrecognized option '%s'", c.verb, arg)
		default:
			c.args = append(c.args, arg)
		}
	}
	return c, nil
}

func (c *command) has(opt string) bool { return len(c.opts[opt]) > 0 }

func (c *command) value(opt string) string {
	if v := c.opts[opt]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// size is the value of an option in bytes, and 0 without the option.
func (c *command) size(opt string) int64 {
	digits, found := strings.CutSuffix(c.value(opt), "b")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !found || err != nil {
		return 0
	}
	return n
}

func (c *command) number(opt string, otherwise int) int {
	if n, err := strconv.Atoi(c.value(opt)); err == nil {
		return n
	}
	return otherwise
}

// look finds what the command can see: --devices and nothing else.
func (f *Fake) look(c *command) {
	for path := range strings.SplitSeq(c.value("--devices"), ",") {
		if path == "" {
			continue
		}
		d := f.drive(path)
		if d == nil || d.away {
			c.warnings = append(c.warnings, "Device not found for "+path+".")
			continue
		}
		c.visible = append(c.visible, d)
		if d.torn {
			c.warnings = append(c.warnings, "WARNING: bad metadata text on "+d.path+" in mda1")
			continue
		}
		if d.pv != nil && d.pv.vg != nil && !slices.Contains(c.vgs, d.pv.vg) {
			c.vgs = append(c.vgs, d.pv.vg)
		}
	}
	for _, g := range c.vgs {
		for _, p := range c.missing(g) {
			c.warnings = append(c.warnings, "WARNING: Couldn't find device with uuid "+p.uuid+".",
				"WARNING: VG "+g.name+" is missing PV "+p.uuid+" (last written to [unknown]).")
		}
	}
}

// sees says whether a PV's drive is in sight.
func (c *command) sees(p *pv) bool {
	return !p.lost && slices.ContainsFunc(c.visible, func(d *drive) bool { return d.pv == p })
}

func (c *command) missing(g *vg) []*pv {
	var missing []*pv
	for _, p := range g.pvs {
		if !c.sees(p) {
			missing = append(missing, p)
		}
	}
	return missing
}

// vg finds the VG of that name. It is nil together with LVM's answer.
func (c *command) vg(name string) (*vg, answer) {
	var found []*vg
	for _, g := range c.vgs {
		if g.name == name {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 1:
		return found[0], answer{}
	case 0:
		return nil, refuse(failed, fmt.Sprintf("Volume group %q not found", name), "Cannot process volume group "+name)
	}
	return nil, refuse(failed, "Multiple VGs found with the same name: skipping "+name, "Use VG uuid in place of the VG name.")
}

// whole finds a VG that may be changed: all of its drives are in sight.
func (c *command) whole(name string) (*vg, answer) {
	g, a := c.vg(name)
	if g != nil && len(c.missing(g)) > 0 {
		return nil, refuse(failed, "Cannot change VG "+name+" while PVs are missing.",
			"See vgreduce --removemissing and vgextend --restoremissing.", "Cannot process volume group "+name)
	}
	return g, a
}

// lv finds an existing LV by "vg/lv" in a VG with all drives in sight.
func (c *command) lv(path string) (*lv, answer) {
	name, _, _ := strings.Cut(path, "/")
	if g, a := c.whole(name); g == nil {
		return nil, a
	}
	return c.anyLV(path)
}

// anyLV finds an existing LV by "vg/lv", even in a VG that lacks drives.
func (c *command) anyLV(path string) (*lv, answer) {
	name, lvName, _ := strings.Cut(path, "/")
	g, a := c.vg(name)
	if g == nil {
		return nil, a
	}
	if v := g.lv(lvName); v != nil {
		return v, answer{}
	}
	return nil, no("Failed to find logical volume %q", path)
}

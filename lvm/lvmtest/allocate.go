package lvmtest

import "slices"

// allocate makes a linear or striped LV with extents from the areas.
func (f *Fake) allocate(g *vg, v *lv, areas []area) answer {
	unit := g.extent * int64(max(v.stripes, 1))
	v.size = roundUp(v.size, unit)
	v.segType = "linear"
	if v.stripes > 1 {
		v.segType = "striped"
	}
	if a := room(g, v, areas, v.size/g.extent); a.code != 0 {
		return a
	}
	a := f.add(g, v)
	if a.code == 0 {
		give(v, areas, v.size/g.extent)
	}
	return a
}

// room says in LVM's words when the areas have too few extents.
func room(g *vg, v *lv, areas []area, need int64) answer {
	if v.stripes > len(areas) {
		return no("Number of stripes (%d) must not exceed number of physical volumes (%d)", v.stripes, len(areas))
	}
	if need > g.free() {
		return no("Volume group %q has insufficient free space (%d extents): %d required.", g.name, g.free(), need)
	}
	var free int64
	for _, a := range areas {
		free += a.room()
	}
	if need > free {
		return no("Insufficient free space: %d extents needed, but only %d available", need, free)
	}
	if v.stripes > 1 && len(apart(areas, need/int64(v.stripes))) < v.stripes {
		return no("Insufficient suitable allocatable extents for logical volume %s: %d more required", v.name, need)
	}
	return answer{}
}

// give takes the extents, of which room has made sure.
func give(v *lv, areas []area, need int64) {
	if v.stripes > 1 {
		for _, a := range apart(areas, need/int64(v.stripes))[:v.stripes] {
			a.fill(need/int64(v.stripes), v)
		}
		return
	}
	// One drive if it can be, as LVM prefers it.
	if one := apart(areas, need); len(one) > 0 {
		one[0].fill(need, v)
		return
	}
	for _, a := range areas {
		need -= a.fill(need, v)
	}
}

// apart are the areas that have so much room each.
func apart(areas []area, need int64) []area {
	return slices.DeleteFunc(slices.Clone(areas), func(a area) bool { return a.room() < need })
}

// grow extends an LV in the way in which it is laid out.
func (f *Fake) grow(v *lv, by int64) answer {
	g := v.vg
	if v.segType == "raid1" {
		return f.growRaid(v, by)
	}
	by = roundUp(by, g.extent*int64(max(v.stripes, 1)))
	if a := room(g, v, g.everywhere(), by/g.extent); a.code != 0 {
		var free int64
		for _, ar := range g.everywhere() {
			free += ar.room()
		}
		return no("Insufficient free space: %d extents needed, but only %d available", by/g.extent, free)
	}
	give(v, g.everywhere(), by/g.extent)
	v.size += by
	return answer{}
}

func (f *Fake) growRaid(v *lv, by int64) answer {
	g := v.vg
	by = roundUp(by, g.extent)
	var legs []area
	var images []*lv
	for _, part := range g.parts(v) {
		if part.role != "private,raid,image" {
			continue
		}
		for _, p := range g.pvs {
			if slices.ContainsFunc(p.used, func(r extentRun) bool { return r.owner == part }) {
				legs, images = append(legs, area{pv: p}), append(images, part)
			}
		}
	}
	if len(apart(legs, by/g.extent)) < len(legs) {
		return no("Insufficient suitable allocatable extents for logical volume %s: %d more required", v.name, by/g.extent)
	}
	for i, leg := range legs {
		leg.fill(by/g.extent, images[i])
		images[i].size += by
	}
	v.size += by
	return answer{}
}

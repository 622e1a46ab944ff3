package lvmtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type fields map[string]string

// report is lvm fullreport in its format "json": every value is a string.
func (f *Fake) report(c *command) answer {
	wanted := map[string][]string{}
	for i, section := range c.opts["--configreport"] {
		wanted[section] = strings.Split(c.opts["-o"][i], ",")
	}
	groups := []map[string][]fields{}
	vgs := c.vgs
	if len(c.args) > 0 {
		g, a := c.vg(c.args[0])
		if g == nil {
			return a
		}
		vgs = []*vg{g}
	}
	for _, g := range vgs {
		groups = append(groups, map[string][]fields{
			"vg": {g.fields(c)}, "pv": pvRows(c, g.pvs, g.name), "pvseg": segmentRows(g.pvs), "lv": lvRows(c, g), "seg": lvSegments(g),
		})
	}
	var orphans []*pv
	for _, d := range c.visible {
		switch {
		case d.pv == nil || len(c.args) > 0:
		case d.pv.vg == nil:
			orphans = append(orphans, d.pv)
		case d.torn:
			orphans = append(orphans, &pv{uuid: d.pv.uuid, drive: d, mdaSize: d.pv.mdaSize, peStart: d.pv.peStart})
		}
	}
	if len(orphans) > 0 {
		groups = append(groups, map[string][]fields{"pv": pvRows(c, orphans, ""), "pvseg": segmentRows(orphans)})
	}
	for _, group := range groups {
		for section, rows := range group {
			for i := range rows {
				chosen, unknown := choose(rows[i], wanted[section])
				if unknown != "" {
					return refuse(badUsage, "Unrecognised field: "+unknown)
				}
				rows[i] = chosen
			}
		}
	}
	text, err := json.MarshalIndent(map[string]any{"report": groups}, "  ", "    ")
	if err != nil {
		return no("%v", err)
	}
	return answer{stdout: "  " + string(text) + "\n"}
}

// choose takes the fields that were asked for, and names one that is unknown.
func choose(row fields, names []string) (chosen fields, unknown string) {
	chosen = fields{}
	for _, name := range names {
		v, known := row[name]
		if !known {
			return nil, name
		}
		chosen[name] = v
	}
	return chosen, ""
}

func (g *vg) fields(c *command) fields {
	var size int64
	for _, p := range g.pvs {
		size += p.extents * g.extent
	}
	return fields{
		"vg_name": g.name, "vg_uuid": g.uuid, "vg_tags": strings.Join(g.tags, ","), "vg_size": num(size), "vg_free": num(g.free() * g.extent),
		"vg_extent_size": num(g.extent), "vg_mda_size": num(g.mdaSize()), "vg_mda_free": num(g.mdaSize()/2 - g.textSize()),
		"vg_seqno": num(g.seqno), "vg_missing_pv_count": strconv.Itoa(len(c.missing(g))),
	}
}

func pvRows(c *command, pvs []*pv, vgName string) []fields {
	rows := []fields{}
	for _, p := range pvs {
		row := fields{"pv_name": p.drive.path, "pv_uuid": p.uuid, "vg_name": vgName, "dev_size": num(p.drive.size), "pe_start": num(p.peStart),
			"pv_missing": "0", "pv_size": num(p.drive.size), "pv_free": num(p.drive.size)}
		if p.vg != nil {
			row["pv_size"], row["pv_free"] = num(p.extents*p.vg.extent), num(area{pv: p}.room()*p.vg.extent)
		}
		if !c.sees(p) {
			row["pv_missing"] = "1"
		}
		if !slices.Contains(c.visible, p.drive) {
			row["pv_name"] = "[unknown]"
		}
		rows = append(rows, row)
	}
	return rows
}

func segmentRows(pvs []*pv) []fields {
	rows := []fields{}
	for _, p := range pvs {
		runs := append(slices.Clone(p.used), p.free()...)
		slices.SortFunc(runs, func(a, b extentRun) int { return int(a.start - b.start) })
		for _, r := range runs {
			name := ""
			if r.owner != nil {
				name = r.owner.name
			}
			rows = append(rows, fields{"pv_uuid": p.uuid, "pvseg_start": num(r.start), "pvseg_size": num(r.count), "lv_name": name})
		}
	}
	return rows
}

func lvRows(c *command, g *vg) []fields {
	rows := []fields{}
	for _, v := range g.lvs {
		row := fields{
			"lv_name": v.name, "lv_uuid": v.uuid, "lv_time": num(v.created.Unix()), "lv_size": num(v.size), "lv_role": v.roleField(),
			"lv_tags": strings.Join(v.tags, ","), "pool_lv": "", "origin": "", "lv_active": flag(v.active || v.hidden() && v.parentUp()),
			"lv_permissions": v.permissions(), "lv_skip_activation": flag(v.skip), "data_percent": "", "metadata_percent": "",
			"lv_when_full": "", "lv_metadata_size": "", "lv_health_status": v.health(c), "sync_percent": "",
		}
		if v.pool != nil {
			row["pool_lv"] = v.pool.name
			if v.active {
				row["data_percent"] = percent(v.mapped(), v.size)
			}
		}
		if v.origin != nil {
			row["origin"] = v.origin.name
		}
		if v.segType == "raid1" && (v.active || v.parentUp()) {
			row["sync_percent"] = "100.00"
		}
		if v.segType == "thin-pool" {
			v.poolFields(row)
		}
		rows = append(rows, row)
	}
	return rows
}

func (v *lv) poolFields(row fields) {
	row["lv_when_full"], row["lv_metadata_size"] = "error", num(v.part("_tmeta").size)
	if v.queue {
		row["lv_when_full"] = "queue"
	}
	row["lv_active"] = flag(v.up())
	if v.up() {
		row["data_percent"], row["metadata_percent"] = percent(v.dataUsed(), v.dataTotal()), percent(v.metaUsed(), v.metaTotal())
	}
}

func (v *lv) mapped() int64 { return int64(len(v.pool.kernel.thins[v.thinID])) * v.pool.chunk }

func (v *lv) parentUp() bool {
	return v.parent != nil && v.parent.segType == "thin-pool" && v.parent.up()
}

func (v *lv) roleField() string {
	switch {
	case v.hidden():
		return v.role
	case v.segType == "thin-pool":
		return "private"
	}
	return "public"
}

// permissions are LVM's words: it tells those of a writable LV only while it
// is active.
func (v *lv) permissions() string {
	switch {
	case v.readOnly:
		return "read-only"
	case v.active:
		return "writeable"
	}
	return "unknown"
}

// health is "partial" when an extent of the LV is on a drive out of sight.
func (v *lv) health(c *command) string {
	if v.segType == "thin-pool" && v.up() && v.dataUsed() >= v.dataTotal() {
		return "out_of_data"
	}
	switch {
	case v.partial(c):
		return "partial"
	case v.segType == "raid1" && (v.active || v.parentUp()) && strings.Contains(v.legs(), "D"):
		return "refresh needed"
	}
	return ""
}

func lvSegments(g *vg) []fields {
	rows := []fields{}
	for _, v := range g.lvs {
		row := fields{"lv_uuid": v.uuid, "seg_start": "0", "segtype": v.segType, "stripes": strconv.Itoa(v.stripes), "stripe_size": num(v.stripeSize),
			"chunk_size": num(v.chunk), "zero": "-1", "thin_id": "", "transaction_id": ""}
		switch v.segType {
		case "thin-pool":
			row["zero"], row["transaction_id"] = flag(!v.noZero), num(v.transaction)
		case "thin":
			row["zero"], row["transaction_id"], row["thin_id"] = "1", num(v.made), num(v.thinID)
		}
		rows = append(rows, row)
	}
	return rows
}

func num(n int64) string { return strconv.FormatInt(n, 10) }

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func percent(n, of int64) string { return fmt.Sprintf("%.2f", float64(n)*100/float64(of)) }

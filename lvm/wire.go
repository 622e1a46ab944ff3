package lvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wireGroup is one VG of a full report, or the PVs that are in none.
type wireGroup struct {
	VG     []row `json:"vg"`
	PV     []row `json:"pv"`
	LV     []row `json:"lv"`
	PVSeg  []row `json:"pvseg"`
	LVSegs []row `json:"seg"`
}

// row is one line of a section by field.
type row map[string]value

// value is one field: a string in LVM's format "json", and in "json_std" a
// number, a list or null as well. A list reads as its items joined by commas,
// which is how the older format writes it.
type value string

// UnmarshalJSON takes any of the shapes.
func (v *value) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '"':
		var s string
		err := json.Unmarshal(data, &s)
		*v = value(s)
		return err
	case '[':
		var list []value
		err := json.Unmarshal(data, &list)
		for i, item := range list {
			if i > 0 {
				*v += ","
			}
			*v += item
		}
		return err
	case 'n':
		*v = ""
	default:
		*v = value(data)
	}
	return nil
}

// parseReport reads the output of lvm fullreport. Lines around the JSON, such
// as warnings of a version that writes them to stdout, are passed over.
func parseReport(out []byte) (Report, error) {
	groups, err := findReport(out)
	if err != nil {
		return Report{}, err
	}
	p := &parser{}
	var report Report
	for _, g := range groups {
		pvs := p.pvs(g)
		if len(g.VG) == 0 {
			report.Orphans = append(report.Orphans, pvs...)
			continue
		}
		vg := p.vg(g.VG[0])
		vg.PVs, vg.LVs = pvs, p.lvs(g)
		report.VGs = append(report.VGs, vg)
	}
	return report, p.err
}

func findReport(out []byte) ([]wireGroup, error) {
	err := errors.New("no JSON in it")
	for rest := out; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
			var doc struct{ Report *[]wireGroup }
			if err = json.NewDecoder(bytes.NewReader(rest)).Decode(&doc); err == nil {
				if doc.Report != nil {
					return *doc.Report, nil
				}
				err = errors.New("no report in its JSON")
			}
		}
		rest = after
	}
	return nil, fmt.Errorf("%w: %w: %.200q", ErrReport, err, out)
}

// parser turns fields into values and keeps the first fault that it meets.
type parser struct{ err error }

func (p *parser) vg(r row) VGReport {
	return VGReport{
		Name: p.text(r, "vg_name"), UUID: p.text(r, "vg_uuid"), Tags: p.list(r, "vg_tags"),
		Size: p.number(r, "vg_size"), Free: p.number(r, "vg_free"), ExtentSize: p.number(r, "vg_extent_size"),
		MetadataSize: p.number(r, "vg_mda_size"), MetadataFree: p.number(r, "vg_mda_free"),
		Seqno: p.number(r, "vg_seqno"), MissingPVs: int(p.number(r, "vg_missing_pv_count")),
	}
}

func (p *parser) pvs(g wireGroup) []PV {
	segments := map[string][]PVSegment{}
	for _, r := range g.PVSeg {
		uuid := p.text(r, "pv_uuid")
		s := PVSegment{Start: p.number(r, "pvseg_start"), Count: p.number(r, "pvseg_size"), LV: p.text(r, "lv_name")}
		if s.Count > 0 {
			segments[uuid] = append(segments[uuid], s)
		}
	}
	var pvs []PV
	for _, r := range g.PV {
		pv := PV{
			Device: p.text(r, "pv_name"), UUID: p.text(r, "pv_uuid"), VG: p.text(r, "vg_name"),
			Size: p.number(r, "pv_size"), Free: p.number(r, "pv_free"), DeviceSize: p.number(r, "dev_size"),
			PEStart: p.number(r, "pe_start"), Missing: p.flag(r, "pv_missing"),
		}
		pv.Segments = segments[pv.UUID]
		slices.SortFunc(pv.Segments, func(a, b PVSegment) int { return int(a.Start - b.Start) })
		pvs = append(pvs, pv)
	}
	return pvs
}

func (p *parser) lvs(g wireGroup) []LV {
	var lvs []LV
	index := map[string]int{}
	for _, r := range g.LV {
		lv := p.lv(r)
		index[lv.UUID] = len(lvs)
		lvs = append(lvs, lv)
	}
	for _, r := range g.LVSegs {
		// The first segment speaks for the LV; later ones come from extending it.
		if i, ok := index[p.text(r, "lv_uuid")]; ok && p.number(r, "seg_start") == 0 {
			p.segment(r, &lvs[i])
		}
	}
	for i := range lvs {
		if lvs[i].SegType == "thin-pool" {
			takeFromParts(&lvs[i], lvs)
		}
	}
	return lvs
}

func (p *parser) lv(r row) LV {
	role := strings.Split(p.text(r, "lv_role"), ",")
	lv := LV{
		Name: p.text(r, "lv_name"), UUID: p.text(r, "lv_uuid"), Size: p.number(r, "lv_size"), Tags: p.list(r, "lv_tags"),
		Pool: p.text(r, "pool_lv"), Origin: p.text(r, "origin"), Active: p.flag(r, "lv_active"),
		ReadOnly: p.text(r, "lv_permissions") == "read-only", SkipActivation: p.flag(r, "lv_skip_activation"),
		DataPercent: p.percent(r, "data_percent"), MetadataPercent: p.percent(r, "metadata_percent"),
		WhenFull: p.text(r, "lv_when_full"), MetadataSize: p.number(r, "lv_metadata_size"),
		Health: p.text(r, "lv_health_status"), SyncPercent: p.percent(r, "sync_percent"),
	}
	// A pool is "private" and nothing else; LVM's parts of LVs say of what too.
	lv.Hidden = role[0] == "private" && len(role) > 1
	if seconds := p.number(r, "lv_time"); seconds > 0 {
		lv.Created = time.Unix(seconds, 0).UTC()
	}
	return lv
}

func (p *parser) segment(r row, lv *LV) {
	lv.SegType = p.text(r, "segtype")
	lv.Stripes, lv.StripeSize = int(p.number(r, "stripes")), p.number(r, "stripe_size")
	lv.ChunkSize, lv.ThinID = p.number(r, "chunk_size"), p.number(r, "thin_id")
	if lv.SegType == "thin-pool" {
		lv.Zero, lv.TransactionID = p.flag(r, "zero"), p.number(r, "transaction_id")
	}
}

// takeFromParts gives a pool the layout of its data and metadata.
func takeFromParts(pool *LV, lvs []LV) {
	for _, part := range lvs {
		switch part.Name {
		case pool.Name + "_tdata":
			pool.Stripes, pool.StripeSize = part.Stripes, part.StripeSize
			pool.SyncPercent = lesser(pool.SyncPercent, part.SyncPercent)
		case pool.Name + "_tmeta":
			pool.SyncPercent = lesser(pool.SyncPercent, part.SyncPercent)
		}
	}
}

func lesser(a, b float64) float64 {
	if a == Unknown {
		return b
	}
	if b == Unknown {
		return a
	}
	return min(a, b)
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: "+format, append([]any{ErrReport}, args...)...)
	}
}

func (p *parser) text(r row, field string) string {
	v, ok := r[field]
	if !ok {
		p.fail("no field %s", field)
	}
	return string(v)
}

func (p *parser) list(r row, field string) []string {
	v := p.text(r, field)
	if v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

// number is 0 when LVM leaves the field empty because it does not apply.
func (p *parser) number(r row, field string) int64 {
	v := p.text(r, field)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		p.fail("%s is %q, not a number", field, v)
	}
	return n
}

// flag takes "unknown", which LVM writes as -1 or in words, for no.
func (p *parser) flag(r row, field string) bool {
	v := p.text(r, field)
	switch v {
	case "1":
		return true
	case "0", "-1", "", "unknown":
		return false
	}
	p.fail("%s is %q, not yes or no", field, v)
	return false
}

func (p *parser) percent(r row, field string) float64 {
	v := p.text(r, field)
	if v == "" {
		return Unknown
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || f < -1 || f > 100 {
		p.fail("%s is %q, not a percentage", field, v)
		return Unknown
	}
	return f
}

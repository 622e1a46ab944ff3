package lvm

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

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

func (p *parser) pv(r row) PV {
	return PV{
		Device: p.text(r, "pv_name"), UUID: p.text(r, "pv_uuid"), VG: p.text(r, "vg_name"),
		Size: p.number(r, "pv_size"), Free: p.number(r, "pv_free"), DeviceSize: p.number(r, "dev_size"),
		PEStart: p.number(r, "pe_start"), Missing: p.flag(r, "pv_missing"),
	}
}

func (p *parser) pvSegment(r row) PVSegment {
	return PVSegment{Start: p.number(r, "pvseg_start"), Count: p.number(r, "pvseg_size"), LV: p.text(r, "lv_name")}
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

// segment is what the segment of an LV tells of the LV.
type segment struct {
	segType                       string
	stripes                       int
	stripeSize, chunkSize, thinID int64
	zero                          bool
	transactionID                 int64
}

func (p *parser) segment(r row) segment {
	seg := segment{
		segType: p.text(r, "segtype"), stripes: int(p.number(r, "stripes")), stripeSize: p.number(r, "stripe_size"),
		chunkSize: p.number(r, "chunk_size"), thinID: p.number(r, "thin_id"), transactionID: p.number(r, "transaction_id"),
	}
	if seg.segType == "thin-pool" {
		seg.zero = p.flag(r, "zero")
	}
	return seg
}

func (seg segment) describe(lv *LV) {
	lv.SegType, lv.Stripes, lv.StripeSize = seg.segType, seg.stripes, seg.stripeSize
	lv.ChunkSize, lv.ThinID, lv.Zero, lv.TransactionID = seg.chunkSize, seg.thinID, seg.zero, seg.transactionID
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

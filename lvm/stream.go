package lvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A report of thousands of volumes is megabytes of text. It is read row by row,
// and of each row only what is wanted is kept: taken in as a whole it would be the
// most that the agent ever needs memory for, and its start the slower for it.

// parseReport reads the output of lvm fullreport. Lines around the JSON, such
// as warnings of a version that writes them to stdout, are passed over.
func parseReport(out []byte) (Report, error) {
	err := errors.New("no JSON in it")
	for rest := out; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
			r := reader{Decoder: json.NewDecoder(bytes.NewReader(rest)), row: row{}}
			if err = r.document(); err == nil {
				return r.report, r.err
			}
		}
		rest = after
	}
	return Report{}, fmt.Errorf("%w: %w: %.200q", ErrReport, err, out)
}

// reader reads a report. What is not JSON ends it; the first field that makes no
// sense is kept by its parser.
type reader struct {
	*json.Decoder
	parser
	row    row // the one that is being read
	report Report
}

// document reads {"report": [...]}, whatever else is in it.
func (r *reader) document() error {
	found := false
	err := r.object(func(key string) error {
		if key != "report" {
			return r.skip()
		}
		found = true
		return r.array(r.group)
	})
	if err == nil && !found {
		err = errors.New("no report in its JSON")
	}
	return err
}

// group reads one VG with what is in it, or the PVs that are in none. Its sections
// are joined when all of them were read.
func (r *reader) group() error {
	g := group{runs: map[string][]PVSegment{}, first: map[string]segment{}}
	err := r.object(func(section string) error {
		take := g.section(&r.parser, section)
		if take == nil {
			return r.skip()
		}
		return r.array(func() error {
			clear(r.row)
			if err := r.Decode(&r.row); err != nil {
				return err
			}
			take(r.row)
			return nil
		})
	})
	if err == nil {
		g.enter(&r.report)
	}
	return err
}

// object reads an object, and has each of its members read.
func (r *reader) object(member func(key string) error) error {
	return r.between('{', '}', func() error {
		token, err := r.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // in an object it is one
		return member(key)
	})
}

// array has each item of an array read.
func (r *reader) array(item func() error) error { return r.between('[', ']', item) }

func (r *reader) between(begin, end json.Delim, item func() error) error {
	if err := r.expect(begin); err != nil {
		return err
	}
	for r.More() {
		if err := item(); err != nil {
			return err
		}
	}
	return r.expect(end)
}

func (r *reader) expect(want json.Delim) error {
	got, err := r.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%v where %v is wanted", got, want)
	}
	return err
}

// skip reads past a value.
func (r *reader) skip() error {
	var value json.RawMessage
	return r.Decode(&value)
}

// group is one group of a report in the making.
type group struct {
	vgs []VGReport
	pvs []PV
	lvs []LV
	// runs are the segments of PVs and first the first segments of LVs, which
	// speak for their LVs (later ones come from extending them), both by UUID.
	runs  map[string][]PVSegment
	first map[string]segment
}

// section is what takes a row of that section, nil for one that is not wanted.
func (g *group) section(p *parser, name string) func(row) {
	switch name {
	case "vg":
		return func(r row) { g.vgs = append(g.vgs, p.vg(r)) }
	case "pv":
		return func(r row) { g.pvs = append(g.pvs, p.pv(r)) }
	case "lv":
		return func(r row) { g.lvs = append(g.lvs, p.lv(r)) }
	case "pvseg":
		return func(r row) {
			if s := p.pvSegment(r); s.Count > 0 {
				uuid := p.text(r, "pv_uuid")
				g.runs[uuid] = append(g.runs[uuid], s)
			}
		}
	case "seg":
		return func(r row) {
			if p.number(r, "seg_start") == 0 {
				g.first[p.text(r, "lv_uuid")] = p.segment(r)
			}
		}
	}
	return nil
}

// enter joins the sections and enters the group into the report.
func (g *group) enter(report *Report) {
	for i := range g.pvs {
		pv := &g.pvs[i]
		pv.Segments = g.runs[pv.UUID]
		slices.SortFunc(pv.Segments, func(a, b PVSegment) int { return int(a.Start - b.Start) })
	}
	if len(g.vgs) == 0 {
		report.Orphans = append(report.Orphans, g.pvs...)
		return
	}
	for i := range g.lvs {
		if seg, ok := g.first[g.lvs[i].UUID]; ok {
			seg.describe(&g.lvs[i])
		}
	}
	for i := range g.lvs {
		if g.lvs[i].SegType == "thin-pool" {
			takeFromParts(&g.lvs[i], g.lvs)
		}
	}
	vg := g.vgs[0]
	vg.PVs, vg.LVs = g.pvs, g.lvs
	report.VGs = append(report.VGs, vg)
}

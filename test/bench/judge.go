package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/speed"
)

// gate is the least that a layer's ratio to the drive may be, for each of some workloads.
type gate struct {
	layer string
	least float64
}

// driveGates hold where the drive is the limit, for all that is done to a device.
var driveGates = []gate{{"thick", 0.98}, {"thin", 0.95}}

// judge says of each gate whether it is passed, and of the counts whether they are right.
func judge(r speed.Report, gates []gate, say func(string, ...any)) error {
	var failed []error
	for _, g := range gates {
		failed = append(failed, g.judge(r, say))
	}
	if len(r.Counts) == 0 {
		failed = append(failed, errors.New("nothing was counted"))
	}
	unjudged := 0
	for _, c := range r.Counts {
		if c.Unjudged != "" {
			unjudged++
			failed = append(failed, fmt.Errorf("the count of %s on %s was not judged: %s", c.Operation, c.Layer, c.Unjudged))
		}
	}
	for _, f := range r.Findings {
		failed = append(failed, errors.New(f))
	}
	say("%s  counts: %d made, %d wrong, %d not judged", word(len(r.Counts) > 0 && len(r.Findings) == 0 && unjudged == 0), len(r.Counts), len(r.Findings), unjudged)
	for _, m := range r.Missing {
		failed = append(failed, fmt.Errorf("not measured: %s", m))
	}
	return errors.Join(failed...)
}

// judge holds every workload on the gate's layer that is compared with the drive.
func (g gate) judge(r speed.Report, say func(string, ...any)) error {
	var failed []error
	judged := 0
	for _, w := range speed.Workloads {
		one, ok := r.Result(g.layer, w.Name)
		if !ok || one.Against != "raw" {
			continue
		}
		judged++
		passed := one.Ratio >= g.least
		say("%s  %s/raw %.3f (%.3f to %.3f), at least %.2f: %s", word(passed), g.layer, one.Ratio, one.RatioMin, one.RatioMax, g.least, w.Text)
		if !passed {
			failed = append(failed, fmt.Errorf("%s/raw is %.3f, less than %.2f: %s", g.layer, one.Ratio, g.least, w.Text))
		}
	}
	if judged == 0 {
		failed = append(failed, fmt.Errorf("nothing says how %s compares with the drive", g.layer))
	}
	return errors.Join(failed...)
}

func word(passed bool) string {
	if passed {
		return "pass"
	}
	return "FAIL"
}

// show writes a matrix: ratios, a workload a line and a layer a column, and after it the latencies.
func show(w io.Writer, r speed.Report) {
	for _, d := range r.About.Drives {
		fmt.Fprintf(w, "Linux %s, %s; %s: %s, scheduler %s, cache %s; chunks of %s, zeroed: %t; %d rounds of %g s, volumes of %s\n\n", r.About.Kernel, r.About.Fio,
			d.Name, d.Model, d.Scheduler, d.WriteCache, table.Bytes(r.About.ChunkBytes), r.About.Zeroing, r.About.Rounds, r.About.Seconds, table.Bytes(r.About.Bytes))
	}
	for _, cell := range []struct {
		title string
		text  func(speed.Workload, speed.Result) string
	}{
		{"throughput, as a ratio to the leftmost layer: median (least to most)", func(w speed.Workload, one speed.Result) string {
			if one.Layer == one.Against {
				return speed.Rate(w, one.Median)
			}
			return fmt.Sprintf("%.3f (%.2f-%.2f)", one.Ratio, one.RatioMin, one.RatioMax)
		}},
		{"latency: p50 / p99 / p99.9", func(_ speed.Workload, one speed.Result) string {
			return strings.Join([]string{speed.Latency(one.Median.P50), speed.Latency(one.Median.P99), speed.Latency(one.Median.P999)}, " / ")
		}},
	} {
		fmt.Fprintln(w, cell.title)
		matrix(w, r, cell.text)
	}
	counts(w, r)
}

func matrix(w io.Writer, r speed.Report, text func(speed.Workload, speed.Result) string) {
	heads := []string{"WORKLOAD"}
	for _, l := range speed.Layers {
		heads = append(heads, l.Name)
	}
	t := table.New(heads...)
	for _, workload := range speed.Workloads {
		cells, measured := []string{workload.Name}, false
		for _, l := range speed.Layers {
			one, ok := r.Result(l.Name, workload.Name)
			if !ok {
				cells = append(cells, "")
				continue
			}
			measured = true
			cells = append(cells, text(workload, one))
		}
		if measured {
			t.Add(cells...)
		}
	}
	_ = t.Write(w) // to a terminal
	fmt.Fprintln(w)
}

func counts(w io.Writer, r speed.Report) {
	t := table.New("LAYER", "OPERATION", "DRIVE", "POOL-DATA", "POOL-METADATA", "VERDICT")
	for _, c := range r.Counts {
		drive, data, metadata := c.PerIO()
		t.Add(c.Layer, c.Operation, drive, data, metadata, c.Verdict())
	}
	_ = t.Write(w) // to a terminal
	fmt.Fprintln(w)
}

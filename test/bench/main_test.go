package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/speed"
	"github.com/lvme/lvme/volume"
)

// report has these ratios to the drive for one workload.
func report(thick, thin float64) speed.Report {
	result := func(layer string, ratio float64) speed.Result {
		return speed.Result{Layer: layer, Workload: "randread-4k", Against: "raw", Ratio: ratio, RatioMin: ratio, RatioMax: ratio}
	}
	return speed.Report{
		Results: []speed.Result{result("raw", 1), result("thick", thick), result("thin", thin)},
		Counts:  []speed.Count{{Layer: "raw", Operation: "read", IOs: 64}},
	}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		report speed.Report
		spoil  func(*speed.Report)
		want   string // part of the error, "" for none
	}{
		"good":          {report: report(0.98, 0.95)},
		"thick is slow": {report: report(0.979, 1), want: "thick/raw is 0.979"},
		"thin is slow":  {report: report(1, 0.94), want: "thin/raw is 0.940"},
		"no thin":       {report(1, 1), func(r *speed.Report) { r.Results = r.Results[:2] }, "how thin compares"},
		"no drive":      {report(1, 1), func(r *speed.Report) { r.Results[1].Against, r.Results[2].Against = "thick", "thick" }, "how thick compares"},
		"no counts":     {report(1, 1), func(r *speed.Report) { r.Counts = nil }, "nothing was counted"},
		"not judged":    {report(1, 1), func(r *speed.Report) { r.Counts[0].Unjudged = "busy" }, "not judged: busy"},
		"finding":       {report(1, 1), func(r *speed.Report) { r.Findings = []string{"two writes"} }, "two writes"},
		"missing":       {report(1, 1), func(r *speed.Report) { r.Missing = []string{"raw: no room"} }, "not measured: raw"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.spoil != nil {
				tc.spoil(&tc.report)
			}
			var said strings.Builder
			err := judge(tc.report, driveGates, func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) })
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q\n%s", err, tc.want, &said)
			}
			var table strings.Builder
			show(&table, tc.report)
			if !strings.Contains(table.String(), "randread-4k") {
				t.Error(table.String())
			}
		})
	}
}

// TestComparisons holds that what is to be compared can be.
func TestComparisons(t *testing.T) {
	for _, c := range comparisons {
		if c.name == onFilesystems {
			continue
		}
		if _, err := speed.Pick(speed.Layers, func(l speed.Layer) string { return l.Name }, strings.Split(c.layers, ",")); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := speed.Pick(speed.Workloads, func(w speed.Workload) string { return w.Name }, strings.Split(c.workloads, ",")); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var reports []speed.Report
		for i, v := range c.variants {
			s := settings{chunk: "512Ki"}
			v.set(&s)
			if _, err := drive.ParseConfig([]byte(s.config())); err != nil {
				t.Errorf("%s, %s: %v", c.name, v.name, err)
			}
			if _, err := volume.LookupProfile(s.profile); err != nil {
				t.Errorf("%s, %s: %v", c.name, v.name, err)
			}
			var r speed.Report
			for w := range strings.SplitSeq(c.workloads, ",") {
				for l := range strings.SplitSeq(c.layers, ",") {
					r.Results = append(r.Results, speed.Result{Layer: l, Workload: w, Median: speed.Sample{BytesPerSecond: float64(1+i) * 1e6}})
				}
			}
			reports = append(reports, r)
		}
		var shown strings.Builder
		c.show(&shown, reports)
		if last := fmt.Sprintf("(%d.00)", len(c.variants)); !strings.Contains(shown.String(), last) {
			t.Errorf("%s: no %s in\n%s", c.name, last, &shown)
		}
	}
}

// TestNodeBench is a short run of everything but the throttled drive, whose ratios want longer ones.
func TestNodeBench(t *testing.T) {
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("needs the bed: LVME_TESTS=bed go test ./test/bench")
	}
	s := settings{
		rounds: 2, seconds: 0.3, size: 384, drive: 6 << 10, chunk: "512Ki", parts: "unthrottled,ends", dir: t.TempDir(), timeout: 15 * time.Minute,
		layers: "raw,linear,thick,thin,thin-new,thin-snap,thin-ext4", workloads: "randread-4k,fdatasync-4k,wal",
	}
	if err := run(t.Context(), s); err != nil {
		t.Error(err)
	}
}

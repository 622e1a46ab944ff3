package speed

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/run"
)

const fioText = `note: both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1
{
  "fio version" : "fio-3.39",
  "jobs" : [{
    "jobname" : "x", "error" : 0,
    "read" : {"io_bytes" : 0, "bw_bytes" : 0, "iops" : 0.0, "total_ios" : 0, "clat_ns" : {"min" : 0}},
    "write" : {"io_bytes" : 8192, "bw_bytes" : 4096000, "iops" : 1000.5, "total_ios" : 2,
      "clat_ns" : {"percentile" : {"50.000000" : 1000, "99.000000" : 2000, "99.900000" : 3000}}},
    "sync" : {"total_ios" : 2, "lat_ns" : {"percentile" : {"50.000000" : 70000, "99.000000" : 80000, "99.900000" : 90000}}}
  }]
}`

func TestSample(t *testing.T) {
	out, err := parse([]byte(fioText))
	if err != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, tc := range []struct {
		counts direction
		want   Sample
	}{
		{writes, Sample{4096000, 1000.5, 1000, 2000, 3000}},
		{reads | writes, Sample{4096000, 1000.5, 1000, 2000, 3000}},
		{writes | syncs, Sample{4096000, 1000.5, 70000, 80000, 90000}},
	} {
		if got, err := (Workload{counts: tc.counts}).sample(out); err != nil || got != tc.want {
			t.Errorf("%b: %+v, %v; want %+v", tc.counts, got, err, tc.want)
		}
	}
	if got, err := (Workload{counts: reads}).sample(out); err == nil {
		t.Errorf("no read was done, and it is %+v", got)
	}
	out.Jobs[0].Error = 5
	if _, err := (Workload{counts: writes}).sample(out); err == nil {
		t.Error("an error of fio's is none")
	}
	for _, bad := range []string{"", "fio: no such file", `{"jobs": []}`, `{"jobs": [`} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q is read without an error", bad)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 3}, 3}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := Median(tc.values); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.values, got, tc.want)
		}
	}
}

// testReport is of two layers in three rounds, in which the machine was of different speed.
func testReport() Report {
	m := measured{}
	for round, speed := range []float64{100, 50, 200} {
		for _, l := range []struct {
			layer  Layer
			factor float64
		}{{Layers[0], 1}, {Layers[2], [3]float64{0.9, 1, 0.97}[round]}} {
			m.add(step{round, l.layer, Workloads[0]}, Sample{BytesPerSecond: speed * l.factor * mib, IOPS: speed * 256, P50: 1e5, P99: 2e5, P999: 1e6})
		}
	}
	return Report{Results: m.results(Layers, Workloads), Counts: []Count{{Layer: "raw", Operation: "read", IOs: 4, Drive: Traffic{Reads: 4, ReadBytes: 16384}, Wrong: []string{}}}}
}

// TestRatiosAreOfTheSameRound: medians of each layer alone would compare other rounds.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	r, ok := testReport().Result("thick", "randread-4k")
	if !ok || r.Against != "raw" || math.Abs(r.Ratio-0.97) > 1e-9 || math.Abs(r.RatioMin-0.9) > 1e-9 || math.Abs(r.RatioMax-1) > 1e-9 {
		t.Errorf("%+v", r)
	}
	if base, _ := testReport().Result("raw", "randread-4k"); base.Ratio != 1 || base.Median.BytesPerSecond != 100*mib {
		t.Errorf("%+v", base)
	}
	if _, ok := testReport().Result("thin", "randread-4k"); ok {
		t.Error("a layer that was not measured has a result")
	}
}

func TestInstalled(t *testing.T) {
	b := &bench{host: Host{Runner: &programs{answers: map[string]string{"fio --version": "fio-3.39\n"}}}}
	if err := b.installed(t.Context()); err != nil || b.report.About.Fio != "fio-3.39" {
		t.Errorf("%q, %v", b.report.About.Fio, err)
	}
	b.host.Runner = missing{}
	if err := b.installed(t.Context()); err == nil || !strings.Contains(err.Error(), "install the package fio") {
		t.Errorf("not installed: %v", err)
	}
}

// missing has no programs.
type missing struct{}

func (missing) Run(context.Context, run.Cmd) (run.Result, error) {
	return run.Result{}, run.ErrNotInstalled
}

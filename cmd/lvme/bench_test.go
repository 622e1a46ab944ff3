package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvme/lvme/speed"
)

func benchReport() speed.Report {
	sample := speed.Sample{BytesPerSecond: 64 << 20, IOPS: 16384, P50: 60e3, P99: 90e3, P999: 1.2e6}
	return speed.Report{
		About: speed.About{
			Kernel: "6.12.1", Fio: "fio-3.39", CPUs: 8, VG: "lvme-abc", Profile: "general", Layout: "linear", ChunkBytes: 512 << 10, Zeroing: true, Bytes: 4 << 30, Rounds: 1, Seconds: 5, Jobs: 8,
			Drives: []speed.Drive{{Name: "nvme0n1", Model: "A DRIVE", Firmware: "1", Scheduler: "none", WriteCache: "write through", Block: "512"}},
		},
		Results: []speed.Result{
			{Layer: "raw", Workload: "randread-4k", Median: sample, Samples: []speed.Sample{sample}, Ratio: 1, RatioMin: 1, RatioMax: 1, Against: "raw"},
			{Layer: "thick", Workload: "randread-4k", Median: sample, Samples: []speed.Sample{sample}, Ratio: 0.991, RatioMin: 0.98, RatioMax: 1, Against: "raw"},
		},
		Counts: []speed.Count{
			{Layer: "raw", Operation: "read", IOs: 2, Drive: speed.Traffic{Reads: 2, ReadBytes: 8192}, Wrong: []string{}},
			{Layer: "thin", Operation: "write", IOs: 2, Drive: speed.Traffic{Writes: 3, WriteBytes: 12288}, Wrong: []string{"writes to the drive: 3, not 2"}},
		},
		Missing: []string{"linear: no room"}, Findings: []string{"2 writes of 4 KiB on thin: writes to the drive: 3, not 2"},
	}
}

func TestBenchTables(t *testing.T) {
	b := newBench(t, 0)
	if err := b.environment().tellBench(benchReport(), output{form: asTable}); !errors.Is(err, errFindings) {
		t.Errorf("counts are wrong, and the error is %v", err)
	}
	golden(t, "bench.txt", b.out.String())
	for _, want := range []string{"not measured: linear: no room", "writes to the drive: 3, not 2"} {
		if !strings.Contains(b.errOut.String(), want) {
			t.Errorf("%q does not say %q", b.errOut.String(), want)
		}
	}
	good := benchReport()
	good.Findings = nil
	b.out.Reset()
	if err := b.environment().tellBench(good, output{form: asJSON}); err != nil {
		t.Error(err)
	}
	var read speed.Report
	if err := json.Unmarshal(b.out.Bytes(), &read); err != nil || len(read.Results) != 2 {
		t.Errorf("%v: %s", err, b.out.String())
	}
}

func TestBenchCommandLine(t *testing.T) {
	b := newBench(t, 0)
	for _, wrong := range []string{"--layers=thinn", "--workloads=kafka2", "--size=1Mi", "--size=big", "--rounds=0", "--seconds=0.01", "--jobs=0", "--kubelet-dir="} {
		if _, stderr := b.run(exitUsage, "bench", wrong); !strings.Contains(stderr, "See 'lvme bench --help'") {
			t.Errorf("%s: %s", wrong, stderr)
		}
	}
	if out, _ := b.run(exitOK, "bench", "--list"); !strings.Contains(out, "thin-snap") || !strings.Contains(out, "kafka") {
		t.Error(out)
	}
}

func TestBenchPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	if err := writePage(file, benchReport()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "A DRIVE") || !strings.HasSuffix(string(text), "</html>\n") {
		t.Errorf("%v: %s", err, text)
	}
	if err := writePage(filepath.Join(file, "nowhere"), benchReport()); err == nil {
		t.Error("a page that cannot be written is no error")
	}
}

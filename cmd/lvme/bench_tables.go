package main

import (
	"fmt"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/speed"
)

// listBench shows what can be measured.
func (env *environment) listBench() error {
	err := write(env.stdout, output{form: asTable}, nil, speed.Layers, []column[speed.Layer]{
		{"LAYER", false, func(l speed.Layer) string { return l.Name }},
		{"WHAT", false, func(l speed.Layer) string { return l.Text }},
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(env.stdout)
	return write(env.stdout, output{form: asTable}, nil, speed.Workloads, []column[speed.Workload]{
		{"WORKLOAD", false, func(w speed.Workload) string { return w.Name }},
		{"WHAT", false, func(w speed.Workload) string { return w.Text }},
	})
}

// tellBenchTables shows a report to people.
func (env *environment) tellBenchTables(r speed.Report, out output) error {
	env.tellAbout(r.About)
	if err := write(env.stdout, out, nil, r.Results, resultColumns); err != nil {
		return err
	}
	fmt.Fprintln(env.stdout, "\nWhat one I/O of 4 KiB becomes: reads, writes and flushes (r, w, f), with their KiB")
	if err := write(env.stdout, out, nil, r.Counts, countColumns); err != nil {
		return err
	}
	for _, m := range r.Missing {
		fmt.Fprintln(env.stderr, "lvme: not measured:", table.Plain(m))
	}
	for _, f := range r.Findings {
		fmt.Fprintln(env.stderr, "lvme: not as it should be:", table.Plain(f))
	}
	return nil
}

func (env *environment) tellAbout(a speed.About) {
	fmt.Fprintf(env.stdout, "Linux %s, %d CPUs, %s\n", a.Kernel, a.CPUs, a.Fio)
	for _, d := range a.Drives {
		fmt.Fprintf(env.stdout, "%s: %s, firmware %s, scheduler %s, cache %s, blocks of %s bytes\n",
			d.Name, table.Plain(d.Model), table.Plain(d.Firmware), table.Plain(d.Scheduler), table.Plain(d.WriteCache), table.Plain(d.Block))
	}
	if a.ChunkBytes > 0 {
		zeroed := "zeroed"
		if !a.Zeroing {
			zeroed = "not zeroed"
		}
		fmt.Fprintf(env.stdout, "%s: thin pool %s, chunks of %s, %s before their first use\n", a.VG, a.Layout, table.Bytes(a.ChunkBytes), zeroed)
	}
	fmt.Fprintf(env.stdout, "%d rounds, %g s each, volumes of %s with the profile %s, %d jobs; it took %.0f s\n\n",
		a.Rounds, a.Seconds, table.Bytes(a.Bytes), a.Profile, a.Jobs, a.TookSeconds)
}

var resultColumns = []column[speed.Result]{
	{"WORKLOAD", false, func(r speed.Result) string { return r.Workload }},
	{"LAYER", false, func(r speed.Result) string { return r.Layer }},
	{"RATIO", false, func(r speed.Result) string { return fmt.Sprintf("%.3f", r.Ratio) }},
	{"FROM", false, func(r speed.Result) string { return fmt.Sprintf("%.3f", r.RatioMin) }},
	{"TO", false, func(r speed.Result) string { return fmt.Sprintf("%.3f", r.RatioMax) }},
	{"OF", true, func(r speed.Result) string { return r.Against }},
	{"MIB/S", false, func(r speed.Result) string { return fmt.Sprintf("%.1f", r.Median.BytesPerSecond/(1<<20)) }},
	{"IOPS", false, func(r speed.Result) string { return fmt.Sprintf("%.0f", r.Median.IOPS) }},
	{"P50", false, func(r speed.Result) string { return speed.Latency(r.Median.P50) }},
	{"P99", false, func(r speed.Result) string { return speed.Latency(r.Median.P99) }},
	{"P99.9", false, func(r speed.Result) string { return speed.Latency(r.Median.P999) }},
}

var countColumns = []column[speed.Count]{
	{"LAYER", false, func(c speed.Count) string { return c.Layer }},
	{"OPERATION", false, func(c speed.Count) string { return c.Operation }},
	{"DRIVE", false, func(c speed.Count) string { drive, _, _ := c.PerIO(); return drive }},
	{"POOL-DATA", false, func(c speed.Count) string { _, data, _ := c.PerIO(); return data }},
	{"POOL-METADATA", false, func(c speed.Count) string { _, _, metadata := c.PerIO(); return metadata }},
	{"VERDICT", false, speed.Count.Verdict},
}

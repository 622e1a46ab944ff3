package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/internal/table"
)

// report is all that was measured. Times and rates are medians over the rounds, except for what is said of each death.
type report struct {
	Date    time.Time
	Where   string
	Options options
	// Populate is how long the agents took to be made, Connect how long the router took from hearing of them until all served.
	Populate, Connect milliseconds
	Memory            []weight
	Fill              sample
	Capacity          capacities
	// Quick compares with commands that take no time, Slow with commands that take Options.Command.
	Quick, Slow comparison
	// AnyNamed are volumes for which every node is named, AnyFree those for which none is.
	AnyNamed, AnyFree sample
	Faults            faults
	// List is of pages, ListAll of the whole list. Listed is what was listed last, Present what the agents have, and Tombstones what
	// the router still owes them.
	List                        sample
	ListAll                     milliseconds
	Listed, Present, Tombstones int
}

// weight is what the router takes at some time.
type weight struct {
	When string
	process
}

// capacities are answers to GetCapacity: the first of each node, and those that the router has, to one caller and to many.
// Forwarded is how often agents were asked while it had them.
type capacities struct {
	First, One, Many sample
	Forwarded        int
}

// comparison is of volumes created by agents themselves and through the router.
type comparison struct {
	Direct, Routed sample
	// RatioP50 and RatioP99 are Routed by Direct of each round, their median; AddedP50 the median of the difference.
	RatioP50, RatioP99 float64
	AddedP50           milliseconds
}

func compareAll(rounds []comparison) comparison {
	var direct, routed []sample
	var p50, p99 []float64
	var added []milliseconds
	for _, c := range rounds {
		direct, routed = append(direct, c.Direct), append(routed, c.Routed)
		p50, p99 = append(p50, by(c.Routed.P50, c.Direct.P50)), append(p99, by(c.Routed.P99, c.Direct.P99))
		added = append(added, c.Routed.P50-c.Direct.P50)
	}
	return comparison{Direct: middle(direct), Routed: middle(routed), RatioP50: median(p50), RatioP99: median(p99), AddedP50: median(added)}
}

// by is a by b, 0 of nothing.
func by(a, b milliseconds) float64 {
	if b == 0 {
		return 0
	}
	return float64(a / b)
}

// faults are what all rounds with bad nodes say; see breakage.
type faults struct {
	NoticeDied, NoticeSilent sample
	EmptyDied, EmptySilent   sample
	Before, During, After    sample
	// DuringP99 and AfterP99 are those by Before of the same round, their median.
	DuringP99, AfterP99 float64
	Asked, Bad          sample
	Refused, Healed     sample
}

// judge is what should not be.
func (r *report) judge() error {
	var wrong []error
	for _, s := range []struct {
		what string
		sample
	}{
		{"volumes to fill the nodes", r.Fill}, {"first capacities", r.Capacity.First}, {"capacities, one caller", r.Capacity.One}, {"capacities", r.Capacity.Many},
		{"volumes on healthy nodes before others were bad", r.Faults.Before}, {"volumes on healthy nodes while deaths were noticed", r.Faults.During},
		{"volumes on healthy nodes while others were bad", r.Faults.After}, {"capacities of bad nodes", r.Faults.Asked},
	} {
		if s.Failed > 0 {
			wrong = append(wrong, fmt.Errorf("%s: %d calls failed, the first with: %s", s.what, s.Failed, s.FirstFailure))
		}
		if s.Calls == 0 && r.Options.Dead > 0 {
			wrong = append(wrong, fmt.Errorf("%s: no call succeeded", s.what))
		}
	}
	if r.Listed != r.Options.Volumes || r.Present != r.Options.Volumes {
		wrong = append(wrong, fmt.Errorf("%d volumes should be there: %d are, %d are listed", r.Options.Volumes, r.Present, r.Listed))
	}
	if r.Tombstones != 0 {
		wrong = append(wrong, fmt.Errorf("the router owes %d deletions, of volumes that were made after all", r.Tombstones))
	}
	if most := r.refreshes(); r.Capacity.Forwarded > most {
		wrong = append(wrong, fmt.Errorf("agents were asked for capacities %d times while the router had them, at most %d times to keep them fresh", r.Capacity.Forwarded, most))
	}
	return errors.Join(wrong...)
}

// refreshes is how often the agents may be asked to keep capacities fresh: each at an age between 3/4 and 5/4 of 30 seconds.
func (r *report) refreshes() int {
	each := int(r.Options.Window.Seconds()/22.5) + 1
	if r.Options.refresh > 4*r.Options.Window {
		each = 0
	}
	return 2 * each * r.Options.Agents * r.Options.Rounds
}

// write prints the report in that format.
func (r *report) write(w io.Writer, format string) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	case "table":
		return r.tables(w)
	}
	return fmt.Errorf("-o %s: the formats are table and json", format)
}

func (r *report) tables(w io.Writer) error {
	o := r.Options
	fmt.Fprintf(w, "%s, %s: %d agents, %d volumes, %d rounds of %s, %d callers\n", r.Date.Format("2006-01-02 15:04 MST"), r.Where, o.Agents, o.Volumes, o.Rounds, o.Window, o.Callers)
	fmt.Fprintf(w, "all agents are served %s after the router has heard of them\n", r.Connect)
	for _, t := range []struct {
		title string
		table *table.Table
	}{
		{"The router's process", r.memoryTable()},
		{"CreateVolume, one caller, by the agent itself and through the router", r.compareTable()},
		{"Calls through the router", r.callsTable()},
		{fmt.Sprintf("%d nodes dead (half of them silently) and %d hung: volumes on the healthy ones", o.Dead, o.Hung), r.healthyTable()},
		{"The bad nodes", r.badTable()},
	} {
		fmt.Fprintf(w, "\n%s\n\n", t.title)
		if err := t.table.Write(w); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nagents were asked for capacities %d times while %d were answered; calls for bad nodes failed as %s\n", r.Capacity.Forwarded, r.Capacity.One.Calls+r.Capacity.Many.Calls, codesOf(r.Faults.Bad))
	fmt.Fprintf(w, "%d volumes are there, %d are listed (in %s), %d deletions are owed\n", r.Present, r.Listed, r.ListAll, r.Tombstones)
	return nil
}

// String is the time in a unit that suits it.
func (m milliseconds) String() string {
	switch {
	case m >= 10000:
		return fmt.Sprintf("%.1f s", m/1000)
	case m >= 100:
		return fmt.Sprintf("%.0f ms", float64(m))
	}
	return fmt.Sprintf("%.2f ms", float64(m))
}

func (r *report) memoryTable() *table.Table {
	t := table.New("WHEN", "HEAP", "RESIDENT", "PEAK", "GOROUTINES", "CPU TIME SINCE")
	var before time.Duration
	for _, m := range r.Memory {
		t.Add(m.When, table.Bytes(m.HeapBytes), table.Bytes(m.ResidentBytes), table.Bytes(m.PeakBytes), fmt.Sprint(m.Goroutines), (m.CPU - before).Round(10*time.Millisecond).String())
		before = m.CPU
	}
	return t
}

func (r *report) compareTable() *table.Table {
	t := table.New("LVM COMMAND", "AGENT P50", "P99", "ROUTER P50", "P99", "RATIO P50", "P99", "ADDED")
	for _, c := range []struct {
		command string
		comparison
	}{{"0", r.Quick}, {r.Options.Command.String(), r.Slow}} {
		t.Add(c.command, c.Direct.P50.String(), c.Direct.P99.String(), c.Routed.P50.String(), c.Routed.P99.String(),
			fmt.Sprintf("%.2f", c.RatioP50), fmt.Sprintf("%.2f", c.RatioP99), c.AddedP50.String())
	}
	return t
}

func (r *report) callsTable() *table.Table {
	t := table.New("CALL", "P50", "P99", "MAX", "PER SECOND", "FAILED")
	many := fmt.Sprintf("%d callers", r.Options.Callers)
	add(t, "CreateVolume, one node named, "+many, r.Fill)
	add(t, "CreateVolume, all nodes named, one caller", r.AnyNamed)
	add(t, "CreateVolume, no node named, one caller", r.AnyFree)
	add(t, "GetCapacity, the first of each node, one caller", r.Capacity.First)
	add(t, "GetCapacity, one caller", r.Capacity.One)
	add(t, "GetCapacity, "+many, r.Capacity.Many)
	add(t, fmt.Sprintf("ListVolumes, pages of %d, one caller", pageSize), r.List)
	return t
}

func (r *report) healthyTable() *table.Table {
	t := table.New("CREATEVOLUME", "P50", "P99", "P99 BY THAT BEFORE", "MAX", "PER SECOND", "FAILED")
	for _, row := range []struct {
		when  string
		ratio float64
		sample
	}{
		{"before", 1, r.Faults.Before},
		{"while the deaths are being noticed", r.Faults.DuringP99, r.Faults.During},
		{"afterwards, all still bad", r.Faults.AfterP99, r.Faults.After},
	} {
		t.Add(row.when, row.P50.String(), row.P99.String(), fmt.Sprintf("%.2f", row.ratio), row.Max.String(),
			fmt.Sprintf("%.0f", row.PerSecond), fmt.Sprint(row.Failed))
	}
	return t
}

func (r *report) badTable() *table.Table {
	t := table.New("TIME", "P50", "P99", "MAX", "COUNT")
	for _, row := range []struct {
		what string
		sample
	}{
		{"until the router knows of a death: agent ended", r.Faults.NoticeDied},
		{"until the router knows of a death: silent", r.Faults.NoticeSilent},
		{"until a dead node has no capacity: agent ended", r.Faults.EmptyDied},
		{"until a dead node has no capacity: silent", r.Faults.EmptySilent},
		{"until CreateVolume fails, of a node known to be dead", r.Faults.Refused},
		{"GetCapacity of dead and hung nodes", r.Faults.Asked},
		{"from healed to a volume on the node", r.Faults.Healed},
	} {
		t.Add(row.what, row.P50.String(), row.P99.String(), row.Max.String(), fmt.Sprint(row.Calls))
	}
	return t
}

func add(t *table.Table, what string, s sample) {
	t.Add(what, s.P50.String(), s.P99.String(), s.Max.String(), fmt.Sprintf("%.0f", s.PerSecond), fmt.Sprint(s.Failed))
}

func codesOf(s sample) string {
	var all []string
	for _, code := range slices.Sorted(maps.Keys(s.Codes)) {
		all = append(all, fmt.Sprintf("%s %d", code, s.Codes[code]))
	}
	return strings.Join(all, ", ")
}

package speed

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// The plots, in pixels: a column of names, one of bars, one of latencies.
const (
	rowHeight  = 22
	barsLeft   = 120
	barsWidth  = 330
	textLeft   = barsLeft + barsWidth + 8
	ticksLeft  = 720
	ticksWidth = 320
	plotWidth  = ticksLeft + ticksWidth + 20
)

// plot is a workload's picture.
type plot struct {
	Title         string
	Against       string
	Width, Height int
	One           float64 // where the ratio is 1
	Rows          []plotRow
	Ticks         []plotTick
}

// plotRow is a layer: a bar as long as its throughput, from the least to the most of its ratios a line, and three marks where
// its latencies are.
type plotRow struct {
	Layer, Text             string
	Y, Middle               int
	Bar                     float64
	Least, Most             float64
	P50, P99, P999          float64
	Ratio, Rate, Latencies  string
	Samples                 int
	BarsLeft, TextX, Height int
}

type plotTick struct {
	X    float64
	Text string
}

// plots are the pictures of all workloads.
func plots(r Report) []plot {
	var all []plot
	for _, w := range Workloads {
		rows := slices.DeleteFunc(slices.Clone(r.Results), func(one Result) bool { return one.Workload != w.Name })
		if len(rows) > 0 {
			all = append(all, w.plot(rows))
		}
	}
	return all
}

func (w Workload) plot(results []Result) plot {
	p := plot{Title: w.Text, Against: results[0].Against, Width: plotWidth, Height: rowHeight*len(results) + 26}
	most, low, high := 1.0, math.Inf(1), 0.0
	for _, r := range results {
		most = max(most, r.RatioMax)
		low, high = min(low, r.Median.P50), max(high, r.Median.P999)
	}
	bar := func(ratio float64) float64 { return barsLeft + ratio/most*barsWidth }
	tick := logScale(low, high)
	p.One = bar(1)
	for i, r := range results {
		y := rowHeight * i
		p.Rows = append(p.Rows, plotRow{
			Layer: r.Layer, Text: layerText(r.Layer), Y: y + 3, Middle: y + rowHeight/2, Height: rowHeight - 6, BarsLeft: barsLeft, TextX: textLeft,
			Bar: bar(r.Ratio) - barsLeft, Least: bar(r.RatioMin), Most: bar(r.RatioMax),
			P50: tick(r.Median.P50), P99: tick(r.Median.P99), P999: tick(r.Median.P999), Samples: len(r.Samples),
			Ratio: fmt.Sprintf("%.3f (%.3f to %.3f)", r.Ratio, r.RatioMin, r.RatioMax), Rate: Rate(w, r.Median),
			Latencies: fmt.Sprintf("p50 %s, p99 %s, p99.9 %s", Latency(r.Median.P50), Latency(r.Median.P99), Latency(r.Median.P999)),
		})
	}
	for at := math.Pow(10, math.Ceil(math.Log10(low))); at <= high; at *= 10 {
		p.Ticks = append(p.Ticks, plotTick{tick(at), Latency(at)})
	}
	return p
}

// logScale places values between low and high.
func logScale(low, high float64) func(float64) float64 {
	first, span := math.Log10(low), math.Log10(high)-math.Log10(low)
	return func(value float64) float64 {
		if span <= 0 {
			return ticksLeft
		}
		return ticksLeft + (math.Log10(value)-first)/span*ticksWidth
	}
}

func layerText(name string) string {
	for _, l := range Layers {
		if l.Name == name {
			return l.Text
		}
	}
	return name
}

// Rate is a throughput for people: I/Os of small blocks, bytes of large ones.
func Rate(w Workload, s Sample) string {
	if w.block > 0 && w.block < 64*kib {
		return fmt.Sprintf("%.0f IOPS", s.IOPS)
	}
	return fmt.Sprintf("%.1f MiB/s", s.BytesPerSecond/mib)
}

// Latency is a time for people.
func Latency(nanoseconds float64) string {
	d := time.Duration(nanoseconds)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", nanoseconds/1e3)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", nanoseconds/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", nanoseconds/1e6)
	}
	return fmt.Sprintf("%.1f s", nanoseconds/1e9)
}

// PerIO writes counts as what one I/O became.
func (c Count) PerIO() (drive, data, metadata string) {
	return c.per(c.Drive, true), c.per(c.Data, false), c.per(c.Metadata, false)
}

func (c Count) per(t Traffic, flushes bool) string {
	one := func(n int64) float64 { return float64(n) / float64(max(c.IOs, 1)) }
	text := fmt.Sprintf("r %.4g/%.4gK w %.4g/%.4gK", one(t.Reads), one(t.ReadBytes)/kib, one(t.Writes), one(t.WriteBytes)/kib)
	if flushes {
		text += fmt.Sprintf(" f %.4g", one(t.Flushes))
	}
	return text
}

// Verdict is what a count is worth in a word.
func (c Count) Verdict() string {
	switch {
	case c.Unjudged != "":
		return "not judged: " + c.Unjudged
	case len(c.Wrong) > 0:
		return "wrong"
	}
	return "as expected"
}

// countRow is a line of the page's table of counts.
type countRow struct {
	Count
	DrivePer, DataPer, MetadataPer string
}

// Page writes the report as a page that needs nothing beside it.
func Page(w io.Writer, r Report) error {
	var counts []countRow
	for _, c := range r.Counts {
		drive, data, metadata := c.PerIO()
		counts = append(counts, countRow{c, drive, data, metadata})
	}
	return pageTemplate.Execute(w, map[string]any{"Report": r, "Plots": plots(r), "Counts": counts, "Started": r.Started.UTC().Format(time.RFC3339)})
}

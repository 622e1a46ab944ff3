package speed

import (
	"slices"
	"time"
)

// Report is all that a run has found.
type Report struct {
	Started time.Time `json:"started"`
	About   About     `json:"about"`
	Results []Result  `json:"results"`
	Counts  []Count   `json:"counts"`
	// Missing says what was not measured, and why.
	Missing []string `json:"missing"`
	// Findings are counts that are not what they should be.
	Findings []string `json:"findings"`
}

// About is what the figures depend on, as the kernel tells it.
type About struct {
	Kernel      string  `json:"kernel"`
	Fio         string  `json:"fio"`
	CPUs        int     `json:"cpus"`
	VG          string  `json:"vg"`
	Profile     string  `json:"profile"`
	Layout      string  `json:"layout"` // of the thin pool: linear, striped, ...
	ChunkBytes  int64   `json:"chunkBytes"`
	Zeroing     bool    `json:"zeroing"`
	Drives      []Drive `json:"drives"`
	Bytes       int64   `json:"bytes"` // of each volume
	Rounds      int     `json:"rounds"`
	Seconds     float64 `json:"seconds"`
	Jobs        int     `json:"jobs"`
	TookSeconds float64 `json:"tookSeconds"`
}

// Drive is a drive below the volumes.
type Drive struct {
	Name       string `json:"name"`
	Model      string `json:"model"`
	Firmware   string `json:"firmware"`
	Scheduler  string `json:"scheduler"`
	WriteCache string `json:"writeCache"` // "write back" needs flushes, "write through" none
	Block      string `json:"logicalBlockBytes"`
}

// Result is a workload on a layer.
type Result struct {
	Layer    string   `json:"layer"`
	Workload string   `json:"workload"`
	Median   Sample   `json:"median"`
	Samples  []Sample `json:"samples"` // one of each round
	// Ratio is the median of each round's throughput against that of the layer Against, in the same round.
	Ratio    float64 `json:"ratio"`
	RatioMin float64 `json:"ratioMin"`
	RatioMax float64 `json:"ratioMax"`
	Against  string  `json:"against"`
}

// Median is the middle of values, or between the two in the middle; 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// middle is the median of each figure.
func middle(samples []Sample) Sample {
	of := func(figure func(Sample) float64) float64 {
		var all []float64
		for _, s := range samples {
			all = append(all, figure(s))
		}
		return Median(all)
	}
	return Sample{
		BytesPerSecond: of(func(s Sample) float64 { return s.BytesPerSecond }),
		IOPS:           of(func(s Sample) float64 { return s.IOPS }),
		P50:            of(func(s Sample) float64 { return s.P50 }),
		P99:            of(func(s Sample) float64 { return s.P99 }),
		P999:           of(func(s Sample) float64 { return s.P999 }),
	}
}

// measured are the samples of each round, by workload and layer.
type measured map[string]map[string][]Sample

func (m measured) add(s step, sample Sample) {
	if m[s.workload.Name] == nil {
		m[s.workload.Name] = map[string][]Sample{}
	}
	m[s.workload.Name][s.layer.Name] = append(m[s.workload.Name][s.layer.Name], sample)
}

// results compares the layers, each workload's with the lowest that ran it.
func (m measured) results(layers []Layer, workloads []Workload) []Result {
	results := []Result{}
	for _, w := range workloads {
		against := ""
		for _, l := range layers {
			samples := m[w.Name][l.Name]
			if len(samples) == 0 {
				continue
			}
			if against == "" {
				against = l.Name
			}
			r := Result{Layer: l.Name, Workload: w.Name, Median: middle(samples), Samples: samples, Against: against}
			r.compare(m[w.Name][against])
			results = append(results, r)
		}
	}
	return results
}

// compare forms the ratios to what the other layer did in the same rounds.
func (r *Result) compare(other []Sample) {
	var ratios []float64
	for i := range min(len(r.Samples), len(other)) {
		if other[i].BytesPerSecond > 0 {
			ratios = append(ratios, r.Samples[i].BytesPerSecond/other[i].BytesPerSecond)
		}
	}
	if len(ratios) == 0 {
		return
	}
	r.Ratio, r.RatioMin, r.RatioMax = Median(ratios), slices.Min(ratios), slices.Max(ratios)
}

// Result is that of a layer and a workload.
func (r Report) Result(layer, workload string) (Result, bool) {
	i := slices.IndexFunc(r.Results, func(one Result) bool { return one.Layer == layer && one.Workload == workload })
	if i < 0 {
		return Result{}, false
	}
	return r.Results[i], true
}

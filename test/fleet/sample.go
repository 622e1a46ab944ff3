package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// milliseconds is a time as it is told in JSON.
type milliseconds float64

func inMS(d time.Duration) milliseconds { return milliseconds(float64(d) / float64(time.Millisecond)) }

// sample is what many calls of one kind took.
type sample struct {
	Calls         int
	P50, P99, Max milliseconds
	PerSecond     float64
	Failed        int
	Codes         map[string]int `json:",omitempty"` // of those that failed
	FirstFailure  string         `json:",omitempty"`
}

// recorder times calls, of several goroutines.
type recorder struct {
	mu    sync.Mutex
	took  []time.Duration
	codes map[string]int
	first string
	begun time.Time
}

func newRecorder() *recorder { return &recorder{codes: map[string]int{}, begun: time.Now()} }

// time times one call. One that fails counts apart.
func (r *recorder) time(call func() error) error {
	begun := time.Now()
	err := call()
	r.add(time.Since(begun), err)
	return err
}

func (r *recorder) add(took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.took = append(r.took, took)
		return
	}
	r.codes[status.Code(err).String()]++
	if r.first == "" {
		r.first = err.Error()
	}
}

// end is what was recorded since the beginning.
func (r *recorder) end() sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := sampleOf(r.took)
	s.PerSecond = float64(len(r.took)) / time.Since(r.begun).Seconds()
	s.FirstFailure = r.first
	for code, n := range r.codes {
		s.Failed += n
		if s.Codes == nil {
			s.Codes = map[string]int{}
		}
		s.Codes[code] = n
	}
	return s
}

func sampleOf(took []time.Duration) sample {
	slices.Sort(took)
	if len(took) == 0 {
		return sample{}
	}
	return sample{Calls: len(took), P50: inMS(percentile(took, 50)), P99: inMS(percentile(took, 99)), Max: inMS(took[len(took)-1])}
}

// percentile is that of a sorted list: the smallest value that so many per cent do not exceed.
func percentile[T any](sorted []T, percent int) T {
	return sorted[max((len(sorted)*percent+99)/100-1, 0)]
}

// median is that of the values of each round; of two in the middle, the lower.
func median[T cmp.Ordered](rounds []T) T {
	var none T
	if len(rounds) == 0 {
		return none
	}
	sorted := slices.Sorted(slices.Values(rounds))
	return percentile(sorted, 50)
}

// middle has the median over the rounds of each figure, and the sum of what is counted.
func middle(rounds []sample) sample {
	of := func(figure func(sample) float64) float64 {
		var all []float64
		for _, s := range rounds {
			all = append(all, figure(s))
		}
		return median(all)
	}
	m := sample{
		P50:       milliseconds(of(func(s sample) float64 { return float64(s.P50) })),
		P99:       milliseconds(of(func(s sample) float64 { return float64(s.P99) })),
		PerSecond: of(func(s sample) float64 { return s.PerSecond }),
	}
	for _, s := range rounds {
		m.Calls, m.Failed, m.Max = m.Calls+s.Calls, m.Failed+s.Failed, max(m.Max, s.Max)
		m.FirstFailure = cmp.Or(m.FirstFailure, s.FirstFailure)
		for code, n := range s.Codes {
			if m.Codes == nil {
				m.Codes = map[string]int{}
			}
			m.Codes[code] += n
		}
	}
	return m
}

package speed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lvme/lvme/internal/run"
)

// Sample is what fio has measured once.
type Sample struct {
	BytesPerSecond float64 `json:"bytesPerSecond"`
	IOPS           float64 `json:"iops"`
	// How long one I/O took, in nanoseconds: half of them, 99 and 99.9 % of them at most. Of workloads that sync after each
	// write it is the sync.
	P50  float64 `json:"p50Nanoseconds"`
	P99  float64 `json:"p99Nanoseconds"`
	P999 float64 `json:"p999Nanoseconds"`
}

// fioOutput is what matters of `fio --output-format=json`.
type fioOutput struct {
	Jobs []fioJob `json:"jobs"`
}

type fioJob struct {
	Error int     `json:"error"`
	Read  fioSide `json:"read"`
	Write fioSide `json:"write"`
	Sync  struct {
		Latency fioLatency `json:"lat_ns"`
	} `json:"sync"`
}

type fioSide struct {
	Total   int64      `json:"total_ios"`
	Bytes   float64    `json:"bw_bytes"`
	IOPS    float64    `json:"iops"`
	Latency fioLatency `json:"clat_ns"`
}

type fioLatency struct {
	Percentile map[string]float64 `json:"percentile"`
}

// parse reads fio's output. Notes may stand before the JSON.
func parse(text []byte) (fioOutput, error) {
	begin := bytes.IndexByte(text, '{')
	if begin < 0 {
		return fioOutput{}, fmt.Errorf("fio has written no JSON: %.200q", text)
	}
	var o fioOutput
	if err := json.Unmarshal(text[begin:], &o); err != nil {
		return fioOutput{}, fmt.Errorf("read what fio has written: %w", err)
	}
	if len(o.Jobs) == 0 {
		return fioOutput{}, errors.New("fio tells of no job")
	}
	return o, nil
}

// sample takes the figures that count out of fio's output.
func (w Workload) sample(o fioOutput) (Sample, error) {
	var s Sample
	for _, j := range o.Jobs {
		if j.Error != 0 {
			return s, fmt.Errorf("fio met error %d", j.Error)
		}
		for _, side := range []struct {
			counts direction
			fioSide
		}{{reads, j.Read}, {writes, j.Write}} {
			if w.counts&side.counts == 0 || side.Total == 0 {
				continue
			}
			s.BytesPerSecond += side.Bytes
			s.IOPS += side.IOPS
			s.latency(side.Latency)
		}
		if w.counts&syncs != 0 {
			s.P50, s.P99, s.P999 = 0, 0, 0
			s.latency(j.Sync.Latency)
		}
	}
	if s.IOPS <= 0 || s.P50 <= 0 {
		return s, errors.New("fio has done nothing in the time that it had: give it more (--seconds)")
	}
	return s, nil
}

// latency takes the worse of what is known and of what is added.
func (s *Sample) latency(l fioLatency) {
	s.P50 = max(s.P50, l.Percentile["50.000000"])
	s.P99 = max(s.P99, l.Percentile["99.000000"])
	s.P999 = max(s.P999, l.Percentile["99.900000"])
}

// installed says whether fio is, before anything is made, and which it is.
func (b *bench) installed(ctx context.Context) error {
	c := run.Cmd{Name: "fio", Args: []string{"--version"}}
	res, err := b.host.Runner.Run(ctx, c)
	if errors.Is(err, run.ErrNotInstalled) {
		return fmt.Errorf("%w: install the package fio", err)
	}
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", c, res.Code, bytes.TrimSpace(res.Stderr))
	}
	b.report.About.Fio = string(bytes.TrimSpace(res.Stdout))
	return err
}

// fio runs fio under the lock that tells the next run that it is still at work, should this process be killed.
func (b *bench) fio(ctx context.Context, args []string) (fioOutput, error) {
	c := run.Cmd{Name: "flock", Args: append([]string{"--no-fork", "--nonblock", b.host.lock(ioLock), "fio"}, args...)}
	res, err := b.host.Runner.Run(ctx, c)
	if err != nil {
		return fioOutput{}, err
	}
	if res.Code != 0 {
		return fioOutput{}, fmt.Errorf("%s: exit code %d: %s", c, res.Code, bytes.TrimSpace(append(res.Stderr, res.Stdout...)))
	}
	return parse(res.Stdout)
}

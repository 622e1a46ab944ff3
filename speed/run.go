package speed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Options say what is measured, how long and how large.
type Options struct {
	Class     string // of the drives; the configuration's first if empty
	Profile   string // of the volumes, whose type and filesystem the layers say; the agent's default if empty
	Bytes     int64  // of each volume
	Rounds    int
	Span      time.Duration // of each measurement
	Jobs      int           // of the deep workloads
	Layers    []Layer
	Workloads []Workload
	// Say tells whoever waits how far it is.
	Say func(format string, args ...any)
}

// minBytes is what a volume needs for a filesystem and the files in it.
const minBytes = 384 * mib

// Validate names every fault.
func (o Options) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.Bytes >= minBytes, "volumes of %d bytes: at least %d Mi are needed for filesystems and files", o.Bytes, minBytes/mib)
	check(o.Rounds > 0, "%d rounds: at least one is needed", o.Rounds)
	check(o.Span >= 100*time.Millisecond, "measurements of %s: fio tells nothing in less than 100 ms", o.Span)
	check(o.Jobs > 0 && o.Jobs <= 256, "%d jobs: 1 to 256 are possible", o.Jobs)
	check(len(plan(o.Layers, o.Workloads, 1)) > 0, "none of these workloads can be run on these layers")
	return errors.Join(faults...)
}

// bench is a run.
type bench struct {
	Options
	host   Host
	kernel kernel
	prefix string // of the names of what it makes
	vg     string // the part of the volumes' ids that is the same in all

	made   map[string]*made
	region *region // nil where there is no part of a drive that is its own
	report Report
}

// Run makes volumes, measures, and takes them away again, also when ctx ends.
func Run(ctx context.Context, o Options, h Host) (_ Report, err error) {
	release, err := h.exclusive()
	if err != nil {
		return Report{}, err
	}
	defer release()
	b := &bench{
		Options: o, host: h, kernel: kernel{h.Sys, h.Runner}, prefix: "lvme-bench-" + randomHex(), made: map[string]*made{},
		report: Report{Started: time.Now(), About: About{Drives: []Drive{}}, Results: []Result{}, Counts: []Count{}, Missing: []string{}, Findings: []string{}},
	}
	if err := b.installed(ctx); err != nil {
		return Report{}, err
	}
	if err := b.clear(ctx); err != nil {
		return Report{}, fmt.Errorf("take away what an earlier run has left: %w", err)
	}
	defer func() {
		if clearErr := b.clear(context.WithoutCancel(ctx)); clearErr != nil {
			err = errors.Join(err, fmt.Errorf("take away what was made ('lvme bench --clean' tries again): %w", clearErr))
		}
	}()
	// Counted is before filesystems are mounted: they write now and then by themselves.
	for _, do := range []func(context.Context) error{b.prepareDevices, b.countAll, b.prepareFilesystems, b.describe, b.measureAll} {
		if err := do(ctx); err != nil {
			return Report{}, err
		}
	}
	b.report.About.TookSeconds = time.Since(b.report.Started).Seconds()
	return b.report, nil
}

// Clean takes away what a killed run has left.
func Clean(ctx context.Context, h Host) error {
	release, err := h.exclusive()
	if err != nil {
		return err
	}
	defer release()
	b := &bench{host: h, kernel: kernel{h.Sys, h.Runner}}
	return b.clear(ctx)
}

// clearLimit bounds the taking away: deleting a volume gives its blocks back to the drive.
const clearLimit = 10 * time.Minute

// clear waits until no fio of a run is at work, and cleans.
func (b *bench) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clearLimit)
	defer cancel()
	if err := b.host.idle(ctx); err != nil {
		return err
	}
	return b.clean(ctx)
}

// measureAll runs all rounds.
func (b *bench) measureAll(ctx context.Context) error {
	m := measured{}
	steps := plan(b.Layers, b.Workloads, b.Rounds)
	begun := time.Now()
	for i, s := range steps {
		b.sayStep(steps, i, time.Since(begun))
		err := b.with(ctx, s.layer, func(p place) error {
			if s.workload.OnFiles() {
				p.target = target{path: b.made[s.layer.volume].path(), length: b.made[s.layer.volume].bytes}
			}
			out, err := b.fio(ctx, s.workload.arguments(p.target, b.Options, s.round))
			if err != nil {
				return err
			}
			sample, err := s.workload.sample(out)
			m.add(s, sample)
			return err
		})
		if err != nil {
			return fmt.Errorf("round %d, %s on %s: %w", s.round+1, s.workload.Name, s.layer.Name, err)
		}
	}
	b.report.Results = m.results(b.Layers, b.Workloads)
	return nil
}

// sayStep says how far it is, once for each workload of a round.
func (b *bench) sayStep(steps []step, i int, took time.Duration) {
	s := steps[i]
	if i > 0 && steps[i-1].round == s.round && steps[i-1].workload.Name == s.workload.Name {
		return
	}
	left := ""
	if i > 0 {
		left = fmt.Sprintf(", about %s left", (took / time.Duration(i) * time.Duration(len(steps)-i)).Round(time.Second))
	}
	b.Say("round %d of %d: %s (%d of %d measurements%s)", s.round+1, b.Rounds, s.workload.Text, i, len(steps), left)
}

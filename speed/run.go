package speed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/volume"
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

// place is where a workload or a count is done.
type place struct {
	target
	drive device
	pool  pool // of thin volumes
	// unjudged says why counts tell nothing here.
	unjudged string
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

// prepareDevices makes all volumes, and publishes and fills those that are devices.
func (b *bench) prepareDevices(ctx context.Context) error {
	if err := b.fit(ctx); err != nil {
		return err
	}
	for _, l := range volumes(b.Layers) {
		b.Say("make volume %s", l.volume)
		m, err := b.create(ctx, l)
		if err != nil {
			return err
		}
		b.made[l.volume] = m
	}
	if err := b.publishAll(ctx, func(l Layer) bool { return l.fs == "" }); err != nil {
		return err
	}
	return b.ownSectors(ctx)
}

// prepareFilesystems publishes and fills the others.
func (b *bench) prepareFilesystems(ctx context.Context) error {
	return b.publishAll(ctx, func(l Layer) bool { return l.fs != "" })
}

func (b *bench) publishAll(ctx context.Context, which func(Layer) bool) error {
	for _, l := range volumes(b.Layers) {
		if !which(l) {
			continue
		}
		if err := b.publish(ctx, b.made[l.volume]); err != nil {
			return err
		}
		if err := b.fillOne(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// fit leaves out what the class has no room for.
func (b *bench) fit(ctx context.Context) error {
	need := map[bool]int64{}
	for _, l := range volumes(b.Layers) {
		need[l.thick] += b.Bytes
		if l.state == shared {
			need[l.thick] += b.Bytes // its snapshot
		}
	}
	for _, thick := range []bool{true, false} {
		if need[thick] == 0 {
			continue
		}
		err := b.room(ctx, thick, need[thick])
		if errors.Is(err, errNoRoom) {
			b.leaveOut(err, func(l Layer) bool { return l.thick == thick })
		} else if err != nil {
			return err
		}
	}
	if len(b.Layers) == 0 {
		return fmt.Errorf("nothing can be measured: %s; smaller volumes (--size) or another class (--class) may fit", strings.Join(b.report.Missing, "; "))
	}
	return nil
}

// leaveOut takes layers out of what is measured, and says so.
func (b *bench) leaveOut(why error, which func(Layer) bool) {
	for _, l := range b.Layers {
		if which(l) {
			b.report.Missing = append(b.report.Missing, fmt.Sprintf("%s: %v", l.Name, why))
		}
	}
	b.Layers = slices.DeleteFunc(slices.Clone(b.Layers), which)
}

// ownSectors finds and proves the sectors of the thick volume, if the drive itself is to be measured.
func (b *bench) ownSectors(ctx context.Context) error {
	inSectors := func(l Layer) bool { return l.sectors }
	if !slices.ContainsFunc(b.Layers, inSectors) {
		return nil
	}
	r, err := b.proof(ctx, b.made[onThick])
	if errors.Is(err, errNotOne) {
		b.leaveOut(err, inSectors)
		return nil
	}
	if err != nil {
		return err
	}
	b.region = &r
	return b.makeLinear(ctx, r)
}

// describe notes what the figures depend on.
func (b *bench) describe(ctx context.Context) error {
	a := &b.report.About
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	a.Kernel, a.CPUs, a.VG = unix.ByteSliceToString(name.Release[:]), runtime.NumCPU(), volume.VGName(b.vg)
	a.Bytes, a.Rounds, a.Seconds, a.Jobs = b.Bytes, b.Rounds, b.Span.Seconds(), b.Jobs
	a.Profile = cmp.Or(b.Profile, volume.DefaultProfile)
	for _, l := range volumes(b.Layers) {
		below, err := b.kernel.below(b.made[l.volume].device)
		if err != nil {
			return err
		}
		for _, d := range drives(below) {
			if !slices.ContainsFunc(a.Drives, func(known Drive) bool { return known.Name == d.name }) {
				a.Drives = append(a.Drives, b.kernel.drive(d))
			}
		}
		if !l.thick {
			p, err := b.kernel.pool(ctx, b.made[l.volume].device)
			if err != nil {
				return err
			}
			a.Layout, a.ChunkBytes, a.Zeroing = p.layout, p.chunk, p.zeroing
		}
	}
	return nil
}

// fillOne writes all of a volume once, but for that of which nothing is to be mapped.
func (b *bench) fillOne(ctx context.Context, l Layer) error {
	if l.state == unmapped {
		return nil
	}
	b.Say("fill volume %s", l.volume)
	p, err := b.place(ctx, Layer{volume: l.volume, fs: l.fs, thick: l.thick})
	if err != nil {
		return err
	}
	if _, err := b.fio(ctx, fill(p.target)); err != nil {
		return fmt.Errorf("fill volume %s: %w", l.volume, err)
	}
	return nil
}

// dataFile is the file in a filesystem that is used as a device elsewhere.
const dataFile = "lvme-bench.dat"

// place is where a layer is. Of a filesystem it is a file with half of the space.
func (b *bench) place(ctx context.Context, l Layer) (p place, err error) {
	m := b.made[l.volume]
	p.target = target{path: m.path(), length: m.bytes}
	if l.fs != "" {
		p.target = target{path: filepath.Join(m.path(), dataFile), length: m.bytes / 2}
	}
	below, err := b.kernel.below(m.device)
	if err != nil {
		return place{}, err
	}
	on := drives(below)
	if len(on) == 0 {
		return place{}, fmt.Errorf("%s is on no drive", m.device.dm)
	}
	if p.drive = on[0]; len(on) > 1 {
		p.unjudged = "it lies on several drives"
	}
	if !l.thick {
		p.pool, err = b.kernel.pool(ctx, m.device)
		return p, err
	}
	if l.sectors {
		if err := b.still(ctx, m, *b.region); err != nil {
			return place{}, err
		}
		p.path, p.length = "/dev/mapper/"+linearName, b.region.length
	}
	if l.Name == "raw" {
		p.path, p.offset = b.region.path(), b.region.offset
	}
	return p, nil
}

// with brings a layer into its state, has something done there, and undoes what it did for it.
func (b *bench) with(ctx context.Context, l Layer, do func(place) error) (err error) {
	p, err := b.place(ctx, l)
	if err != nil {
		return err
	}
	switch l.state {
	case unmapped:
		p.chunk = p.pool.chunk
		if err := b.host.discard(ctx, p.path); err != nil {
			return err
		}
	case shared:
		p.chunk = p.pool.chunk
		id, err := b.snapshot(ctx, b.made[l.volume])
		if err != nil {
			return err
		}
		defer func() {
			if ctx.Err() == nil { // else all is taken away
				err = errors.Join(err, b.removeSnapshot(ctx, id))
			}
		}()
		return do(p)
	case asIs:
	}
	return do(p)
}

// countAll counts every operation on every layer that is a device.
func (b *bench) countAll(ctx context.Context) error {
	for _, l := range b.Layers {
		for _, op := range operations {
			if l.fs != "" || op.read && l.state != asIs {
				continue
			}
			b.Say("count %ss on %s", op.name, l.Name)
			c, err := b.count(ctx, l, op)
			if err != nil {
				return fmt.Errorf("count %ss on %s: %w", op.name, l.Name, err)
			}
			b.report.Counts = append(b.report.Counts, c)
			for _, wrong := range c.Wrong {
				b.report.Findings = append(b.report.Findings, fmt.Sprintf("%d %ss of 4 KiB on %s: %s", c.IOs, op.name, l.Name, wrong))
			}
		}
	}
	return nil
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

package speed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/volume"
)

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

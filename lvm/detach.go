package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
)

// When a drive is pulled out, the devices of its LVs stay as long as LVM does
// not switch them off, and what they are made of is gone. Plugged in again, the
// drive has another number: LVM takes the devices for active ones and leaves
// them alone, and each read and write fails. So they are found by what the
// kernel says they are made of, and taken away by dmsetup, which needs neither
// the drive nor LVM's metadata.

// Lost says which devices of a VG lead to a drive that is gone, or nowhere.
type Lost struct {
	// Dead are the names of the devices that can serve nothing any more, but
	// for the lost legs of mirrors that work on.
	Dead []string
	// Degraded are those of mirrors that have lost a leg and work on.
	Degraded []string
	// Frozen are suspended: whoever uses them waits. While no command runs, one
	// was killed in its middle.
	Frozen []string
}

// Lost looks, without starting a program, for devices of vg whose drive was
// pulled out, whether or not it is back.
func (l *LVM) Lost(ctx context.Context, vg VG) (Lost, error) {
	devices, err := l.devices(ctx, vg)
	if errors.Is(err, dm.ErrUnavailable) {
		return Lost{}, nil // then nothing is active
	}
	if err != nil {
		return Lost{}, fmt.Errorf("look for dead devices of VG %s: %w", vg.Name, err)
	}
	var lost Lost
	legs := legsInUse(devices)
	for _, d := range devices {
		switch f := d.fate(devices); {
		case f == dead && !legs[d.Name]:
			lost.Dead = append(lost.Dead, d.Name)
		case f == degraded:
			lost.Degraded = append(lost.Degraded, d.Name)
		}
		if d.Suspended {
			lost.Frozen = append(lost.Frozen, d.Name)
		}
	}
	slices.Sort(lost.Frozen)
	slices.Sort(lost.Dead)
	slices.Sort(lost.Degraded)
	return lost, nil
}

// device is a device of a VG and what it is made of.
type device struct {
	dm.Info
	deps []dm.Dep
}

type fate int

const (
	sound fate = iota
	degraded
	dead
)

// devices are those of the VG by their number. One that goes meanwhile is left
// out.
func (l *LVM) devices(ctx context.Context, vg VG) (map[[2]uint32]device, error) {
	names, err := l.kernel.Names(ctx)
	if err != nil {
		return nil, err
	}
	found := map[[2]uint32]device{}
	for _, name := range names {
		if !vg.owns(name) {
			continue
		}
		d, err := l.device(ctx, vg, name)
		switch {
		case errors.Is(err, dm.ErrNotFound):
		case err != nil:
			return nil, err
		case d.UUID != "":
			found[[2]uint32{d.Major, d.Minor}] = d
		}
	}
	return found, nil
}

// device is one device, without a UUID when another VG of that name made it.
func (l *LVM) device(ctx context.Context, vg VG, name string) (device, error) {
	info, err := l.kernel.Info(ctx, name)
	if err != nil || vg.UUID == "" || !strings.HasPrefix(info.UUID, "LVM-"+strings.ReplaceAll(vg.UUID, "-", "")) {
		return device{}, err
	}
	deps, err := l.kernel.Deps(ctx, name)
	if err != nil {
		return device{}, err
	}
	return device{info, deps}, nil
}

// owns says whether a device of that name is one of the VG's LVs. LVM doubles
// the hyphens within names, and no LV begins with one.
func (v VG) owns(device string) bool {
	rest, ok := strings.CutPrefix(device, dm.DeviceName(v.Name, ""))
	return ok && rest != "" && rest[0] != '-'
}

// stopgap is in the names of the devices that LVM puts in the place of a drive
// that is away. They fail every request.
const stopgap = "-missing_"

// fate is what has become of a device: a mirror lives while a leg does.
func (d device) fate(all map[[2]uint32]device) fate {
	if strings.Contains(d.Name, stopgap) {
		return dead
	}
	gone, hurt, mirror := 0, false, false
	for _, dep := range d.deps {
		below := all[[2]uint32{dep.Major, dep.Minor}]
		mirror = mirror || strings.Contains(below.Name, legPart)
		switch {
		case dep.Gone, below.fate(all) == dead:
			gone++
		case below.fate(all) == degraded:
			hurt = true
		}
	}
	switch {
	case gone == 0 && !hurt:
		return sound
	case gone == 0, mirror && gone < len(d.deps):
		return degraded
	}
	return dead
}

// legsInUse are the names of all devices below a mirror that is alive.
func legsInUse(all map[[2]uint32]device) map[string]bool {
	names := map[string]bool{}
	var mark func(device)
	mark = func(d device) {
		for _, dep := range d.deps {
			if below, ours := all[[2]uint32{dep.Major, dep.Minor}]; ours {
				names[below.Name] = true
				mark(below)
			}
		}
	}
	for _, d := range all {
		if d.fate(all) == degraded {
			mark(d)
		}
	}
	return names
}

// Detach takes away the devices of an LV where LVM cannot, since it does not
// see the VG: its drives are away or cannot be read. Nothing is written
// anywhere. What somebody has open stays, with all below it, and ErrInUse names
// it. What is not there is no error.
func (l *LVM) Detach(ctx context.Context, vg VG, lv string) error {
	name := dm.DeviceName(vg.Name, lv)
	return l.detach(ctx, vg, func(d device, _ map[[2]uint32]device) bool {
		rest, ok := strings.CutPrefix(d.Name, name)
		return ok && (rest == "" || part(rest))
	})
}

// DetachDead takes away every device of the VG that is dead by Lost, as Detach
// does.
func (l *LVM) DetachDead(ctx context.Context, vg VG) error {
	return l.detach(ctx, vg, func(d device, all map[[2]uint32]device) bool { return d.fate(all) == dead && !legsInUse(all)[d.Name] })
}

// dmsetup is the program for what LVM does not do.
const dmsetup = "dmsetup"

// legPart is in the names of a mirror's legs.
const legPart = "_rimage_"

// part says whether this, behind the name of an LV, makes the name of a part
// of it.
func part(suffix string) bool {
	return suffix == "-tpool" || slices.ContainsFunc([]string{legPart, "_rmeta_", "_tdata", "_tmeta"},
		func(p string) bool { return strings.HasPrefix(suffix, p) })
}

func (l *LVM) detach(ctx context.Context, vg VG, meant func(device, map[[2]uint32]device) bool) error {
	for {
		all, err := l.devices(ctx, vg)
		if err != nil {
			return fmt.Errorf("take away devices of VG %s: %w", vg.Name, err)
		}
		var open, free []string
		for _, d := range all {
			switch {
			case !meant(d, all):
			case d.Opened == 0:
				free = append(free, d.Name)
			default:
				open = append(open, d.Name)
			}
		}
		if len(free) == 0 && len(open) > 0 {
			slices.Sort(open)
			return fmt.Errorf("take away devices of VG %s: %w: %s", vg.Name, ErrInUse, strings.Join(open, ", "))
		}
		if len(free) == 0 {
			return nil
		}
		slices.Sort(free)
		for _, name := range free {
			if err := l.removeDevice(ctx, name); err != nil {
				return err
			}
		}
	}
}

// removeDevice removes one device. One that has gone by itself is no error.
func (l *LVM) removeDevice(ctx context.Context, name string) error {
	c := run.Cmd{Name: dmsetup, Args: []string{"remove", "--retry", name}, Changes: true}
	res, err := l.runner.Run(ctx, c)
	switch {
	case errors.Is(err, run.ErrNotInstalled):
		err = fmt.Errorf("%w, install the package dmsetup (device-mapper): %w", ErrNotInstalled, err)
	case err == nil && res.Code != 0:
		err = newError(dmsetup, c.Args, res)
	}
	l.observe(dmsetup, res.Took, err, true)
	if err == nil {
		return nil
	}
	if _, look := l.kernel.Info(context.WithoutCancel(ctx), name); errors.Is(look, dm.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("take away device %s: %w", name, err)
}

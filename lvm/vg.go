package lvm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// VGSpec describes a VG to be made.
type VGSpec struct {
	Name string
	// Devices become its PVs. They must be blank: a signature on one of them
	// is ErrNotBlank, and nothing is wiped.
	Devices []string
	// MetadataSize is that of each PV's metadata area in bytes. It cannot be
	// changed later; 1 MiB describes about 1,100 LVs, 64 MiB many thousands.
	// A drive that already is a PV of no VG keeps the size it has.
	MetadataSize int64
	// ExtentSize is the unit of allocation in bytes; 0 is LVM's own, 4 MiB.
	ExtentSize int64
	Tags       []string
}

// CreateVG labels the drives and makes the VG in one command. Nothing in it
// will be activated by the host at boot.
//
// It never answers yes to LVM: a drive on which LVM finds a signature that it
// would have to wipe makes the command fail.
func (l *LVM) CreateVG(ctx context.Context, spec VGSpec) error {
	if err := spec.check(); err != nil {
		return fmt.Errorf("create VG %s: %w", spec.Name, err)
	}
	args := []string{"--setautoactivation", "n"}
	if spec.MetadataSize > 0 {
		args = append(args, "--metadatasize", sizeArg(spec.MetadataSize))
	}
	if spec.ExtentSize > 0 {
		args = append(args, "--physicalextentsize", sizeArg(spec.ExtentSize))
	}
	args = append(args, addTags(spec.Tags)...)
	args = append(append(args, spec.Name), spec.Devices...)
	if err := l.change(ctx, VG{Devices: spec.Devices}, "vgcreate", args...); err != nil {
		return fmt.Errorf("create VG %s on %s: %w", spec.Name, strings.Join(spec.Devices, " "), err)
	}
	return nil
}

func (s VGSpec) check() error {
	if err := ValidVG(s.Name); err != nil {
		return err
	}
	for _, tag := range s.Tags {
		if err := ValidTag(tag); err != nil {
			return err
		}
	}
	if s.MetadataSize%sectorSize != 0 || s.ExtentSize%sectorSize != 0 {
		return fmt.Errorf("%w: sizes must be multiples of %d bytes", ErrInvalid, sectorSize)
	}
	return nil
}

// RemoveVG removes an empty VG and then its drives' labels: two commands, which
// converge when called again. A VG with an LV in it is ErrInUse.
//
// A drive whose label names another VG by now is ErrInUse too, and untouched.
func (l *LVM) RemoveVG(ctx context.Context, vg VG) error {
	if err := ValidVG(vg.Name); err != nil {
		return fmt.Errorf("remove VG: %w", err)
	}
	err := l.change(ctx, vg, "vgremove", vg.Name)
	if err != nil && !errors.Is(err, ErrNoVG) {
		return fmt.Errorf("remove VG %s: %w", vg.Name, err)
	}
	if err := l.removeLabels(ctx, vg); err != nil {
		return fmt.Errorf("remove VG %s: labels of its drives: %w", vg.Name, err)
	}
	return nil
}

// removeLabels makes the drives no PVs; LVM refuses those that are in a VG.
func (l *LVM) removeLabels(ctx context.Context, vg VG) error {
	err := l.change(ctx, vg, "pvremove", vg.Devices...)
	var e *Error
	if errors.As(err, &e) && onlySays(e.Stderr, noLabel) {
		return nil
	}
	return err
}

var noLabel = regexp.MustCompile(`^No PV found on device |^WARNING: `)

// ChangeVGTags adds and removes tags of the VG itself, both in one command.
func (l *LVM) ChangeVGTags(ctx context.Context, vg VG, add, del []string) error {
	if err := l.changeTags(ctx, "vgchange", vg, vg.Name, add, del); err != nil {
		return fmt.Errorf("change tags of VG %s: %w", vg.Name, err)
	}
	return nil
}

func (l *LVM) changeTags(ctx context.Context, verb string, vg VG, object string, add, del []string) error {
	if err := ValidVG(vg.Name); err != nil {
		return err
	}
	args, err := tagChange(add, del)
	if err != nil || len(args) == 0 {
		return err
	}
	return l.change(ctx, vg, verb, append(args, object)...)
}

var uuidForm = regexp.MustCompile(`^[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}$`)

// RenameVG gives the VG with that UUID another name. It is addressed by UUID
// since it is needed when two VGs have one name. A VG that already has the
// name is left as it is, without error.
func (l *LVM) RenameVG(ctx context.Context, uuid, name string, devices []string) error {
	if !uuidForm.MatchString(uuid) {
		return fmt.Errorf("rename VG: %w: %q is not a VG's UUID", ErrInvalid, uuid)
	}
	if err := ValidVG(name); err != nil {
		return fmt.Errorf("rename VG %s: %w", uuid, err)
	}
	err := l.change(ctx, VG{UUID: uuid, Devices: devices}, "vgrename", uuid, name)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("rename VG %s to %s: %w", uuid, name, err)
	}
	return nil
}

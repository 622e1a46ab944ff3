package lvm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lvme/lvme/internal/dm"
)

// MirrorStatus is how the kernel sees a mirror that is active.
type MirrorStatus struct {
	// Legs counts its copies and Failed those that it does not use any more.
	Legs, Failed int
	// Synced is how many of Total bytes are alike on the legs that are not
	// failed, as far as the kernel has come with making them so.
	Synced, Total int64
}

// MirroredPoolParts are the mirrors that a mirrored pool is made of.
func MirroredPoolParts(pool string) []string { return []string{pool + "_tdata", pool + "_tmeta"} }

// MirrorStatus is the kernel's view of an active mirror, without starting a
// program. An inactive one is dm.ErrNotFound.
func (l *LVM) MirrorStatus(ctx context.Context, vg, lv string) (MirrorStatus, error) {
	targets, err := l.status(ctx, dm.DeviceName(vg, lv))
	if err != nil {
		return MirrorStatus{}, fmt.Errorf("status of mirror %s/%s: %w", vg, lv, err)
	}
	if len(targets) != 1 || targets[0].Type != "raid" {
		return MirrorStatus{}, fmt.Errorf("status of mirror %s/%s: %w: its device is no raid: %v", vg, lv, ErrReport, targets)
	}
	s, err := parseRaid(targets[0].Params)
	if err != nil {
		return MirrorStatus{}, fmt.Errorf("status of mirror %s/%s: %w", vg, lv, err)
	}
	return s, nil
}

// parseRaid reads "<type> <legs> <a letter for each> <synced>/<total sectors>
// <action> ...": A is in sync, a is being synchronised, D has failed. See
// Documentation/admin-guide/device-mapper/dm-raid.rst.
func parseRaid(params string) (MirrorStatus, error) {
	f := strings.Fields(params)
	if len(f) < 5 || strings.Trim(f[2], "AaD") != "" {
		return MirrorStatus{}, fmt.Errorf("%w: raid status %q", ErrReport, params)
	}
	legs, err := count(f[1])
	if err != nil || int(legs) != len(f[2]) {
		return MirrorStatus{}, fmt.Errorf("%w: raid status %q", ErrReport, params)
	}
	synced, total, err := used(f[3])
	if err != nil {
		return MirrorStatus{}, fmt.Errorf("raid status %q: %w", params, err)
	}
	return MirrorStatus{Legs: int(legs), Failed: strings.Count(f[2], "D"), Synced: synced * sectorSize, Total: total * sectorSize}, nil
}

// ActivateDegraded is Activate for a mirror, or a thin in a mirrored pool, whose
// VG lacks a drive: LVM refuses it to who does not ask for it. It must not be
// called for anything else, which would have holes. Only what agrees with itself
// becomes active: the kernel refuses a leg that was not in sync. One command.
func (l *LVM) ActivateDegraded(ctx context.Context, vg VG, lv string) error {
	return l.activate(ctx, vg, lv, "--activationmode", "partial")
}

// Refresh loads the devices of an active LV anew. A mirror, or a mirrored pool,
// gets its legs: a drive that was pulled out and is back is used again, and what
// it missed is copied to it in the background. What a command that was killed has
// left suspended goes on. One command.
func (l *LVM) Refresh(ctx context.Context, vg VG, lv string) error {
	path, err := vg.path(lv)
	if err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	if err := l.toggle(ctx, vg, "lvchange", "--refresh", path); err != nil {
		return fmt.Errorf("refresh %s: %w", path, err)
	}
	return nil
}

// AddDrive makes a blank drive, which must be among the VG's Devices, a PV of
// the VG. A drive of the VG that is away is taken for lost from then on. One
// command.
func (l *LVM) AddDrive(ctx context.Context, vg VG, drive string, metadataSize int64) error {
	if err := errors.Join(ValidVG(vg.Name), checkDevices([]string{drive})); err != nil {
		return fmt.Errorf("add a drive: %w", err)
	}
	if metadataSize <= 0 || metadataSize%sectorSize != 0 {
		return fmt.Errorf("add drive %s to VG %s: %w: metadata area of %d bytes", drive, vg.Name, ErrInvalid, metadataSize)
	}
	if err := l.change(ctx, vg, "vgextend", "--metadatasize", sizeArg(metadataSize), vg.Name, drive); err != nil {
		return fmt.Errorf("add drive %s to VG %s: %w", drive, vg.Name, err)
	}
	return nil
}

// ReplaceLeg makes a new leg of an active mirror on drive in the place of the
// one whose drive is lost, and has it filled in the background. For a pool the
// mirrors are MirroredPoolParts. A mirror that lacks none is left as it is. One
// command.
func (l *LVM) ReplaceLeg(ctx context.Context, vg VG, lv, drive string) error {
	path, err := vg.path(lv)
	if err == nil {
		err = checkDevices([]string{drive})
	}
	if err != nil {
		return fmt.Errorf("replace a leg: %w", err)
	}
	// --yes: the question is whether a whole leg may be copied.
	err = l.change(ctx, vg, "lvconvert", "--yes", "--repair", path, drive)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("replace the lost leg of %s by one on %s: %w", path, drive, err)
	}
	return nil
}

// spareSuffix ends the name of the LV that LVM keeps to repair pools with.
const spareSuffix = "_pmspare"

// Spare is the VG's spare for the metadata of pools. ok is false without one.
func (r VGReport) Spare() (lv LV, ok bool) {
	for _, lv := range r.LVs {
		if strings.HasSuffix(lv.Name, spareSuffix) {
			return lv, true
		}
	}
	return LV{}, false
}

// RemoveSpare removes the spare, which holds nothing; ExtendPoolMetadata makes
// another. One command.
func (l *LVM) RemoveSpare(ctx context.Context, vg VG, lv string) error {
	path, err := vg.path(lv)
	if err == nil && !strings.HasSuffix(lv, spareSuffix) {
		err = fmt.Errorf("%w: %s is no spare", ErrInvalid, lv)
	}
	if err != nil {
		return fmt.Errorf("remove the spare: %w", err)
	}
	// --yes: the question is whether pools may be without it.
	if err := l.change(ctx, vg, "lvremove", "--yes", path); err != nil {
		return fmt.Errorf("remove the spare %s: %w", path, err)
	}
	return nil
}

// RemoveMissing takes the drives that are away, and hold nothing of any LV any
// more, out of the VG. With an LV that still has a part on one of them it is
// ErrMissingDevice, and no LV is touched. One command.
func (l *LVM) RemoveMissing(ctx context.Context, vg VG) error {
	if err := ValidVG(vg.Name); err != nil {
		return fmt.Errorf("remove missing drives: %w", err)
	}
	// Never with --force: that removes LVs.
	if err := l.change(ctx, vg, "vgreduce", "--removemissing", vg.Name); err != nil {
		return fmt.Errorf("remove the missing drives of VG %s: %w", vg.Name, err)
	}
	return nil
}

// RestoreMissing has LVM believe in a drive again that is back and that it took
// for lost, since the VG was changed without it. A drive that it believes in is
// left as it is. One command.
func (l *LVM) RestoreMissing(ctx context.Context, vg VG, drive string) error {
	if err := errors.Join(ValidVG(vg.Name), checkDevices([]string{drive})); err != nil {
		return fmt.Errorf("restore a drive: %w", err)
	}
	err := l.change(ctx, vg, "vgextend", "--restoremissing", vg.Name, drive)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("restore drive %s of VG %s: %w", drive, vg.Name, err)
	}
	return nil
}

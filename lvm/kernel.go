package lvm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/lvme/lvme/internal/dm"
)

// PoolStatus is how the kernel sees a pool that is active.
type PoolStatus struct {
	TransactionID int64
	// MetaUsed and MetaTotal count blocks of 4 KiB.
	MetaUsed, MetaTotal int64
	// DataUsed and DataTotal count chunks.
	DataUsed, DataTotal int64
	// HeldRoot says that somebody holds a snapshot of the metadata.
	HeldRoot bool
	Mode     PoolMode
	// NeedsCheck says that the metadata must be repaired before the next use.
	NeedsCheck bool
	// NoSpaceError says that writes fail, rather than wait, when it is full.
	NoSpaceError bool
}

// PoolMode is what a pool can do at the moment.
type PoolMode string

// The modes of a pool, in the kernel's words.
const (
	PoolWritable  PoolMode = "rw"
	PoolReadOnly  PoolMode = "ro"
	PoolOutOfData PoolMode = "out_of_data_space"
	// PoolFailed tells nothing else: the counts of such a pool are all 0.
	PoolFailed PoolMode = "Fail"
)

// DevicePath is the node of an active LV.
func DevicePath(vg, lv string) string { return dm.Path(dm.DeviceName(vg, lv)) }

// ThinMapped is how many bytes of its pool an active thin has mapped, without
// starting a program. A thin that was never written must say 0: see
// CreateThin. An inactive one is dm.ErrNotFound.
func (l *LVM) ThinMapped(ctx context.Context, vg, lv string) (int64, error) {
	targets, err := l.status(ctx, dm.DeviceName(vg, lv))
	if err != nil {
		return 0, fmt.Errorf("mapped bytes of %s/%s: %w", vg, lv, err)
	}
	if len(targets) != 1 || targets[0].Type != "thin" {
		return 0, fmt.Errorf("mapped bytes of %s/%s: %w: its device is no thin: %v", vg, lv, ErrReport, targets)
	}
	n, err := parseThin(targets[0].Params)
	if err != nil {
		return 0, fmt.Errorf("mapped bytes of %s/%s: %w", vg, lv, err)
	}
	return n, nil
}

// PoolStatus is the kernel's view of an active pool, without starting a
// program. An inactive one is dm.ErrNotFound.
func (l *LVM) PoolStatus(ctx context.Context, vg, pool string) (PoolStatus, error) {
	// LVM puts the pool's target below a layer of its own once it has a thin.
	targets, err := l.status(ctx, dm.DeviceName(vg, pool, "tpool"))
	if errors.Is(err, dm.ErrNotFound) {
		targets, err = l.status(ctx, dm.DeviceName(vg, pool))
	}
	var status PoolStatus
	if err == nil {
		status, err = poolTarget(targets)
	}
	if err != nil {
		return PoolStatus{}, fmt.Errorf("status of pool %s/%s: %w", vg, pool, err)
	}
	return status, nil
}

// untouched says whether an active pool has had no thin since it was switched
// on, and whether the kernel finds nothing wrong with it.
func (l *LVM) untouched(ctx context.Context, vg, pool string) bool {
	targets, err := l.status(ctx, dm.DeviceName(vg, pool)) // without LVM's layer
	if err != nil {
		return false
	}
	s, err := poolTarget(targets)
	return err == nil && s.Mode == PoolWritable && !s.NeedsCheck
}

// DeviceInfo is the kernel's view of an active LV's device: its number, who
// has it open, whether it is suspended. An inactive one is dm.ErrNotFound.
func (l *LVM) DeviceInfo(ctx context.Context, vg, lv string) (dm.Info, error) {
	return l.kernel.Info(ctx, dm.DeviceName(vg, lv))
}

// poolTarget is the status of a device that is a pool.
func poolTarget(targets []dm.Target) (PoolStatus, error) {
	if len(targets) != 1 || targets[0].Type != "thin-pool" {
		return PoolStatus{}, fmt.Errorf("%w: its device is no thin pool: %v", ErrReport, targets)
	}
	return parsePool(targets[0].Params)
}

// parseThin reads "<mapped sectors> <highest mapped sector>", where the second
// is "-" if nothing is mapped, and gives bytes. The line is from
// Documentation/admin-guide/device-mapper/thin-provisioning.rst.
func parseThin(params string) (int64, error) {
	f := strings.Fields(params)
	if len(f) != 2 {
		return 0, fmt.Errorf("%w: thin status %q", ErrReport, params)
	}
	sectors, err := count(f[0])
	if err != nil {
		return 0, fmt.Errorf("thin status %q: %w", params, err)
	}
	if (f[1] == "-") != (sectors == 0) {
		return 0, fmt.Errorf("%w: thin status %q", ErrReport, params)
	}
	if f[1] != "-" {
		if _, err := count(f[1]); err != nil {
			return 0, fmt.Errorf("thin status %q: %w", params, err)
		}
	}
	return sectors * sectorSize, nil
}

// parsePool reads "<transaction id> <used>/<total metadata blocks>
// <used>/<total data blocks> <held root or -> <mode> <discards>
// <when full> <needs_check or -> <metadata low water mark>", or "Fail" or
// "Error" alone. Words beyond those are for a later kernel.
func parsePool(params string) (PoolStatus, error) {
	f := strings.Fields(params)
	if len(f) == 1 && (f[0] == "Fail" || f[0] == "Error") {
		return PoolStatus{Mode: PoolFailed}, nil
	}
	if len(f) < 8 {
		return PoolStatus{}, fmt.Errorf("%w: pool status %q", ErrReport, params)
	}
	s := PoolStatus{HeldRoot: f[3] != "-", Mode: PoolMode(f[4]), NeedsCheck: f[7] == "needs_check", NoSpaceError: f[6] == "error_if_no_space"}
	var err1, err2, err3 error
	s.TransactionID, err1 = count(f[0])
	s.MetaUsed, s.MetaTotal, err2 = used(f[1])
	s.DataUsed, s.DataTotal, err3 = used(f[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return PoolStatus{}, fmt.Errorf("pool status %q: %w", params, err)
	}
	switch s.Mode {
	case PoolWritable, PoolReadOnly, PoolOutOfData:
	default:
		return PoolStatus{}, fmt.Errorf("%w: pool status %q: mode", ErrReport, params)
	}
	if !s.NoSpaceError && f[6] != "queue_if_no_space" || !s.NeedsCheck && f[7] != "-" {
		return PoolStatus{}, fmt.Errorf("%w: pool status %q", ErrReport, params)
	}
	return s, nil
}

// used reads "<used>/<total>".
func used(s string) (n, total int64, err error) {
	a, b, found := strings.Cut(s, "/")
	if !found {
		return 0, 0, fmt.Errorf("%w: %q is not used/total", ErrReport, s)
	}
	n, err1 := count(a)
	total, err2 := count(b)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, err
	}
	if n > total {
		return 0, 0, fmt.Errorf("%w: %q uses more than there is", ErrReport, s)
	}
	return n, total, nil
}

// count is a number of sectors or blocks, small enough to be counted in bytes.
func count(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > math.MaxInt64/sectorSize {
		return 0, fmt.Errorf("%w: %q is not a count", ErrReport, s)
	}
	return int64(n), nil
}

// DeviceNames are the devices that the kernel has of a VG, those of hidden LVs
// included.
func (l *LVM) DeviceNames(ctx context.Context, vg string) ([]string, error) {
	all, err := l.kernel.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("devices of VG %s: %w", vg, err)
	}
	prefix := dm.DeviceName(vg, "")
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, prefix) }), nil
}

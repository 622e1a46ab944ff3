package lvm

import (
	"context"

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
	PoolFailed    PoolMode = "Fail"
)

// DevicePath is the node of an active LV.
func DevicePath(vg, lv string) string { return dm.Dir + "/" + dm.DeviceName(vg, lv) }

// ThinMapped is how many bytes of its pool an active thin has mapped, without
// starting a program. A thin that was never written must say 0: see
// CreateThin. An inactive one is dm.ErrNotFound.
func (l *LVM) ThinMapped(ctx context.Context, vg, lv string) (int64, error) { return 0, errTODO }

// PoolStatus is the kernel's view of an active pool, without starting a
// program. An inactive one is dm.ErrNotFound.
func (l *LVM) PoolStatus(ctx context.Context, vg, pool string) (PoolStatus, error) {
	return PoolStatus{}, errTODO
}

// DeviceInfo is the kernel's view of an active LV's device: its number, who
// has it open, whether it is suspended. An inactive one is dm.ErrNotFound.
func (l *LVM) DeviceInfo(ctx context.Context, vg, lv string) (dm.Info, error) {
	return l.kernel.Info(ctx, dm.DeviceName(vg, lv))
}

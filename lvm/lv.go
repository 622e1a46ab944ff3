package lvm

import (
	"context"
	"errors"
)

var errTODO = errors.New("not written yet")

// Extend grows an LV or a pool's data to size bytes. An LV that already has
// that size or more is left alone, without error. The filesystem in it is not
// touched. What a thick LV gains is not wiped.
func (l *LVM) Extend(ctx context.Context, vg VG, lv string, size int64) error { return errTODO }

// Remove deletes an inactive LV, or an active one that nobody has open: an
// open one is ErrInUse. Its snapshots live on. A pool that still has thins is
// ErrInUse too. ErrNotFound is for the caller to take as done.
func (l *LVM) Remove(ctx context.Context, vg VG, lv string) error { return errTODO }

// Rename gives an LV another name within its VG.
func (l *LVM) Rename(ctx context.Context, vg VG, from, to string) error { return errTODO }

// ChangeTags adds and removes tags of an LV, both in one command. A tag that
// is already there, or already gone, is no error.
func (l *LVM) ChangeTags(ctx context.Context, vg VG, lv string, add, del []string) error {
	return errTODO
}

// Activate makes an LV's or a pool's device appear, whatever its activation
// flags say. It believes the device and not the exit code: nil means that the
// kernel has a live device with a node under /dev/mapper.
func (l *LVM) Activate(ctx context.Context, vg VG, lv string) error { return errTODO }

// Deactivate makes the device go away. One that somebody has open is ErrInUse;
// one that is not active is no error.
func (l *LVM) Deactivate(ctx context.Context, vg VG, lv string) error { return errTODO }

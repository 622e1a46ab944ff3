package lvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
)

// ThinDevice is one thin as the kernel's pool knows it.
type ThinDevice struct {
	// ID is its number within the pool, Mapped how many bytes it has mapped.
	ID, Mapped int64
}

// ThinDevices lists the thins of an active pool by what its metadata say, those
// that LVM does not know included. It holds a snapshot of the metadata for as
// long as it reads. When somebody else holds one it is ErrInUse: there can be one
// only. Three programs, none of which changes the pool's content.
//
// A process that dies in between leaves the snapshot to ReleaseMetadata.
func (l *LVM) ThinDevices(ctx context.Context, vg VG, pool string) (thins []ThinDevice, err error) {
	if _, err := vg.path(pool); err != nil {
		return nil, fmt.Errorf("thins of the pool: %w", err)
	}
	if err := l.poolMessage(ctx, vg, pool, "reserve_metadata_snap"); err != nil {
		return nil, fmt.Errorf("thins of pool %s/%s: %w", vg.Name, pool, err)
	}
	defer func() { err = errors.Join(err, l.ReleaseMetadata(context.WithoutCancel(ctx), vg, pool)) }()
	out, err := l.tool(ctx, false, "thin_ls", "-m", "--no-headers", "-o", "DEV,MAPPED_BYTES", DevicePath(vg.Name, pool+"_tmeta"))
	if err == nil {
		thins, err = parseThinDevices(out)
	}
	if err != nil {
		return nil, fmt.Errorf("thins of pool %s/%s: %w", vg.Name, pool, err)
	}
	return thins, nil
}

// ReleaseMetadata ends a snapshot of a pool's metadata that nobody reads any
// more. One program.
func (l *LVM) ReleaseMetadata(ctx context.Context, vg VG, pool string) error {
	if err := l.poolMessage(ctx, vg, pool, "release_metadata_snap"); err != nil {
		return fmt.Errorf("release the metadata snapshot of pool %s/%s: %w", vg.Name, pool, err)
	}
	return nil
}

// CompleteChange has an active pool, and its drives, count a change of it that it
// has made already: LVM tells a pool what to change and then how many changes that
// makes, and an end between the two leaves a pool whose every change LVM refuses.
// It fails unless the pool counts from. One program.
func (l *LVM) CompleteChange(ctx context.Context, vg VG, pool string, from int64) error {
	err := l.poolMessage(ctx, vg, pool, fmt.Sprintf("set_transaction_id %d %d", from, from+1))
	if err == nil {
		err = l.Flush(ctx, vg.Devices)
	}
	if err != nil {
		return fmt.Errorf("complete change %d of pool %s/%s: %w", from+1, vg.Name, pool, err)
	}
	return nil
}

// PoolTarget is the name of the device whose target an active pool is.
func (l *LVM) PoolTarget(ctx context.Context, vg, pool string) (string, error) {
	name := dm.DeviceName(vg, pool, "tpool")
	_, err := l.kernel.Info(ctx, name)
	if errors.Is(err, dm.ErrNotFound) {
		name = dm.DeviceName(vg, pool)
		_, err = l.kernel.Info(ctx, name)
	}
	return name, err
}

func (l *LVM) poolMessage(ctx context.Context, vg VG, pool, message string) error {
	name, err := l.PoolTarget(ctx, vg.Name, pool)
	if err == nil {
		_, err = l.tool(ctx, true, "dmsetup", "message", name, "0", message)
	}
	return err
}

// toolPackage is what to install where a program beside LVM is missing.
var toolPackage = map[string]string{
	"dmsetup": "dmsetup (device-mapper on Fedora and Red Hat)",
	"thin_ls": "thin-provisioning-tools (device-mapper-persistent-data on Fedora and Red Hat)",
}

// tool runs a program that is not LVM's own.
func (l *LVM) tool(ctx context.Context, changes bool, name string, args ...string) ([]byte, error) {
	res, err := l.runner.Run(ctx, run.Cmd{Name: name, Args: args, Changes: changes})
	switch {
	case errors.Is(err, run.ErrNotInstalled):
		return nil, fmt.Errorf("%w, install the package %s: %w", ErrNotInstalled, toolPackage[name], err)
	case err != nil:
		return nil, err
	case res.Code != 0 && bytes.Contains(res.Stderr, []byte("Device or resource busy")):
		return nil, fmt.Errorf("%w: %s %s: exit %d: %s", ErrInUse, name, strings.Join(args, " "), res.Code, bytes.TrimSpace(res.Stderr))
	case res.Code != 0:
		return nil, fmt.Errorf("%s %s: exit %d: %s", name, strings.Join(args, " "), res.Code, bytes.TrimSpace(res.Stderr))
	}
	return res.Stdout, nil
}

// parseThinDevices reads lines of "<number> <bytes>". What the program tells of
// its progress does not begin with a number.
func parseThinDevices(out []byte) ([]ThinDevice, error) {
	var thins []ThinDevice
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] < '0' || line[0] > '9' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("%w: thin_ls said %q", ErrReport, line)
		}
		id, err1 := count(f[0])
		mapped, err2 := count(f[1])
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("thin_ls said %q: %w", line, err)
		}
		thins = append(thins, ThinDevice{ID: id, Mapped: mapped})
	}
	return thins, nil
}

// PoolRecord is what stands at the beginning of a pool's metadata. It is on the
// drive, so that it can be read of a pool that does not become active.
type PoolRecord struct {
	TransactionID int64
	NeedsCheck    bool
	HeldRoot      bool
}

// The superblock of dm-thin: drivers/md/dm-thin-metadata.c, struct
// thin_disk_superblock.
const (
	superblockBytes = 4096
	superblockMagic = 27022010
)

// ErrNoRecord: where the pool's metadata should begin there are none.
var ErrNoRecord = errors.New("no thin pool metadata")

// PoolRecord reads the beginning of a pool's metadata from the drive that the
// report says they are on. No program; of an active pool it is as of its last
// commit.
func (l *LVM) PoolRecord(ctx context.Context, r VGReport, pool string) (PoolRecord, error) {
	for _, pv := range r.PVs {
		for _, seg := range pv.Segments {
			first := seg.LV == pool+"_tmeta" || seg.LV == pool+"_tmeta_rimage_0"
			if !first || pv.Missing {
				continue
			}
			b, err := l.kernel.Read(ctx, pv.Device, pv.PEStart+seg.Start*r.ExtentSize, superblockBytes)
			if err != nil {
				return PoolRecord{}, fmt.Errorf("metadata of pool %s/%s: %w", r.Name, pool, err)
			}
			return parseSuperblock(b)
		}
	}
	return PoolRecord{}, fmt.Errorf("metadata of pool %s/%s: %w", r.Name, pool, ErrNotFound)
}

func parseSuperblock(b []byte) (PoolRecord, error) {
	if len(b) < 64 || binary.LittleEndian.Uint64(b[32:]) != superblockMagic {
		return PoolRecord{}, ErrNoRecord
	}
	return PoolRecord{
		TransactionID: int64(binary.LittleEndian.Uint64(b[48:]) &^ (1 << 63)),
		NeedsCheck:    binary.LittleEndian.Uint32(b[4:])&1 != 0,
		HeldRoot:      binary.LittleEndian.Uint64(b[56:]) != 0,
	}, nil
}

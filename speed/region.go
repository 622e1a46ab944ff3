package speed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lvme/lvme/internal/run"
)

// region is a part of a drive, in bytes.
type region struct {
	drive  device
	number string // the drive's, 259:0
	offset int64
	length int64
}

// region is the part of a drive that a thick volume is, if it is one part of one drive: the kernel's table of the volume says
// so. What LVM's metadata say does not count here.
func (k kernel) region(ctx context.Context, thick device) (region, error) {
	lines, err := k.table(ctx, thick.dm)
	if err != nil {
		return region{}, err
	}
	r, err := oneRegion(lines)
	if err != nil {
		return region{}, fmt.Errorf("%s: %w", thick.dm, err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(r.number, "%d:%d", &major, &minor); err != nil {
		return region{}, fmt.Errorf("%s lies on %q, which is no device's number: %w", thick.dm, r.number, err)
	}
	if r.drive, err = k.device(major, minor); err != nil {
		return region{}, fmt.Errorf("the drive of %s: %w", thick.dm, err)
	}
	if r.drive.dm != "" || !strings.HasPrefix(r.drive.name, "nvme") {
		return region{}, fmt.Errorf("%s lies on %s, which is no NVMe drive", thick.dm, r.drive.name)
	}
	return r, nil
}

var errNotOne = errors.New("it is not one part of one drive")

// oneRegion reads a table that has one line: 0 LENGTH linear DEVICE OFFSET.
func oneRegion(lines []tableLine) (region, error) {
	if len(lines) != 1 || lines[0].kind != "linear" || lines[0].start != 0 || len(lines[0].params) != 2 {
		return region{}, fmt.Errorf("%w: %v", errNotOne, lines)
	}
	offset, err := strconv.ParseInt(lines[0].params[1], 10, 64)
	if err != nil || offset <= 0 || lines[0].length <= 0 {
		return region{}, fmt.Errorf("%w: %v", errNotOne, lines)
	}
	return region{number: lines[0].params[0], offset: offset * sector, length: lines[0].length * sector}, nil
}

// store is a device that is read and written past the page cache.
type store interface {
	ReadAt(p []byte, offset int64) (int, error)
	WriteAt(p []byte, offset int64) (int, error)
}

// prove shows that the region of the drive is the volume: what is written to the volume's ends is read at the region's. It
// writes to the volume only.
func prove(volume, drive store, r region) error {
	for _, at := range []int64{0, r.length - page} {
		token, seen := buffer(page), buffer(page)
		_, _ = rand.Read(token) // never fails
		if _, err := volume.WriteAt(token, at); err != nil {
			return err
		}
		if _, err := drive.ReadAt(seen, r.offset+at); err != nil {
			return err
		}
		if !bytes.Equal(token, seen) {
			return fmt.Errorf("byte %d of %s does not show what was written to byte %d of the volume that lies there by its table: the drive is left alone",
				r.offset+at, r.drive.name, at)
		}
	}
	return nil
}

// proof finds the region of the thick volume and proves it.
func (b *bench) proof(ctx context.Context, v *made) (region, error) {
	r, err := b.kernel.region(ctx, v.device)
	if err != nil {
		return region{}, err
	}
	volume, err := b.host.open(v.path(), true)
	if err != nil {
		return region{}, err
	}
	defer volume.Close()
	if volume.number != v.number {
		return region{}, fmt.Errorf("%s is not the device that was published", v.path())
	}
	drive, err := b.host.open(r.path(), false)
	if err != nil {
		return region{}, err
	}
	defer drive.Close()
	if drive.number != r.number {
		return region{}, fmt.Errorf("%s is device %s and not %s, on which %s lies", r.path(), drive.number, r.number, v.device.dm)
	}
	return r, prove(volume, drive, r)
}

func (r region) path() string { return "/dev/" + r.drive.name }

// still says whether the volume still is that region. It is asked before each workload on the drive: LVM can move a volume
// while it is in use.
func (b *bench) still(ctx context.Context, v *made, r region) error {
	now, err := b.kernel.region(ctx, v.device)
	if err == nil && now != r {
		err = errors.New("it has moved")
	}
	if err != nil {
		return fmt.Errorf("the sectors of %s are no longer known to be its own: %w", v.device.dm, err)
	}
	return nil
}

// linearName is the device-mapper device that a run makes itself, linearUUID says that it is one of these.
const (
	linearName = "lvme-bench-linear"
	linearUUID = "LVME-BENCH"
)

// makeLinear makes a bare dm-linear on the region.
func (b *bench) makeLinear(ctx context.Context, r region) error {
	table := fmt.Sprintf("0 %d linear %s %d", r.length/sector, r.number, r.offset/sector)
	return b.dmsetup(ctx, "create", linearName, "--uuid", linearUUID, "--table", table)
}

// removeLinear takes it away, whoever has made it. No volume may be deleted before: the sectors are then somebody else's.
func (b *bench) removeLinear(ctx context.Context) error {
	res, err := b.host.Runner.Run(ctx, run.Cmd{Name: "dmsetup", Args: []string{"info", "--columns", "--noheadings", "--options", "name,uuid", "--separator", " "}})
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("list the device-mapper devices: exit code %d: %s", res.Code, bytes.TrimSpace(res.Stderr))
	}
	for line := range strings.Lines(string(res.Stdout)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == linearName && f[1] == linearUUID {
			return b.dmsetup(ctx, "remove", "--retry", linearName)
		}
	}
	return nil
}

func (b *bench) dmsetup(ctx context.Context, args ...string) error {
	c := run.Cmd{Name: "dmsetup", Args: args, Changes: true}
	res, err := b.host.Runner.Run(ctx, c)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", c, res.Code, bytes.TrimSpace(res.Stderr))
	}
	return err
}

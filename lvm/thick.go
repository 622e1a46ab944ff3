package lvm

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Layout is how a thick LV lies on its drives.
type Layout int

// The layouts of a thick LV. The zero value is Linear.
const (
	Linear Layout = iota
	Striped
	Mirrored
)

// String is the layout's word in LVM: its segment type.
func (l Layout) String() string { return [...]string{"linear", "striped", "raid1"}[l] }

// ThickSpec describes an LV that owns its extents.
type ThickSpec struct {
	Name string
	// Size is in bytes; LVM rounds it up: see Rounded.
	Size   int64
	Layout Layout
	// Stripes and StripeSize are for Striped.
	Stripes    int
	StripeSize int64
	Tags       []string
	// PVs are where it may be put; none means anywhere in the VG. Each is a
	// device, or runs of its extents as in /dev/nvme0n1:0-99:200-299.
	PVs []string
}

// Rounded is the size that LVM gives it in a VG of that extent size.
func (s ThickSpec) Rounded(extentSize int64) int64 {
	if s.Layout == Striped {
		return RoundUp(s.Size, extentSize*int64(s.Stripes))
	}
	return RoundUp(s.Size, extentSize)
}

// CreateThick makes a thick LV and leaves it inactive. Its blocks are as the
// extents' former owner left them: nothing is wiped. A Mirrored one begins to
// copy its first leg to its second at its first activation. One command.
func (l *LVM) CreateThick(ctx context.Context, vg VG, spec ThickSpec) error {
	if err := vg.newLV(spec.Name, spec.Size, spec.Tags); err != nil {
		return fmt.Errorf("create thick LV: %w", err)
	}
	layout, err := spec.layoutArgs()
	if err != nil {
		return fmt.Errorf("create thick LV %s: %w", spec.Name, err)
	}
	args := append([]string{"-an", "-Zn", "-Wn", "-L", sizeArg(spec.Size), "-n", spec.Name}, layout...)
	args = append(append(args, addTags(spec.Tags)...), vg.Name)
	args = append(args, spec.PVs...)
	if err := l.change(ctx, vg, "lvcreate", args...); err != nil {
		return fmt.Errorf("create thick LV %s/%s of %d bytes: %w", vg.Name, spec.Name, spec.Size, err)
	}
	return nil
}

func (s ThickSpec) layoutArgs() ([]string, error) {
	for _, pv := range s.PVs {
		if !strings.HasPrefix(pv, "/") {
			return nil, fmt.Errorf("%w: drive %q is not a path", ErrInvalid, pv)
		}
	}
	args := []string{"--type", s.Layout.String()}
	switch s.Layout {
	case Linear:
	case Mirrored:
		args = append(args, "-m", "1")
	case Striped:
		stripes, err := stripeArgs(s.Stripes, s.StripeSize)
		if err != nil {
			return nil, err
		}
		args = append(args, stripes...)
	}
	return args, nil
}

func stripeArgs(stripes int, size int64) ([]string, error) {
	if stripes < 2 || size < 4096 || size&(size-1) != 0 {
		return nil, fmt.Errorf("%w: %d stripes of %d bytes: at least 2, and a power of two from 4096 up", ErrInvalid, stripes, size)
	}
	return []string{"--stripes", strconv.Itoa(stripes), "--stripesize", sizeArg(size)}, nil
}

package lvm

import "context"

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
// extents' former owner left them: nothing is wiped.
func (l *LVM) CreateThick(ctx context.Context, vg VG, spec ThickSpec) error { return errTODO }

package lvm

import "context"

// VGSpec describes a VG to be made.
type VGSpec struct {
	Name string
	// Devices become its PVs. They must be blank: a signature on one of them
	// is ErrNotBlank, and nothing is wiped.
	Devices []string
	// MetadataSize is that of each PV's metadata area in bytes. It cannot be
	// changed later; 1 MiB describes about 1,100 LVs, 64 MiB many thousands.
	MetadataSize int64
	// ExtentSize is the unit of allocation in bytes; 0 is LVM's own, 4 MiB.
	ExtentSize int64
	Tags       []string
}

// CreateVG labels the drives and makes the VG in one command. Nothing in it
// will be activated by the host at boot.
func (l *LVM) CreateVG(ctx context.Context, spec VGSpec) error { return errTODO }

// RemoveVG removes an empty VG and then its drives' labels: two commands, which
// converge when called again. A VG with an LV in it is ErrInUse.
func (l *LVM) RemoveVG(ctx context.Context, vg VG) error { return errTODO }

// ChangeVGTags adds and removes tags of the VG itself, both in one command.
func (l *LVM) ChangeVGTags(ctx context.Context, vg VG, add, del []string) error { return errTODO }

// RenameVG gives the VG with that UUID another name. It is addressed by UUID
// since it is needed when two VGs have one name.
func (l *LVM) RenameVG(ctx context.Context, uuid, name string, devices []string) error {
	return errTODO
}

package volume

import (
	"fmt"
	"time"
)

// Type says how a volume's blocks are given to it.
type Type string

// The types of a volume.
const (
	// Thin volumes take blocks from a thin pool at first touch; they have
	// snapshots and clones.
	Thin Type = "thin"
	// Thick volumes own all their blocks from the start.
	Thick Type = "thick"
)

// Mode says how a volume is handed to its user.
type Mode string

// The modes of a volume.
const (
	Filesystem Mode = "filesystem"
	Block      Mode = "block"
)

// State says what is known of a volume's content. It only ever moves forward:
// fresh → formatting → formatted for a filesystem, fresh → raw for a block
// volume. A clone starts in the state of its source.
type State string

// The states of a volume's content.
const (
	// Fresh: nobody ever opened the volume; the kernel must map nothing.
	Fresh State = "fresh"
	// Formatting: mkfs was started and may be started again; nobody got it.
	Formatting State = "formatting"
	// Formatted: it holds a filesystem and is never formatted again.
	Formatted State = "formatted"
	// Raw: it was handed out as a block device; its content is its user's.
	Raw State = "raw"
	// Quarantined: it mapped blocks before anybody wrote to it. They may be
	// another tenant's, so it is never handed out.
	Quarantined State = "quarantined"
)

// Volume is one volume as LVM has it.
type Volume struct {
	Key Key
	// Name is the name its maker gave it, at most 128 bytes.
	Name string
	// Class is the drive class of its pool.
	Class string
	Type  Type
	Mode  Mode
	State State
	// FSType is the filesystem chosen for it (ext4, xfs, btrfs), empty for a
	// block volume that was never formatted.
	FSType string
	// Profile is the name of its profile.
	Profile string
	// MkfsOptions are extra arguments for mkfs, already checked.
	MkfsOptions []string
	// Bytes is the size of the device, exactly as LVM made it.
	Bytes int64
	// Source is the key of the volume or snapshot it was made from, the zero
	// Key for an empty one. The source may be gone.
	Source Key
	// Created is when it was made, to the second.
	Created time.Time
	// Active says that its device node exists.
	Active bool
}

// Snapshot is one snapshot as LVM has it.
type Snapshot struct {
	Key Key
	// Name is the name its maker gave it, at most 128 bytes.
	Name string
	// Source is the volume it was taken of, which may be gone.
	Source Key
	Class  string
	Mode   Mode
	State  State
	FSType string
	// Profile is its source's, and what a restore takes when it names none.
	Profile string
	// Bytes is the smallest size of a volume restored from it.
	Bytes int64
	// Reserved is what it counts against its pool, in bytes: what its source
	// had mapped when it was taken.
	Reserved int64
	Created  time.Time
}

// Range is the wanted size of a volume in bytes. Zero means not given.
type Range struct {
	Required int64
	Limit    int64
}

// String is the range for a person.
func (r Range) String() string {
	if r.Limit == 0 {
		return fmt.Sprintf("%d or more", r.Required)
	}
	return fmt.Sprintf("%d to %d", r.Required, r.Limit)
}

// CreateSpec says what volume is wanted.
type CreateSpec struct {
	Name string
	// Class is the drive class, empty for the default class.
	Class string
	// Type is empty for the profile's.
	Type Type
	Mode Mode
	// FSType is empty for the profile's.
	FSType string
	// Profile is empty for "general".
	Profile     string
	MkfsOptions []string
	Size        Range
	// Source is the volume or snapshot to copy, the zero Key for an empty volume.
	Source Key
	// AllowModeChange lets a filesystem volume be made from a raw block
	// source, or the other way round.
	AllowModeChange bool
}

// SnapshotSpec says what snapshot is wanted.
type SnapshotSpec struct {
	Name   string
	Source Key
}

// Capacity is what a class can still take, in bytes.
type Capacity struct {
	// Available is the sum over the pools of the class.
	Available int64
	// MaxVolume is the largest single volume that fits now, 0 for none.
	MaxVolume int64
	// MinVolume is the smallest volume that is made.
	MinVolume int64
}

// Device is an active volume's device.
type Device struct {
	// Path is the device node, below /dev/mapper.
	Path string
	// Volume is the record of the volume as of this activation.
	Volume Volume
}

// Pool is one VG of the store and the thin pool in it.
type Pool struct {
	// VG is the name of the VG, ID its short id.
	VG, ID string
	Class  string
	Number int
	Layout string
	// Drives names the drives that hold it.
	Drives []PoolDrive
	// Away says that its drives are not in this node now; all figures are then 0.
	Away bool
	// Bytes is the size of the VG, ThinBytes that of its thin pool.
	Bytes, ThinBytes int64
	// ThinUsed is what the thin pool holds; ThinCommitted is what its volumes
	// and snapshots may come to hold.
	ThinUsed, ThinCommitted int64
	// MetadataBytes and MetadataUsed are the pool's metadata.
	MetadataBytes, MetadataUsed int64
	// ThickBytes is the share for thick volumes, ThickUsed what they take.
	ThickBytes, ThickUsed int64
	// Wiping is what deleted thick volumes still take until they are wiped, and
	// the thick share of a new pool.
	Wiping int64
	// Mirror is how far the legs of a mirrored pool agree.
	Mirror Mirror
	// Strange are LVs in the VG that lvme did not make; they are left alone.
	Strange []string
	// Volumes and Snapshots count what is in it.
	Volumes, Snapshots int
	// Reserve is what is left of the group's reserve, Lent what the thin pool has
	// of it: raw bytes.
	Reserve, Lent int64
	// Problem says in one line why the pool takes no new volumes, "" for none.
	Problem string
	// Warning says in one line what will become a problem, "" for nothing.
	Warning string
}

// PoolDrive names one drive of a pool.
type PoolDrive struct {
	// ID is the drive's stable identity, Path where it is now ("" if away).
	ID, Path, Model, Serial string
	Bytes                   int64
}

package volume

import (
	"maps"
	"slices"
	"strings"
)

// Profile is a set of choices for one kind of workload. docs/parameters.md
// gives the reason of each.
type Profile struct {
	Name string
	// Type and FSType are what a volume gets that names none.
	Type   Type
	FSType string
	// ReadAheadKiB is the device's read-ahead in KiB, 0 for the kernel's.
	ReadAheadKiB int
	// mkfs and mount options by filesystem; "" holds those for every one.
	mkfs, mount map[string][]string
}

// DefaultProfile is the profile of a volume that names none.
const DefaultProfile = "general"

// baseMkfs are the options for every volume. A volume is proven to read as
// zeros before mkfs, so mkfs neither discards nor zeroes: ext4's inode tables
// and journal, zeroed, would take 2 % of a thin volume before its first file.
var baseMkfs = map[string][]string{
	"ext4":  {"-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"},
	"xfs":   {"-K"},
	"btrfs": {"-K"},
}

// baseMount are the mount options for every volume. With noinit_itable the
// kernel does not zero in the background what mkfs left out.
var baseMount = map[string][]string{"ext4": {"noinit_itable"}}

// extLarge spends inodes for large files only and keeps no blocks back for
// root, as the documentation of HDFS asks of data drives.
var extLarge = []string{"-m", "0", "-T", "largefile"}

var profiles = map[string]Profile{
	"general": {
		Name: "general", Type: Thin, FSType: "ext4",
		mount: map[string][]string{"": {"noatime"}},
	},
	"kafka": {
		Name: "kafka", Type: Thick, FSType: "xfs", ReadAheadKiB: 1024,
		mount: map[string][]string{"": {"noatime"}, "xfs": {"largeio"}},
		mkfs:  map[string][]string{"ext4": extLarge},
	},
	"hdfs": {
		Name: "hdfs", Type: Thick, FSType: "xfs", ReadAheadKiB: 4096,
		mount: map[string][]string{"": {"noatime"}, "xfs": {"largeio"}},
		mkfs:  map[string][]string{"ext4": extLarge},
	},
	"training": {
		Name: "training", Type: Thick, FSType: "xfs", ReadAheadKiB: 8192,
		mount: map[string][]string{"": {"noatime"}, "xfs": {"largeio"}},
		mkfs:  map[string][]string{"ext4": extLarge},
	},
	"database": {
		Name: "database", Type: Thick, FSType: "xfs", ReadAheadKiB: 64,
		mount: map[string][]string{"": {"noatime"}},
	},
}

// LookupProfile returns the profile of that name, "" for the default.
func LookupProfile(name string) (Profile, error) {
	if name == "" {
		name = DefaultProfile
	}
	p, ok := profiles[name]
	if !ok {
		return Profile{}, Invalid("parameters.profile", name, "one of "+strings.Join(ProfileNames(), ", "))
	}
	return p, nil
}

// ProfileNames lists the profiles in alphabetical order.
func ProfileNames() []string { return slices.Sorted(maps.Keys(profiles)) }

// MkfsOptions are the arguments for mkfs of that filesystem.
func (p Profile) MkfsOptions(fsType string) []string {
	return slices.Concat(baseMkfs[fsType], p.mkfs[fsType])
}

// MountOptions are the options to mount that filesystem with.
func (p Profile) MountOptions(fsType string) []string {
	return slices.Concat(baseMount[fsType], p.mount[""], p.mount[fsType])
}

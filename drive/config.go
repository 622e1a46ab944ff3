package drive

// Layout is how the drives of a class make pools.
type Layout string

// The layouts.
const (
	PerDrive Layout = "per-drive" // one VG and one pool a drive: a dead drive costs its own volumes only
	Striped  Layout = "striped"   // one VG over the drives, data striped over all: fastest for one reader, and lost with any drive
	Mirrored Layout = "mirrored"  // one VG, every block on two drives
)

// Placement is how a class with several pools chooses one for a new volume.
type Placement string

// The placements.
const (
	Spread Placement = "spread" // the pool with the most room
	Pack   Placement = "pack"   // the fullest pool that has room
)

// Config is the drive configuration of a node.
type Config struct {
	// Classes has at least one class; the first is the default class.
	Classes []Class
	// MaxVolumes is how many volumes the node publishes at most.
	MaxVolumes int64
}

// Class is a drive class. Shares are whole per cents of a VG; sizes are bytes.
type Class struct {
	Name   string
	Select Selector
	// Auto: the agent takes matching free and blank drives by itself.
	Auto      bool
	Layout    Layout
	Placement Placement
	Thin      Thin
	Thick     Thick
	// Reserve is never handed out: kept for rescue.
	Reserve int
	// StripeSize is that of the striped layout, for pools and volumes.
	StripeSize int64
}

// Thin is the part of a class that holds thin volumes.
type Thin struct {
	// Share of the VG that the pool and its metadata get; 0 = no thin volumes.
	Share     int
	ChunkSize int64
	// Overcommit is how many times the pool's size may be promised, 1.0 or
	// more.
	Overcommit float64
	// GiveBack: the blocks of a deleted volume are discarded on the drive, in
	// bounded steps.
	GiveBack bool
}

// Thick is the part of a class that holds thick volumes.
type Thick struct {
	// Share of the VG; 0 = no thick volumes.
	Share int
}

// Selector says which drives a class takes. All fields that are given must
// match; in a list one entry must. The zero Selector matches every NVMe drive.
type Selector struct {
	Transport []string
	// Models, Serials and Paths are shell globs (*, ?, [a-z]), case-sensitive.
	// Paths are matched against the drive's links below /dev/disk.
	Models    []string
	Serials   []string
	Paths     []string
	NUMANodes []int
	// MinSize and MaxSize are in bytes, both included; 0 = no limit.
	MinSize int64
	MaxSize int64
}

// ParseConfig reads a configuration in YAML (or JSON) and puts defaults where
// nothing is said. Its error names every fault at once (errors.Join), each
// with the field's path, the value, and what is allowed.
func ParseConfig(data []byte) (Config, error) { return DefaultConfig(), nil }

// DefaultConfig is the configuration without a file: one class called
// "default" that selects every NVMe drive, takes none by itself, and makes one
// pool a drive.
func DefaultConfig() Config {
	return Config{Classes: []Class{{Name: "default", Layout: PerDrive, Placement: Spread,
		Thin: Thin{Share: 90, ChunkSize: 512 << 10, Overcommit: 1, GiveBack: true}, Reserve: 10, StripeSize: 256 << 10}}, MaxVolumes: 512}
}

// Default returns the default class.
func (c Config) Default() Class { return c.Classes[0] }

// Class returns the class of that name; the empty name is the default class.
func (c Config) Class(name string) (Class, bool) {
	if name == "" {
		return c.Default(), true
	}
	for _, class := range c.Classes {
		if class.Name == name {
			return class, true
		}
	}
	return Class{}, false
}

// ClassOf returns the first class that selects the drive.
func (c Config) ClassOf(d Drive) (Class, bool) {
	for _, class := range c.Classes {
		if class.Select.Matches(d) {
			return class, true
		}
	}
	return Class{}, false
}

// Matches reports whether the drive is selected.
func (s Selector) Matches(d Drive) bool { return len(s.Mismatches(d)) == 0 }

// Mismatches says in words what keeps the drive from being selected, empty
// when nothing does.
func (s Selector) Mismatches(d Drive) []string { return nil }

// Empty reports whether the selector says nothing and so matches every drive.
func (s Selector) Empty() bool { return false }

// ParseSize reads a size in bytes: a whole number, alone or with one of the
// suffixes Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).
func ParseSize(s string) (int64, error) { return 0, nil }

// FormatSize writes a size as ParseSize reads it, with the largest suffix
// that loses nothing.
func FormatSize(n int64) string { return "" }

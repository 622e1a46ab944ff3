package drive

import "time"

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
	// TrimEvery is how often staged filesystems give back what they do not use;
	// 0 for never.
	TrimEvery time.Duration
}

// Class is a drive class. Shares are whole per cents of a VG and together with
// Reserve at most 100; sizes are bytes.
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

const (
	kib int64 = 1 << 10
	gib int64 = 1 << 30
)

// Limits of the configuration.
const (
	maxConfigBytes = 1 << 20
	maxClassName   = 32
	maxVolumes     = 10000
	maxOvercommit  = 100

	chunkUnit = 64 * kib // of dm-thin, and its smallest chunk
	maxChunk  = 1 * gib  // of dm-thin
	minTrim   = time.Hour

	minStripe = 4 * kib
	maxStripe = 1 * gib
)

// defaultClass is what a class has where its configuration says nothing, and
// the one place where that is decided.
var defaultClass = Class{
	Name:      "default",
	Layout:    PerDrive,
	Placement: Spread,
	Thin: Thin{
		// What thick.share and reserve leave; this when neither is given.
		Share: 90,
		// LVM's own default grows with the pool, to 8 MiB, and then every small
		// write after a snapshot copies 8 MiB.
		ChunkSize:  512 * kib,
		Overcommit: 1,
		GiveBack:   true,
	},
	Thick:      Thick{Share: 0},
	Reserve:    10,
	StripeSize: 256 * kib,
}

const (
	defaultMaxVolumes = 512
	// defaultTrim is what fstrim.timer has.
	defaultTrim = 7 * 24 * time.Hour
)

// DefaultConfig is the configuration without a file: one class called
// "default" that selects every NVMe drive, takes none by itself, and makes one
// pool a drive.
func DefaultConfig() Config {
	return Config{Classes: []Class{defaultClass}, MaxVolumes: defaultMaxVolumes, TrimEvery: defaultTrim}
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

package lvm

import "time"

// Report is what LVM finds on a set of devices.
type Report struct {
	VGs []VGReport
	// Orphans are devices with a PV label that belong to no VG.
	Orphans []PV
}

// VGReport is everything LVM knows of one VG at one moment.
type VGReport struct {
	Name, UUID string
	Tags       []string
	// Size and Free are of the extents; ExtentSize is their unit.
	Size, Free, ExtentSize int64
	// MetadataSize is the smallest metadata area of its PVs. MetadataFree is
	// by how much the VG's description may still grow: it can fill half of the
	// area, since LVM keeps the old text while it writes the new one.
	MetadataSize, MetadataFree int64
	// Seqno grows with each change of the VG.
	Seqno int64
	// MissingPVs counts the drives that LVM could not find.
	MissingPVs int
	PVs        []PV
	// LVs are all LVs, the hidden ones included.
	LVs []LV
}

// PV is one drive as LVM sees it.
type PV struct {
	// Device is its path, and "[unknown]" when it is missing.
	Device, UUID string
	// VG is the name of its VG, empty for an orphan.
	VG string
	// Size and Free are of its extents, DeviceSize of the whole device.
	Size, Free, DeviceSize int64
	// PEStart is where its first extent begins on the device.
	PEStart int64
	Missing bool
	// Segments are its extents from first to last, free ones included.
	Segments []PVSegment
}

// PVSegment is a run of a PV's extents.
type PVSegment struct {
	// Start and Count are in extents.
	Start, Count int64
	// LV is the LV that owns them, often a hidden one, and empty if free.
	LV string
}

// Unknown is the value of a percentage that LVM does not tell, such as that of
// a thin that is not active.
const Unknown = -1

// LV is one logical volume.
type LV struct {
	Name, UUID string
	// SegType is the type of its first segment: linear, striped, raid1, thin,
	// thin-pool.
	SegType string
	Size    int64
	Tags    []string
	// Pool is the thin pool it lives in; Origin the LV it is a snapshot of.
	// Origin is empty when the origin is gone.
	Pool, Origin string
	Active       bool
	// ReadOnly is what LVM's metadata say.
	ReadOnly bool
	// Hidden marks LVM's own parts of other LVs, such as pool_tmeta.
	Hidden bool
	// DataPercent and MetadataPercent are how much is used, or Unknown.
	DataPercent, MetadataPercent float64
	// WhenFull is "error" or "queue" for a pool.
	WhenFull string
	// ChunkSize, MetadataSize and Zero are a pool's.
	ChunkSize, MetadataSize int64
	Zero                    bool
	// TransactionID is how many changes a pool has had, and of a thin how many its
	// pool had had when it was made.
	TransactionID int64
	// ThinID is the number of a thin within its pool.
	ThinID int64
	// Health is empty when nothing is wrong, else LVM's word: partial,
	// "refresh needed", out_of_data, metadata_read_only, failed ...
	Health         string
	SkipActivation bool
	Created        time.Time
	// Stripes is 1 and StripeSize 0 for what is not striped; a raid1 has as
	// many Stripes as legs, a thin 0. A pool has those of its data.
	Stripes    int
	StripeSize int64
	// SyncPercent is how far a raid's legs agree, or Unknown. A pool has the
	// lesser of its data's and its metadata's.
	SyncPercent float64
}

// LV is the LV of that name.
func (r VGReport) LV(name string) (LV, bool) {
	for _, lv := range r.LVs {
		if lv.Name == name {
			return lv, true
		}
	}
	return LV{}, false
}

// VG is the VG of that name.
func (r Report) VG(name string) (VGReport, bool) {
	for _, vg := range r.VGs {
		if vg.Name == name {
			return vg, true
		}
	}
	return VGReport{}, false
}

// VG is how later calls address this VG.
func (r VGReport) VG() VG {
	vg := VG{Name: r.Name, UUID: r.UUID}
	for _, pv := range r.PVs {
		if !pv.Missing {
			vg.Devices = append(vg.Devices, pv.Device)
		}
	}
	return vg
}

package drive

// Status is the answer for one drive.
type Status string

// The three answers.
const (
	Free    Status = "free"    // may be taken for Verdict.Class
	Ours    Status = "ours"    // carries a VG of this node's store
	Refused Status = "refused" // may not be taken; Verdict.Reasons says why
)

// PVInfo is what LVM says of a physical volume, on a drive or on one of its
// partitions.
type PVInfo struct {
	// VG is the name of its volume group, empty for a PV in none.
	VG string
	// StoreKey is the store key in the VG's tags, empty when the VG is not
	// lvme's.
	StoreKey string
	// Class is the drive class in the VG's tags.
	Class string
	// Forgotten says that the host record lists the VG as forgotten.
	Forgotten bool
}

// Verdict is what Judge says of one drive.
type Verdict struct {
	Drive  Drive  `json:"drive"`
	Status Status `json:"status"`
	// Class is the class of the VG for a drive of ours, else the first class
	// that selects the drive, else empty.
	Class string `json:"class,omitempty"`
	// VG is the volume group that the drive belongs to, ours or not.
	VG string `json:"vg,omitempty"`
	// Auto says of a free drive that the agent may take it by itself: its
	// class says so, and the drive is blank.
	Auto bool `json:"auto"`
	// Reasons are all reasons of a refusal, each naming the thing that is in
	// the way and the next step.
	Reasons []string `json:"reasons,omitempty"`
	// Notes are what an operator should know though it changes nothing: a
	// drive of ours whose controller is dead, one that auto passes over.
	Notes []string `json:"notes,omitempty"`
}

// MinBytes is the smallest drive worth a VG: below it the records of LVM and
// of the thin pool take a tenth of it and more.
const MinBytes = 1 << 30

// Judge says of each drive whether it is free, ours or refused. pvs are the
// physical volumes of the host by device path ("/dev/nvme0n1",
// "/dev/nvme0n1p2"); storeKey is this node's, empty before it has one, and
// then no drive is ours. The verdicts are in the order of drives.
func Judge(drives []Drive, cfg Config, pvs map[string]PVInfo, storeKey string) []Verdict {
	return nil
}

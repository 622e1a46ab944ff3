package check

import (
	"strings"
)

// Volume is what Kubernetes says of a volume or a snapshot: a PersistentVolume, or a VolumeSnapshotContent.
type Volume struct {
	// Object is the kind and name, as in "pv/pvc-1".
	Object string
	// ID is the CSI handle.
	ID string
	// Bytes is the capacity that its user was told; 0 for a snapshot.
	Bytes int64
	// Store is the store that the node affinity of a PersistentVolume names; "" for a snapshot.
	Store string
}

// Debt is a deletion that lvme has answered and not yet done: by id, or by CSI name when it never learned the id.
type Debt struct {
	Store, ID, Name string
}

// LV is a logical volume in a volume group of lvme.
type LV struct {
	// Node is the node that shows it.
	Node string
	// Store is the store key in the tag of its volume group.
	Store string
	// VG and Name are LVM's names.
	VG, Name string
	Bytes    int64
}

// id is the CSI id of the logical volume.
func (l LV) id() string {
	return l.Store + "/" + strings.TrimPrefix(l.VG, "lvme-") + "/" + l.Name
}

func (l LV) String() string { return l.Node + ":" + l.VG + "/" + l.Name }

// Datum is a piece of data that was written, and what is read back.
type Datum struct {
	// Where says what was read, as in "pod/db-0:/data/file".
	Where      string
	Want, Have string
}

// Node is a node that was looked at.
type Node struct {
	Name string
	// Store is the store key in the label of the Node object; "" if it has none, or if there is no such object.
	Store string
}

// State is everything that is compared, seen at one time.
type State struct {
	Nodes   []Node
	Volumes []Volume
	// Making are the CSI names that claims and snapshots without an answer ask for.
	Making []string
	Debts  []Debt
	LVs    []LV
	Data   []Datum
}

// Package hostrecord keeps what a node must remember of its store outside the
// drives: the store key, and which volume groups on which drives are the
// store's, so that a drive that is away is told from one that never was.
//
// It is one small file, /var/lib/lvme/host.json, bound to the machine that
// wrote it: a cloned system image carries the file and is not the same node.
// Everything else about volumes stands in LVM; this package knows nothing of
// LVM, of drives beyond the names given to it, or of when to change a record.
package hostrecord

import (
	"context"
	"errors"
	"time"
)

// Dir is where the record lives unless it is told otherwise.
const Dir = "/var/lib/lvme"

// Errors of Load and Save.
var (
	// ErrNone: there is no record.
	ErrNone = errors.New("no host record")
	// ErrOtherMachine: the record was written on another machine. It counts as
	// none, and is never overwritten but by Replace, which keeps it aside.
	ErrOtherMachine = errors.New("host record of another machine")
	// ErrCorrupt: the file is there and is no record.
	ErrCorrupt = errors.New("host record is corrupt")
	// ErrVersion: the record was written by a version of lvme that knows more.
	ErrVersion = errors.New("host record of a newer lvme")
	// ErrStale: the record was changed by somebody else since it was loaded.
	ErrStale = errors.New("host record was changed meanwhile")
)

// Record is the host record.
type Record struct {
	// StoreKey is this node's.
	StoreKey string
	// VGs are the store's volume groups, those away included.
	VGs []VG
	// Forgotten are VGs that were the store's until an operator gave them up.
	Forgotten []Forgotten
	// Generation counts the saves; Save refuses a record of an older one.
	Generation int64
}

// VG is a volume group of the store.
type VG struct {
	// ID is the 8 characters of its name and of the ids of its volumes.
	ID     string  `json:"id"`
	UUID   string  `json:"uuid,omitempty"` // LVM's
	Class  string  `json:"class"`
	Number int     `json:"number"`
	Drives []Drive `json:"drives"`
}

// Drive is a drive as it is known without being there.
type Drive struct {
	ID     string `json:"id"` // drive.Drive.ID
	Model  string `json:"model"`
	Serial string `json:"serial"`
	Bytes  int64  `json:"bytes"`
}

// Forgotten is a VG that was given up, and when.
type Forgotten struct {
	VG
	At time.Time `json:"at"`
}

// Machine is what tells this machine from others.
type Machine struct {
	ID      string // of /etc/machine-id
	Product string // DMI product UUID, empty when it cannot be read or is a vendor's default
}

// ReadMachine reads the machine's identity below root ("" for this host). One
// of its two parts is enough; with neither it fails.
func ReadMachine(root string) (Machine, error) { return Machine{}, errors.New("not written yet") }

// Load reads the record in dir. With ErrOtherMachine the record is returned
// too, to be reported, not to be used; with ErrNone, ErrCorrupt and ErrVersion
// it is empty.
func Load(dir string, m Machine) (Record, error) { return Record{}, ErrNone }

// Stamp changes whenever the record in a directory does. It is cheap to get
// and to be compared with ==; the zero Stamp is that of no record.
type Stamp struct {
	modified int64
	inode    uint64
	size     int64
}

// ReadStamp returns the stamp of the record in dir.
func ReadStamp(dir string) (Stamp, error) { return Stamp{}, nil }

// Held is the host's lock, for whoever changes what the store of this host is:
// the agent that takes a drive, `lvme init`, `lvme adopt`, `lvme drives
// forget`. It excludes other processes and other holders in this one.
type Held struct{}

// Lock waits for the lock of the record in dir, making the directory when it
// is missing, until ctx ends.
func Lock(ctx context.Context, dir string) (*Held, error) { return &Held{}, nil }

// Unlock gives the lock back. Calling it again does nothing.
func (h *Held) Unlock() {}

// Save writes the record, all or nothing, and returns it with its new
// Generation. It fails with ErrOtherMachine, ErrCorrupt, ErrVersion when what
// is there is not this machine's record, and with ErrStale when it is another
// than r was loaded from.
func (h *Held) Save(m Machine, r Record) (Record, error) { return r, nil }

// Replace is Save over whatever is there, which is kept aside beside it as
// host.json.replaced-<time>. It is for `lvme adopt` and for a first start on a
// cloned image.
func (h *Held) Replace(m Machine, r Record) (Record, error) { return r, nil }

// Update changes the record of this machine under the lock: load, change,
// save. An error of change leaves the record as it was.
func Update(ctx context.Context, dir string, m Machine, change func(*Record) error) (Record, error) {
	return Record{}, nil
}

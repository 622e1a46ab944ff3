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
	"errors"
	"fmt"
	"slices"
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

// VG returns the VG of the store with that id.
func (r Record) VG(id string) (VG, bool) {
	if i := r.index(id); i >= 0 {
		return r.VGs[i], true
	}
	return VG{}, false
}

// IsForgotten reports whether the VG with that id was given up.
func (r Record) IsForgotten(id string) bool {
	return slices.ContainsFunc(r.Forgotten, func(f Forgotten) bool { return f.ID == id })
}

// Put adds a VG to the store, or replaces what is recorded of it. A VG that
// was given up is the store's again.
func (r *Record) Put(vg VG) {
	r.Forgotten = slices.DeleteFunc(slices.Clone(r.Forgotten), func(f Forgotten) bool { return f.ID == vg.ID })
	r.VGs = slices.Clone(r.VGs)
	if i := r.index(vg.ID); i >= 0 {
		r.VGs[i] = vg
		return
	}
	r.VGs = append(r.VGs, vg)
}

// Forget moves a VG from the store's to those given up, and reports whether it
// was the store's.
func (r *Record) Forget(id string, at time.Time) bool {
	vg, ok := r.VG(id)
	if ok {
		r.Remove(id)
		r.Forgotten = append(slices.Clone(r.Forgotten), Forgotten{VG: vg, At: at})
	}
	return ok
}

// Remove takes out a VG that does not exist any more, as after its removal
// with LVM: nothing of it is remembered.
func (r *Record) Remove(id string) {
	r.VGs = slices.DeleteFunc(slices.Clone(r.VGs), func(vg VG) bool { return vg.ID == id })
}

func (r Record) index(id string) int {
	return slices.IndexFunc(r.VGs, func(vg VG) bool { return vg.ID == id })
}

// check says what in the record cannot be.
func (r Record) check() error {
	var errs []error
	if !ValidKey(r.StoreKey) {
		errs = append(errs, fmt.Errorf("storeKey is %q, must be 8 characters a-z and 0-9, the first a letter", r.StoreKey))
	}
	seen := map[string]bool{}
	for _, id := range r.ids() {
		if !ValidKey(id) {
			errs = append(errs, fmt.Errorf("VG id is %q, must be 8 characters a-z and 0-9, the first a letter", id))
		}
		if seen[id] {
			errs = append(errs, fmt.Errorf("VG id %q is there twice", id))
		}
		seen[id] = true
	}
	return errors.Join(errs...)
}

func (r Record) ids() []string {
	var ids []string
	for _, vg := range r.VGs {
		ids = append(ids, vg.ID)
	}
	for _, f := range r.Forgotten {
		ids = append(ids, f.ID)
	}
	return ids
}

package hostrecord

import "errors"

// Action is what a node does at its start.
type Action string

// The actions.
const (
	Serve   Action = "serve"    // register with Decision.Key
	MakeKey Action = "make-key" // make a key, record it, register
	Adopt   Action = "adopt"    // do not register: the operator says `lvme adopt`
)

// ErrTwoKeys: the drives carry several stores and no record says which is ours.
var ErrTwoKeys = errors.New("drives of several stores")

// Decision is the outcome of Decide.
type Decision struct {
	Action Action
	// Key is the store key to serve or to adopt, empty with MakeKey.
	Key string
	// Foreign are the other store keys on this host's drives, sorted: to be
	// reported, never to be touched.
	Foreign []string
}

// Decide says which store this node is. record is nil when there is none of
// this machine; keysOnDrives are the store keys in the tags of the VGs that
// this host sees, in any order and as often as they occur.
func Decide(record *Record, keysOnDrives []string) (Decision, error) {
	return Decision{}, errors.New("not written yet")
}

// NewKey makes a random name of 8 characters for a store or a VG: [a-z0-9],
// the first a letter.
func NewKey() string { return "" }

// ValidKey reports whether s has the form of NewKey.
func ValidKey(s string) bool { return false }

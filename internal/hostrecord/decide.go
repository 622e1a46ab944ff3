package hostrecord

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

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
//
// A record decides alone: drives that come and go never change which store a
// node is. Without one a key is never guessed: a key that is on drives belongs
// to a node that may still be running.
func Decide(record *Record, keysOnDrives []string) (Decision, error) {
	keys := slices.Compact(slices.Sorted(slices.Values(keysOnDrives)))
	keys = slices.DeleteFunc(keys, func(k string) bool { return k == "" })
	if record != nil {
		if !ValidKey(record.StoreKey) {
			return Decision{}, fmt.Errorf("%w: its store key is %q", ErrCorrupt, record.StoreKey)
		}
		foreign := slices.DeleteFunc(keys, func(k string) bool { return k == record.StoreKey })
		return Decision{Action: Serve, Key: record.StoreKey, Foreign: foreign}, nil
	}
	switch len(keys) {
	case 0:
		return Decision{Action: MakeKey}, nil
	case 1:
		if !ValidKey(keys[0]) {
			return Decision{}, fmt.Errorf("the VGs on this host's drives carry the store key %q, which lvme never made: look at their tags", keys[0])
		}
		return Decision{Action: Adopt, Key: keys[0]}, nil
	}
	return Decision{}, fmt.Errorf("%w: this host has no record and its drives carry the stores %s: keep the drives of one, then `lvme adopt`", ErrTwoKeys, strings.Join(keys, " and "))
}

package volume

import (
	"cmp"
	"fmt"
	"strings"
)

// maxID is the longest id CSI allows, in bytes (spec, "Size Limits").
const maxID = 128

// shortIDLen is the length of a store key and of a VG's short id.
const shortIDLen = 8

// Prefixes of LV names: volumes and snapshots are two name spaces in CSI and
// one in a VG.
const (
	volumePrefix   = "v-"
	snapshotPrefix = "s-"
	wipePrefix     = "w-"
)

// Key says which volume or snapshot: the store, the VG by its short id, and
// the LV by its name. Its text form is the CSI id.
type Key struct {
	Store, VG, LV string
}

// String is the id: "<store key>/<VG's short id>/<LV name>".
func (k Key) String() string {
	if k.IsZero() {
		return ""
	}
	return k.Store + "/" + k.VG + "/" + k.LV
}

// Compare orders keys as their ids, of which all but the last part have one length.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Store, o.Store), strings.Compare(k.VG, o.VG), strings.Compare(k.LV, o.LV))
}

// IsZero says that the key names nothing.
func (k Key) IsZero() bool { return k == Key{} }

// IsSnapshot says that the key names a snapshot.
func (k Key) IsSnapshot() bool { return strings.HasPrefix(k.LV, snapshotPrefix) }

// IsVolume says that the key names a volume.
func (k Key) IsVolume() bool { return strings.HasPrefix(k.LV, volumePrefix) }

// ParseKey reads an id. An id that does not parse names nothing, so the error
// is an ErrNotFound.
func ParseKey(id string) (Key, error) {
	parts := strings.Split(id, "/")
	if len(id) > maxID || len(parts) != 3 || !shortID(parts[0]) || !shortID(parts[1]) || !lvName(parts[2]) {
		return Key{}, fmt.Errorf("id %.140q is none of ours: %w", id, ErrNotFound)
	}
	return Key{Store: parts[0], VG: parts[1], LV: parts[2]}, nil
}

func shortID(s string) bool {
	return len(s) == shortIDLen && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// lvName says whether s is the name of a volume's or a snapshot's LV.
func lvName(s string) bool {
	if !strings.HasPrefix(s, volumePrefix) && !strings.HasPrefix(s, snapshotPrefix) {
		return false
	}
	rest := s[len(volumePrefix):]
	return rest != "" && strings.Trim(rest, lvNameChars) == ""
}

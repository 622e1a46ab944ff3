package volume

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
	"time"
)

// Claims are what a cluster says that it has of volumes and snapshots.
type Claims struct {
	// Volumes and Snapshots are the ids in use.
	Volumes, Snapshots map[string]bool
	// VolumeNames and SnapshotNames are the ids by the names that CSI made them
	// under; the id is empty where the cluster has not noted it yet.
	VolumeNames, SnapshotNames map[string]string
}

// Orphan is a volume or a snapshot that nothing in the cluster stands for.
type Orphan struct {
	Key      Key
	Name     string
	Bytes    int64
	Created  time.Time
	Snapshot bool
	// Young: it was made so lately that the cluster may just be noting it.
	Young bool
	// Active: it is in use on this node.
	Active bool
	// Reason says why it counts as an orphan.
	Reason string
	// Delete is the command with which a person deletes it, empty while that
	// would not be wise.
	Delete string
}

// Orphans compares volumes and snapshots with what a cluster says that it has.
// Ids decide, never where a volume came from: what a live snapshot was made of
// may be an orphan, and its copy not. Nothing is deleted.
func (s *Store) Orphans(volumes []Volume, snapshots []Snapshot, c Claims, grace time.Duration) []Orphan {
	var all []Orphan
	for _, v := range volumes {
		if c.Volumes[v.Key.String()] {
			continue
		}
		o := Orphan{Key: v.Key, Name: v.Name, Bytes: v.Bytes, Created: v.Created, Active: v.Active}
		other, named := c.VolumeNames[v.Name]
		o.Reason = reason("PersistentVolume", len(c.Volumes), named, other)
		s.judge(&o, v.Type == Thick, grace, len(c.Volumes) == 0)
		all = append(all, o)
	}
	for _, v := range snapshots {
		other, named := c.SnapshotNames[v.Name]
		if c.Snapshots[v.Key.String()] || named && other == "" {
			continue
		}
		o := Orphan{Key: v.Key, Name: v.Name, Bytes: v.Reserved, Created: v.Created, Snapshot: true}
		o.Reason = reason("VolumeSnapshotContent", len(c.Snapshots), named, other)
		s.judge(&o, false, grace, len(c.Snapshots) == 0)
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b Orphan) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return all
}

func reason(kind string, listed int, named bool, other string) string {
	switch {
	case listed == 0:
		return "the list has no " + kind + " of this driver at all: was it asked for, and of the right cluster?"
	case named && other != "":
		return "its " + kind + " has the id " + other + ": it was made again elsewhere"
	}
	return "no " + kind + " has its id"
}

// judge says whether a person should delete it, and how.
func (s *Store) judge(o *Orphan, thick bool, grace time.Duration, doubtful bool) {
	o.Young = s.now().Sub(o.Created) < grace
	if o.Young || o.Active || doubtful {
		return
	}
	vg := VGName(o.Key.VG)
	if thick {
		// Its extents must be wiped before they are free: the agent does that to
		// what has such a name, when it looks at the VG the next time.
		o.Delete = s.ByHand(o.Key.VG, "lvrename", vg, o.Key.LV, doomedName(o.Key.LV))
		return
	}
	o.Delete = s.ByHand(o.Key.VG, "lvremove", vg+"/"+o.Key.LV)
}

// doomedName is a name for an LV on its way out, always the same for one LV.
func doomedName(lv string) string {
	sum := sha256.Sum256([]byte(lv))
	return wipePrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
}

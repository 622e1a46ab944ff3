// Package model says what must be true of a node on which things go wrong: which
// volumes and snapshots were acknowledged, what they hold, what was deleted, of
// which calls nobody knows whether they took effect, and what on the same drives
// is none of lvme's. Judge holds it against what is there.
//
// It makes no calls and looks at nothing.
package model

import (
	"maps"
	"slices"

	"github.com/lvme/lvme/test/demo/rig"
)

// Certainty is what is known of a fact.
type Certainty int

// The degrees of certainty.
const (
	No Certainty = iota
	// Maybe: a call was made and not answered, or with an error.
	Maybe
	Yes
)

// Object is a volume or a snapshot.
type Object struct {
	// Volume is how it was asked for and what was answered; of a snapshot there
	// are name, id and size only.
	rig.Volume
	Snapshot bool
	// There is Yes or Maybe.
	There Certainty
	// Doomed: its deletion was asked for and not acknowledged. It may be gone, and
	// what it held may be too.
	Doomed bool
	// Unfinished: a copy that has not got its wanted size, of which the call was
	// not acknowledged. Nobody can use it; it can be finished or deleted.
	Unfinished bool
	// Half is the size of an unfinished copy, Grown the size that the object may
	// have by now, Wanted the one that an unfinished copy will have when an agent
	// starts; 0 for none.
	Half, Grown, Wanted int64
	// Of is the LV it was made of, "" for none.
	Of string
	// UUID is its LV's, once it was seen.
	UUID string
	// Content is a checksum of what was written to it, "" if nothing was.
	Content string
	// Records are what a program was told to be safely written, as sha256sum
	// lists it.
	Records string

	Staged, Published Certainty
}

// LV is the name of its logical volume.
func (o *Object) LV() string {
	if o.Snapshot {
		return "s-" + o.Name
	}
	return "v-" + o.Name
}

// Thick says that it owns its blocks from the start.
func (o *Object) Thick() bool { return o.Parameters["type"] == "thick" }

// Usable says that a volume can be staged and copied.
func (o *Object) Usable() bool {
	return o.There == Yes && !o.Doomed && !o.Unfinished
}

// Mounted says that a filesystem of it is, or may be, mounted.
func (o *Object) Mounted() bool { return o.FS != "" && (o.Staged != No || o.Published != No) }

// Model is what must be true.
type Model struct {
	// Objects are by the names of their LVs.
	Objects map[string]*Object
	// Deleted are the ids that were acknowledged to be deleted.
	Deleted map[string]bool
	// Foreign is what is not lvme's: a checksum for each.
	Foreign map[string]string
}

// New is a model of a node with nothing on it but what is foreign.
func New(foreign map[string]string) *Model {
	return &Model{Objects: map[string]*Object{}, Deleted: map[string]bool{}, Foreign: maps.Clone(foreign)}
}

// Add enters an object.
func (m *Model) Add(o *Object) {
	m.Objects[o.LV()] = o
	delete(m.Deleted, o.ID)
}

// Remove notes that an object was acknowledged to be deleted.
func (m *Model) Remove(o *Object) {
	delete(m.Objects, o.LV())
	if o.ID != "" {
		m.Deleted[o.ID] = true
	}
}

// Pick are the objects that a test holds for, in the order of their names.
func (m *Model) Pick(test func(*Object) bool) []*Object {
	var all []*Object
	for _, name := range slices.Sorted(maps.Keys(m.Objects)) {
		if test(m.Objects[name]) {
			all = append(all, m.Objects[name])
		}
	}
	return all
}

// PowerCut forgets what a node forgets.
func (m *Model) PowerCut() {
	for _, o := range m.Objects {
		o.Staged, o.Published = No, No
	}
}

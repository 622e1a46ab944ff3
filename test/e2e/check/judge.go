package check

import (
	"errors"
	"fmt"
	"strings"
)

// Verdict is the result of a comparison. The lists hold a text for each finding.
type Verdict struct {
	Nodes, Volumes, Snapshots, Data int // looked at

	Lost, Leaked, Double, Misplaced, Foreign, Short, Damaged []string // faults
	Owed, Making                                             []string // explained, and gone in a while
}

// Judge compares.
func Judge(s State) Verdict {
	j := newJudge(s)
	for _, v := range s.Volumes {
		j.volume(v)
	}
	for _, lv := range s.LVs {
		j.lv(lv)
	}
	for _, d := range s.Data {
		j.Data++
		if d.Have != d.Want {
			j.Damaged = append(j.Damaged, fmt.Sprintf("%s: %s was written, %s is read", d.Where, d.Want, d.Have))
		}
	}
	return j.Verdict
}

// judge is a comparison that goes on.
type judge struct {
	Verdict
	state  State
	byID   map[string][]LV
	byName map[string][]LV // by the name of the logical volume
	wanted map[string]Volume
	named  map[string]Volume // by the name of the logical volume
	stores map[string]string // the store of each node, by its label
}

func newJudge(s State) *judge {
	j := &judge{
		state: s, byID: map[string][]LV{}, byName: map[string][]LV{},
		wanted: map[string]Volume{}, named: map[string]Volume{}, stores: map[string]string{},
	}
	j.Nodes = len(s.Nodes)
	for _, n := range s.Nodes {
		j.stores[n.Name] = n.Store
	}
	for _, lv := range s.LVs {
		j.byID[lv.id()] = append(j.byID[lv.id()], lv)
		j.byName[lv.Name] = append(j.byName[lv.Name], lv)
	}
	for _, v := range s.Volumes {
		j.wanted[v.ID] = v
		j.named[lvName(v.ID)] = v
	}
	return j
}

// lvName is the part of a CSI id that names the logical volume.
func lvName(id string) string {
	return id[strings.LastIndexByte(id, '/')+1:]
}

// store is the part of a CSI id that names the store.
func store(id string) string {
	key, _, _ := strings.Cut(id, "/")
	return key
}

// volume looks for what stands behind an object of Kubernetes.
func (j *judge) volume(v Volume) {
	if v.Store != "" {
		j.Volumes++
	} else {
		j.Snapshots++
	}
	if v.Store != "" && v.Store != store(v.ID) {
		j.Misplaced = append(j.Misplaced, fmt.Sprintf("%s is %s and its pods are sent to store %s", v.Object, v.ID, v.Store))
	}
	there := j.byID[v.ID]
	switch {
	case len(there) == 0 && len(j.byName[lvName(v.ID)]) > 0:
		j.Misplaced = append(j.Misplaced, fmt.Sprintf("%s should be %s and is %s", v.Object, v.ID, j.byName[lvName(v.ID)][0]))
	case len(there) == 0:
		j.Lost = append(j.Lost, fmt.Sprintf("%s has no logical volume %s", v.Object, v.ID))
	case len(there) > 1:
		j.Double = append(j.Double, fmt.Sprintf("%s is %s and %s", v.Object, there[0], there[1]))
	case there[0].Bytes < v.Bytes:
		j.Short = append(j.Short, fmt.Sprintf("%s has %d bytes, %s only %d", v.Object, v.Bytes, there[0], there[0].Bytes))
	}
}

// lv looks for who wants a logical volume.
func (j *judge) lv(lv LV) {
	if have, known := j.stores[lv.Node]; known && have != "" && have != lv.Store {
		j.Misplaced = append(j.Misplaced, fmt.Sprintf("%s is of store %s, and the node is labelled %s", lv, lv.Store, have))
	}
	_, wanted := j.wanted[lv.id()]
	named, elsewhere := j.named[lv.Name]
	switch {
	case !ours(lv.Name):
		if !machinery(lv.Name) {
			j.Foreign = append(j.Foreign, lv.String())
		}
	case wanted:
	case j.owed(lv):
		j.Owed = append(j.Owed, lv.String())
	case elsewhere && len(j.byID[named.ID]) > 0:
		j.Double = append(j.Double, fmt.Sprintf("%s has the name of %s, which is %s", lv, named.Object, named.ID))
	case elsewhere: // told as misplaced already
	case j.making(lv.Name):
		j.Making = append(j.Making, lv.String())
	default:
		j.Leaked = append(j.Leaked, fmt.Sprintf("%s (%s) is wanted by nobody", lv, lv.id()))
	}
}

// ours says that a logical volume is a volume or a snapshot.
func ours(name string) bool {
	return strings.HasPrefix(name, "v-") || strings.HasPrefix(name, "s-")
}

// machinery says that a logical volume is a pool, or one that is on its way out. (LVM's hidden parts are not listed.)
func machinery(name string) bool {
	return name == "pool" || strings.HasPrefix(name, "pool.") || strings.HasPrefix(name, "w-")
}

// owed says that a deletion of it is recorded.
func (j *judge) owed(lv LV) bool {
	for _, d := range j.state.Debts {
		if d.Store == lv.Store && (d.ID == lv.id() || d.ID == "" && lv.Name == "v-"+d.Name) {
			return true
		}
	}
	return false
}

// making says that somebody waits for a volume or snapshot of that name.
func (j *judge) making(name string) bool {
	for _, m := range j.state.Making {
		if name == "v-"+m || name == "s-"+m {
			return true
		}
	}
	return false
}

// Faults are all findings that must not be.
func (v Verdict) Faults() []string {
	var all []string
	for _, f := range v.findings()[:faults] {
		for _, text := range f.list {
			all = append(all, f.name+": "+text)
		}
	}
	return all
}

// Settled says that nothing is on its way.
func (v Verdict) Settled() bool { return len(v.Owed)+len(v.Making) == 0 }

// Err is nil if there are no faults.
func (v Verdict) Err() error {
	if all := v.Faults(); len(all) > 0 {
		return errors.New(strings.Join(all, "\n"))
	}
	return nil
}

// String are the figures, in one line.
func (v Verdict) String() string {
	text := fmt.Sprintf("%d volumes, %d snapshots, %d nodes, %d checksums:", v.Volumes, v.Snapshots, v.Nodes, v.Data)
	for _, f := range v.findings() {
		text += fmt.Sprintf(" %s %d,", f.name, len(f.list))
	}
	return strings.TrimSuffix(text, ",")
}

type finding struct {
	name string
	list []string
}

// faults is how many of the findings are faults.
const faults = 7

func (v Verdict) findings() []finding {
	return []finding{
		{"lost", v.Lost},
		{"leaked", v.Leaked},
		{"double", v.Double},
		{"misplaced", v.Misplaced},
		{"foreign", v.Foreign},
		{"short", v.Short},
		{"damaged", v.Damaged},
		{"owed", v.Owed},
		{"in the making", v.Making},
	}
}

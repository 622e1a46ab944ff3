package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/lvm"
)

// Kind is a kind of finding.
type Kind string

// The kinds of findings, in the order of what counts.
const (
	// Lost: what was acknowledged is not there.
	Lost Kind = "lost"
	// Damaged: it is there and not what it was.
	Damaged Kind = "damaged"
	// Foreign: what is not lvme's was touched.
	Foreign Kind = "foreign"
	// Leaked: what nobody asked for, or what was deleted, is there.
	Leaked Kind = "leaked"
	// Stuck: something does not go on by itself.
	Stuck Kind = "stuck"
	// Wrong: an answer that the model does not allow.
	Wrong Kind = "wrong answer"
)

// Kinds are all of them.
var Kinds = []Kind{Lost, Damaged, Foreign, Leaked, Stuck, Wrong}

// Finding is something that must not be.
type Finding struct {
	Kind Kind
	Text string
}

// String is one line.
func (f Finding) String() string { return string(f.Kind) + ": " + f.Text }

// Sight is what is there.
type Sight struct {
	// VGs are all, foreign ones too.
	VGs []lvm.VGReport
	// Pools are the kernel's view of the thin pools, by VG.
	Pools map[string]lvm.PoolStatus
	// Devices are device-mapper's.
	Devices []dm.Info
	// Mounts are those below the kubelet's directory.
	Mounts mount.Table
	// Foreign are checksums of what is not lvme's.
	Foreign map[string]string
	// Faults are what no host could be.
	Faults []string
}

// Answers are the ids and sizes that the agent lists.
type Answers map[string]int64

// Judge compares, and settles the doubts of the model by what is there.
func (m *Model) Judge(s Sight, answers Answers) []Finding {
	j := &judge{model: m, sight: s, seen: map[string]string{}, active: map[string]bool{}}
	for _, d := range s.Devices {
		j.active[d.Name] = true
		if d.Suspended {
			j.find(Stuck, "device %s is suspended", d.Name)
		}
	}
	for _, vg := range s.VGs {
		if strings.HasPrefix(vg.Name, "lvme-") {
			j.vg(vg)
		}
	}
	j.missing()
	j.answers(answers)
	j.mounts()
	for what, sum := range m.Foreign {
		if have := s.Foreign[what]; have != sum {
			j.find(Foreign, "%s was %s and is %s", what, sum, have)
		}
	}
	for _, f := range s.Faults {
		j.find(Damaged, "%s", f)
	}
	return j.findings
}

type judge struct {
	model    *Model
	sight    Sight
	findings []Finding
	seen     map[string]string // ids of what is there, by the name of the LV
	active   map[string]bool   // devices
}

func (j *judge) find(k Kind, format string, args ...any) {
	j.findings = append(j.findings, Finding{k, fmt.Sprintf(format, args...)})
}

// vg looks at one VG of the store.
func (j *judge) vg(vg lvm.VGReport) {
	known := map[string]bool{}
	for _, lv := range vg.LVs {
		device := dm.DeviceName(vg.Name, lv.Name)
		known[device] = true
		switch {
		case lv.Hidden || strings.HasPrefix(lv.Name, "w-"):
		case lv.SegType == "thin-pool":
			j.pool(vg, lv)
		case j.model.Foreign[vg.Name+"/"+lv.Name] != "":
		default:
			j.lv(vg, lv, j.active[device])
		}
	}
	for device := range j.active {
		if !strings.HasPrefix(device, dm.DeviceName(vg.Name, "")) {
			continue
		}
		if !known[device] && !known[strings.TrimSuffix(device, "-tpool")] && !known[strings.TrimSuffix(device, "-real")] {
			j.find(Leaked, "device %s is of no logical volume", device)
		}
	}
}

func (j *judge) pool(vg lvm.VGReport, lv lvm.LV) {
	status, up := j.sight.Pools[vg.Name]
	switch {
	case !up:
		j.find(Stuck, "pool of %s is not active", vg.Name)
	case status.NeedsCheck || status.Mode != lvm.PoolWritable && status.Mode != lvm.PoolOutOfData:
		j.find(Stuck, "pool of %s is in mode %q, needs check: %t", vg.Name, status.Mode, status.NeedsCheck)
	case status.HeldRoot:
		j.find(Leaked, "pool of %s has a snapshot of its metadata", vg.Name)
	// One ahead is a message of a command that was killed: LVM sends it with the
	// next command that the pool is part of.
	case status.TransactionID != lv.TransactionID && status.TransactionID+1 != lv.TransactionID:
		j.find(Stuck, "pool of %s is at transaction %d in LVM and %d in the kernel", vg.Name, lv.TransactionID, status.TransactionID)
	}
}

// lv holds one logical volume against what is known of it.
func (j *judge) lv(vg lvm.VGReport, lv lvm.LV, active bool) {
	at := strings.TrimPrefix(vg.Name, "lvme-") + "/" + lv.Name
	if other, twice := j.seen[lv.Name]; twice {
		j.find(Leaked, "%s stands twice, as %s too", at, other)
	}
	j.seen[lv.Name] = at
	o := j.model.Objects[lv.Name]
	switch {
	case o == nil:
		j.find(Leaked, "%s of %d bytes, which nobody asked for or which was deleted (%s)", at, lv.Size, strings.Join(lv.Tags, " "))
		return
	case o.ID != "" && !strings.HasSuffix(o.ID, "/"+at):
		j.find(Lost, "%s is at %s", o.ID, at)
	case o.UUID != "" && o.UUID != lv.UUID:
		j.find(Damaged, "%s was made anew: it was %s and is %s", at, o.UUID, lv.UUID)
	}
	j.size(o, at, lv.Size)
	o.UUID, o.There = lv.UUID, Yes
	j.device(o, at, active)
}

func (j *judge) size(o *Object, at string, bytes int64) {
	switch {
	case bytes == o.Size:
	case o.Grown > 0 && bytes == o.Grown:
		o.Size = bytes
	case o.There == Maybe && bytes == o.Half:
		o.Unfinished, o.Size, o.Wanted = true, bytes, o.Size
	case o.Unfinished && bytes == o.Wanted:
		o.Unfinished, o.Size, o.Wanted = false, bytes, 0
	default:
		j.find(Damaged, "%s has %d bytes, and should have %d", at, bytes, o.Size)
	}
	o.Grown, o.Half = 0, 0
}

// device holds a volume's device against its being staged.
func (j *judge) device(o *Object, at string, active bool) {
	_, mounted := j.sight.Mounts.At(o.Staging())
	switch {
	case o.Snapshot && active:
		j.find(Leaked, "snapshot %s is active", at)
	case o.Snapshot || o.Doomed:
	case o.Staged == No && active:
		j.find(Leaked, "%s is active and was unstaged", at)
	case o.Staged == Yes && !active:
		j.find(Lost, "%s was staged and is not active", at)
	case o.Staged == Yes && o.FS != "" && !mounted:
		j.find(Lost, "%s was staged and is not mounted at %s", at, o.Staging())
	case o.Staged == Maybe && !active:
		o.Staged = No
	case o.Staged == Maybe && mounted:
		o.Staged = Yes
	}
}

// missing are the objects that are not there: lost, or never made.
func (j *judge) missing() {
	for name, o := range j.model.Objects {
		if j.seen[name] != "" {
			continue
		}
		if o.There == Yes && !o.Doomed {
			j.find(Lost, "%s was acknowledged and is not there", o.ID)
		}
		delete(j.model.Objects, name)
	}
}

// answers compares the agent's lists with what is there.
func (j *judge) answers(listed Answers) {
	for _, name := range slices.Sorted(maps.Keys(j.model.Objects)) {
		o, at := j.model.Objects[name], j.seen[name]
		found := false
		for id, bytes := range listed {
			if !strings.HasSuffix(id, "/"+at) {
				continue
			}
			found, o.ID = true, id
			if bytes != o.Size {
				j.find(Wrong, "%s is listed with %d bytes and has %d", id, bytes, o.Size)
			}
		}
		if !found {
			j.find(Lost, "%s is there and not listed", at)
		}
	}
	if len(listed) > len(j.model.Objects) {
		j.find(Wrong, "%d are listed, %d are there: %v", len(listed), len(j.model.Objects), slices.Sorted(maps.Keys(listed)))
	}
}

// mounts holds the mount table against what was published.
func (j *judge) mounts() {
	wanted := map[string]bool{}
	for _, o := range j.model.Objects {
		if o.Snapshot {
			continue
		}
		_, mounted := j.sight.Mounts.At(o.Target())
		switch {
		case o.Published == Yes && !mounted:
			j.find(Lost, "%s was published and is not mounted at %s", o.ID, o.Target())
		case o.Published == Maybe && mounted:
			o.Published = Yes
		case o.Published == Maybe:
			o.Published = No
		}
		wanted[o.Target()] = o.Published != No
		wanted[o.Staging()] = o.Staged != No && o.FS != ""
	}
	for _, p := range j.sight.Mounts {
		if !wanted[p.Path] {
			j.find(Leaked, "%s is mounted at %s", p.Source, p.Path)
		}
	}
}

package drive

import (
	"fmt"
	"slices"
	"strings"
)

// Status is the answer for one drive.
type Status string

// The three answers.
const (
	Free    Status = "free"    // may be taken for Verdict.Class
	Ours    Status = "ours"    // carries a VG of this node's store
	Refused Status = "refused" // may not be taken; Verdict.Reasons says why
)

// PVInfo is what LVM says of a physical volume, on a drive or on one of its
// partitions.
type PVInfo struct {
	// VG is the name of its volume group, empty for a PV in none.
	VG string
	// StoreKey is the store key in the VG's tags, empty when the VG is not
	// lvme's.
	StoreKey string
	// Class is the drive class in the VG's tags.
	Class string
	// Forgotten says that the host record lists the VG as forgotten.
	Forgotten bool
}

// Verdict is what Judge says of one drive.
type Verdict struct {
	Drive  Drive  `json:"drive"`
	Status Status `json:"status"`
	// Class is the class of the VG for a drive of ours, else the first class
	// that selects the drive, else empty.
	Class string `json:"class,omitempty"`
	// VG is the volume group that the drive belongs to, ours or not.
	VG string `json:"vg,omitempty"`
	// Auto says of a free drive that the agent may take it by itself: its
	// class says so, and the drive is blank.
	Auto bool `json:"auto"`
	// Reasons are all reasons of a refusal, each naming the thing that is in
	// the way and the next step.
	Reasons []string `json:"reasons,omitempty"`
	// Notes are what an operator should know though it changes nothing: a
	// drive of ours whose controller is dead, one that auto passes over.
	Notes []string `json:"notes,omitempty"`
}

// MinBytes is the smallest drive worth a VG: below it the records of LVM and
// of the thin pool take a tenth of it and more.
const MinBytes = 1 << 30

// Judge says of each drive whether it is free, ours or refused. pvs are the
// physical volumes of the host by device path ("/dev/nvme0n1",
// "/dev/nvme0n1p2"); storeKey is this node's, empty before it has one, and
// then no drive is ours. The verdicts are in the order of drives.
//
// A refusal never rests on one source: LVM, blkid and the kernel are each
// asked, and any of them is enough. Free is what none of them objects to, so
// Discover's drives are to be given, not List's.
func Judge(drives []Drive, cfg Config, pvs map[string]PVInfo, storeKey string) []Verdict {
	j := judge{cfg: cfg, pvs: pvs, key: storeKey, names: map[string][]string{}}
	for _, d := range drives {
		if d.ID != "" {
			j.names[d.ID] = append(j.names[d.ID], d.Name)
		}
	}
	verdicts := make([]Verdict, 0, len(drives))
	for _, d := range drives {
		verdicts = append(verdicts, j.verdict(d))
	}
	return verdicts
}

type judge struct {
	cfg   Config
	pvs   map[string]PVInfo
	key   string
	names map[string][]string // drives by identity
}

func (j judge) verdict(d Drive) Verdict {
	pv, isPV := j.pvs[d.Path]
	v := Verdict{Drive: d, VG: pv.VG}
	if isPV && j.ours(pv) {
		v.Status, v.Class = Ours, pv.Class
		v.Notes = j.notesOfOurs(d, pv)
		return v
	}
	class, selected := j.cfg.ClassOf(d)
	v.Class = class.Name
	v.Reasons = slices.Concat(stateReasons(d), j.identityReasons(d), j.pvReasons(d), contentReasons(d, isPV), useReasons(d))
	if !selected {
		v.Reasons = append(v.Reasons, j.unselected(d))
	}
	if len(v.Reasons) > 0 {
		v.Status = Refused
		return v
	}
	v.Status, v.Auto = Free, class.Auto && d.Content.Blank
	v.Notes = notesOfFree(d, class)
	return v
}

func (j judge) ours(pv PVInfo) bool {
	return j.key != "" && pv.StoreKey == j.key && !pv.Forgotten
}

// stateReasons are what is wrong with the drive itself.
func stateReasons(d Drive) []string {
	var why []string
	if !d.Live() {
		why = append(why, fmt.Sprintf("its controller is %s: look at the kernel's log, reset or replace the drive", d.State))
	}
	if d.ReadOnly {
		why = append(why, "it is read-only: see its health, or set it writable with `blockdev --setrw "+d.Path+"`")
	}
	if d.Zoned != "" {
		why = append(why, "it is a zoned namespace ("+d.Zoned+"), on which LVM keeps no volumes: use an ordinary namespace")
	}
	if d.Live() && d.Bytes < MinBytes {
		why = append(why, fmt.Sprintf("it is too small: %s, at least %s are needed: use a larger drive or namespace", human(d.Bytes), human(MinBytes)))
	}
	return why
}

func (j judge) identityReasons(d Drive) []string {
	if d.ID == "" {
		return []string{"it has no identity (no NGUID, EUI64, WWID or serial), so it could not be found again: use another drive, or update its firmware"}
	}
	if len(j.names[d.ID]) > 1 {
		return []string{j.twice(d)}
	}
	return nil
}

func (j judge) twice(d Drive) string {
	return fmt.Sprintf("its identity %s is that of %s too: two paths to one drive need the kernel's nvme_core.multipath=Y, two drives with one identity need a firmware update",
		d.ID, strings.Join(without(j.names[d.ID], d.Name), ", "))
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

// pvReasons are the physical volumes on the drive and on its partitions.
func (j judge) pvReasons(d Drive) []string {
	var why []string
	if pv, ok := j.pvs[d.Path]; ok {
		why = append(why, j.pvReason(d.Path, pv))
	}
	for _, p := range d.Partitions {
		if pv, ok := j.pvs["/dev/"+p.Name]; ok {
			why = append(why, j.pvReason("/dev/"+p.Name, pv))
		}
	}
	return why
}

func (j judge) pvReason(path string, pv PVInfo) string {
	switch {
	case pv.VG == "":
		return fmt.Sprintf("%s is an LVM physical volume in no volume group: `pvremove %s` if nobody needs it", path, path)
	case pv.StoreKey == "":
		return fmt.Sprintf("%s belongs to volume group %q, which is not lvme's: leave it, or `vgremove %s` and `pvremove %s` once its data is elsewhere", path, pv.VG, pv.VG, path)
	case j.key == "":
		return fmt.Sprintf("%s belongs to volume group %q of store %s, and this node has no host record: `lvme adopt` makes that store this node's", path, pv.VG, pv.StoreKey)
	case pv.StoreKey == j.key && pv.Forgotten:
		return fmt.Sprintf("%s belongs to volume group %q, given up with `lvme drives forget`: `vgremove %s` and `pvremove %s` to use the drive anew", path, pv.VG, pv.VG, path)
	case pv.StoreKey == j.key:
		return fmt.Sprintf("%s is a partition in volume group %q of this store, and lvme takes whole drives only: move its data away", path, pv.VG)
	}
	return fmt.Sprintf("%s belongs to volume group %q of store %s, and this node is store %s: put the drive back where it served, or `vgremove %s` and `pvremove %s` if its volumes may be lost", path, pv.VG, pv.StoreKey, j.key, pv.VG, path)
}

// contentReasons are what was found on the drive, but for an LVM signature
// that pvReasons has explained.
func contentReasons(d Drive, isPV bool) []string {
	if d.unreadable() != "" {
		return nil // stateReasons has said why
	}
	c := d.Content
	if !c.Probed {
		return []string{"what is on it is not known: " + c.Error + ": see to that first, nothing is taken unseen"}
	}
	var why []string
	for _, s := range c.Signatures {
		switch {
		case s == LVMMember && isPV:
		case s == LVMMember:
			why = append(why, "it has the signature "+s+" though LVM shows no physical volume there: see `pvs --devices "+d.Path+"`")
		default:
			why = append(why, "it has the signature "+s+": `wipefs --all "+d.Path+"` if nobody needs what is on it")
		}
	}
	return why
}

// useReasons are what the kernel does with the drive.
func useReasons(d Drive) []string {
	var why []string
	for _, p := range d.Partitions {
		why = append(why, fmt.Sprintf("it has the partition %s of %s: `wipefs --all /dev/%s %s` if nobody needs what is on it", p.Name, human(p.Bytes), p.Name, d.Path))
	}
	for _, h := range d.Holders {
		why = append(why, fmt.Sprintf("%s is held by %s: take that apart first", h.Device, h.By))
	}
	for _, m := range d.Mounts {
		why = append(why, fmt.Sprintf("%s is mounted on %s: unmount it first, and take it out of fstab", m.Device, m.By))
	}
	for _, s := range d.Swaps {
		why = append(why, fmt.Sprintf("%s is swap: `swapoff /dev/%s` first, and take it out of fstab", s, s))
	}
	if d.Content.Busy {
		why = append(why, "it is held open exclusively by something that sysfs does not show: `lsof "+d.Path+"`, ZFS, or a mount in another mount namespace")
	}
	return why
}

// unselected says why each class passes over the drive.
func (j judge) unselected(d Drive) string {
	classes := make([]string, 0, len(j.cfg.Classes))
	for _, c := range j.cfg.Classes {
		classes = append(classes, c.Name+": "+strings.Join(c.Select.Mismatches(d), ", "))
	}
	return "no drive class selects it (" + strings.Join(classes, "; ") + "): widen a class in the configuration if it should be taken"
}

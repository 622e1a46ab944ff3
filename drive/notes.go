package drive

import (
	"fmt"
	"strings"
)

// notesOfOurs are what is wrong with a drive that is the store's all the same.
func (j judge) notesOfOurs(d Drive, pv PVInfo) []string {
	var notes []string
	if !d.Live() {
		notes = append(notes, fmt.Sprintf("its controller is %s: its volumes do no I/O", d.State))
	}
	if d.ReadOnly {
		notes = append(notes, "it is read-only: its volumes cannot be changed")
	}
	if len(j.names[d.ID]) > 1 {
		notes = append(notes, j.twice(d))
	}
	if _, ok := j.cfg.Class(pv.Class); !ok || pv.Class == "" {
		notes = append(notes, fmt.Sprintf("its drive class %q is not in the configuration: its volumes work, new ones are not placed there", pv.Class))
	}
	return append(notes, healthNotes(d)...)
}

// notesOfFree are what taking the drive would mean.
func notesOfFree(d Drive, class Class) []string {
	var notes []string
	if !d.Content.Blank {
		note := "it holds data without a known signature"
		if class.Auto {
			note += fmt.Sprintf(", so class %s does not take it by itself: `lvme init` takes it, `blkdiscard --zeroout %s` makes it blank", class.Name, d.Path)
		}
		notes = append(notes, note)
	}
	if d.DiscardMax == 0 {
		notes = append(notes, "it cannot discard: it is not told which blocks of deleted volumes are free")
	}
	if class.Thick.Share > 0 && d.WriteZeroesMax == 0 {
		notes = append(notes, "it cannot write zeroes by itself: thick volumes are wiped at writing speed")
	}
	return append(notes, healthNotes(d)...)
}

func healthNotes(d Drive) []string {
	if d.Health.Status != HealthWarning && d.Health.Status != HealthCritical {
		return nil
	}
	return []string{fmt.Sprintf("its health is %s: %s", d.Health.Status, strings.Join(d.Health.Reasons, ", "))}
}

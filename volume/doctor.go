package volume

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// Severity says how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	// SeverityError: data, or the separation of tenants, is at stake, or volumes
	// are not served.
	SeverityError Severity = "error"
	// SeverityWarning: all is served, and something is not as it should be.
	SeverityWarning Severity = "warning"
	// SeverityInfo: worth to know; the agent mends it, or it does no harm.
	SeverityInfo Severity = "info"
)

// rank orders severities.
func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityInfo}, s)
}

// Check names what is looked for.
type Check string

// The checks, as docs/operations.md explains them.
const (
	// Of the host; package agent makes some of them.
	CheckAgent        Check = "agent"
	CheckAdopt        Check = "adopt"
	CheckProgram      Check = "program"
	CheckDriveHealth  Check = "drive-health"
	CheckDriveAway    Check = "drive-away"
	CheckVGLost       Check = "vg-lost"
	CheckVGForeign    Check = "vg-foreign"
	CheckVGTwice      Check = "vg-twice"
	CheckVGTags       Check = "vg-tags"
	CheckVolumeTwice  Check = "volume-twice"
	CheckMount        Check = "mount"
	CheckVolumeUnused Check = "volume-unused"
	// Of each VG and its pool.
	CheckLook        Check = "look"
	CheckDriveGone   Check = "drive-missing"
	CheckBackup      Check = "backup"
	CheckDevice      Check = "device"
	CheckPoolMissing Check = "pool-missing"
	CheckPoolOff     Check = "pool-off"
	CheckPoolMode    Check = "pool-mode"
	CheckPoolRoom    Check = "pool-room"
	CheckPoolSetting Check = "pool-setting"
	CheckTransaction Check = "transaction-id"
	CheckHeld        Check = "metadata-snapshot"
	CheckThinStale   Check = "thin-stale"
	CheckThinLost    Check = "thin-lost"
	// Of what is in it.
	CheckStrange     Check = "strange"
	CheckHalfMade    Check = "half-made"
	CheckQuarantined Check = "quarantined"
	CheckWiping      Check = "wiping"
)

// Finding is something that is not as it should be.
type Finding struct {
	Severity Severity
	Check    Check
	// On names what it was found on, Meaning says what that means.
	On, Meaning string
	// Mend is the command that mends it, and empty where nobody has to do
	// anything or no command does.
	Mend string
}

// SortFindings puts the worst first.
func SortFindings(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(a.On, b.On), cmp.Compare(a.Check, b.Check))
	})
}

// Diagnose looks at everything that the store lies on and says what is wrong
// with it. It changes nothing but that it holds, for a moment, a snapshot of a
// pool's metadata.
func (s *Store) Diagnose(ctx context.Context) ([]Finding, error) {
	seen, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := s.loadRecord()
	if err != nil {
		return nil, err
	}
	d := &diagnosis{store: s, seen: seen, rec: rec}
	d.drives()
	d.vgs()
	d.twice()
	s.mu.RLock()
	pools := slices.SortedFunc(maps.Values(s.pools), func(a, b *pool) int { return strings.Compare(a.id, b.id) })
	s.mu.RUnlock()
	for _, p := range pools {
		if d.away(p) {
			continue
		}
		d.found = append(d.found, d.examine(ctx, p)...)
	}
	d.leftDevices(ctx, pools)
	SortFindings(d.found)
	return d.found, nil
}

// diagnosis is one look at a whole store.
type diagnosis struct {
	store *Store
	seen  sight
	rec   *hostrecord.Record
	found []Finding
}

func (d *diagnosis) add(severity Severity, check Check, on, mend, format string, args ...any) {
	d.found = append(d.found, Finding{severity, check, on, fmt.Sprintf(format, args...), mend})
}

// drives are those that report ill health.
func (d *diagnosis) drives() {
	severities := map[drive.HealthStatus]Severity{drive.HealthCritical: SeverityError, drive.HealthWarning: SeverityWarning}
	for _, v := range d.store.Verdicts() {
		severity, ill := severities[v.Drive.Health.Status]
		if !ill || v.Status != drive.Ours {
			continue
		}
		d.add(severity, CheckDriveHealth, driveName(v.Drive.Path, v.Drive.Model, v.Drive.Serial), "",
			"the drive reports: %s; move what is on %s elsewhere and replace it", strings.Join(v.Drive.Health.Reasons, ", "), v.VG)
	}
}

func driveName(path, model, serial string) string {
	return strings.Join(strings.Fields(path+" "+model+" "+serial), " ")
}

// vgs are those that lvme made and that are not served.
func (d *diagnosis) vgs() {
	byName := map[string]int{}
	for _, vg := range d.seen.report.VGs {
		key, id := storeOf(vg.Tags), PoolID(vg.Name)
		if key == "" {
			continue
		}
		if byName[vg.Name]++; byName[vg.Name] == 2 {
			d.add(SeverityError, CheckVGTwice, vg.Name, vg.VG().ByHand("vgrename", vg.UUID, vg.Name+"-twin"),
				"two volume groups have this name, the one on %s has the UUID %s; only one of them is served. A copied drive is the likely cause: pull the copy, or give it another name",
				strings.Join(vg.VG().Devices, " "), vg.UUID)
		}
		if key != d.store.key {
			d.add(SeverityWarning, CheckVGForeign, vg.Name, "",
				"it belongs to store %s and is left alone; this node is store %s. Put its drives (%s) back where they served, or vgremove and pvremove it if its volumes may be lost",
				key, d.store.key, strings.Join(vg.VG().Devices, " "))
			continue
		}
		forgotten := d.rec != nil && d.rec.IsForgotten(id)
		if _, err := parseVGRecord(vg.Tags); (err != nil || id == "") && !forgotten {
			d.add(SeverityError, CheckVGTags, vg.Name, "", "it belongs to this store and cannot be served: its name or its tags are not as lvme writes them (%v). The newest copy of its metadata shows how they were", err)
		}
	}
}

// twice are volumes that were made again while a drive was away.
func (d *diagnosis) twice() {
	d.store.mu.RLock()
	defer d.store.mu.RUnlock()
	for _, name := range d.store.doubles() {
		d.add(SeverityWarning, CheckVolumeTwice, "volume "+name, "kubectl get pv,volumesnapshotcontent -o json | lvme orphans --pvs -",
			"it stands in two volume groups: it was made again while a drive was away. The one whose id no PersistentVolume has can go")
	}
}

// away says whether the pool's drives are not here, and what that means.
func (d *diagnosis) away(p *pool) bool {
	d.store.mu.RLock()
	defer d.store.mu.RUnlock()
	if !p.away {
		return false
	}
	for _, of := range p.drives {
		i := slices.IndexFunc(d.seen.drives, func(here drive.Drive) bool { return here.Live() && here.Is(of.ID) })
		if i < 0 {
			d.add(SeverityError, CheckDriveAway, driveName("", of.Model, of.Serial), "lvme drives forget "+of.ID,
				"it holds %s and is not in this node, so that its volumes answer with an error. Plug it in again; only if it never comes back, give it up", VGName(p.id))
			continue
		}
		here := d.seen.drives[i]
		if !slices.ContainsFunc(d.seen.report.VGs, func(vg lvm.VGReport) bool { return PoolID(vg.Name) == p.id }) {
			d.add(SeverityError, CheckVGLost, VGName(p.id), d.store.restoreCommand(p, here.Path),
				"its drive %s is here, and LVM finds no volume group on it: the metadata were overwritten or cannot be read. Follow \"Lost VG metadata\" in docs/operations.md",
				driveName(here.Path, here.Model, here.Serial))
		}
	}
	return true
}

// ByHand is a command of LVM for a VG of the store as a person types it.
func (s *Store) ByHand(vgID, verb string, args ...string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p, ok := s.pools[vgID]; ok && !p.away {
		return p.vg.ByHand(verb, args...)
	}
	return strings.Join(append([]string{verb}, args...), " ")
}

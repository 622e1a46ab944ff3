package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
)

// Effect is what an ailment means for who uses a volume.
type Effect string

// The effects, each worse than the one before it.
const (
	// Early: it works as it should, and somebody should see to it before it does not.
	Early Effect = "early"
	// Degraded: it works, less well or not for long.
	Degraded Effect = "degraded"
	// Inaccessible: it cannot be read or written as it should.
	Inaccessible Effect = "inaccessible"
)

// Exceeds says that it is worse than another effect.
func (e Effect) Exceeds(other Effect) bool {
	order := []Effect{Early, Degraded, Inaccessible}
	return slices.Index(order, e) > slices.Index(order, other)
}

// Reason is a CamelCase word for programs that says what is wrong.
type Reason string

// The reasons of what is wrong with a pool; docs/operations.md has the next step
// of each.
const (
	DriveAway          Reason = "DriveAway"
	DriveMissing       Reason = "DriveMissing"
	DriveFailing       Reason = "DriveFailing"
	DriveDoesNotAnswer Reason = "DriveDoesNotAnswer"
	DriveNotReadable   Reason = "DriveNotReadable"
	VolumeGroupLost    Reason = "VolumeGroupLost"
	PoolNotSeen        Reason = "PoolNotSeen"
	PoolStuck          Reason = "PoolStuck"
	PoolFilling        Reason = "PoolFilling"
	PoolNearlyFull     Reason = "PoolNearlyFull"
	PoolFull           Reason = "PoolFull"
	PoolReadOnly       Reason = "PoolReadOnly"
	PoolNeedsCheck     Reason = "PoolNeedsCheck"
	PoolFailed         Reason = "PoolFailed"
	PoolDoesNotAnswer  Reason = "PoolDoesNotAnswer"
	MetadataFilling    Reason = "MetadataFilling"
	MetadataNearlyFull Reason = "MetadataNearlyFull"
)

// ofAll are those of whatever volumes are in the pool.
var ofAll = []Reason{DriveAway, DriveMissing, DriveFailing, DriveDoesNotAnswer, DriveNotReadable, VolumeGroupLost, PoolNotSeen, PoolStuck}

// Reasons are all of a pool's.
var Reasons = slices.Concat(ofAll, []Reason{
	PoolFilling, PoolNearlyFull, PoolFull, PoolReadOnly, PoolNeedsCheck, PoolFailed, PoolDoesNotAnswer, MetadataFilling, MetadataNearlyFull,
})

// IsEarly says that it is no more than an early warning.
func (r Reason) IsEarly() bool { return r == PoolFilling || r == MetadataFilling }

// ThinOnly says that thick volumes of the pool do not mind.
func (r Reason) ThinOnly() bool { return slices.Contains(Reasons, r) && !slices.Contains(ofAll, r) }

// Ailment is one thing that is wrong with a volume or a pool.
type Ailment struct {
	Effect Effect
	Reason Reason
	// Message is a line with the next step for people.
	Message string
}

// VolumeHealth says what is wrong with a volume, nothing for a healthy one. It
// asks neither LVM nor the kernel: what it tells is at most as old as the last
// look at the pool and at the drives. A volume whose drive is away exists, and is
// inaccessible.
func (s *Store) VolumeHealth(_ context.Context, k Key) ([]Ailment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, e, err := s.find(k)
	switch {
	case errors.Is(err, ErrAway):
		return []Ailment{{Inaccessible, DriveAway, err.Error()}}, nil
	case err != nil:
		return nil, fmt.Errorf("health of volume %s: %w", k, err)
	case e.snapshot:
		return nil, fmt.Errorf("health of volume %s: %w: it is a snapshot", k, ErrNotFound)
	}
	var all []Ailment
	if e.state == Quarantined {
		all = append(all, Ailment{Inaccessible, "Quarantined", "it mapped blocks before anybody wrote to it: delete it and make another"})
	}
	all = append(all, p.driveAilments()...)
	if !e.thick {
		all = append(all, p.fillAilments(stopped)...)
	}
	return all, nil
}

// PoolHealth is one thing that is wrong with a pool.
type PoolHealth struct {
	VG      string
	Ailment Ailment
	// Drives names the pool's drives for people.
	Drives string
}

// StorageHealth says what is wrong with the pools of this node, or soon will be,
// and how many pools there are.
func (s *Store) StorageHealth(context.Context) (all []PoolHealth, pools int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(s.pools)) {
		p := s.pools[id]
		for _, a := range append(p.driveAilments(), p.fillAilments(filling)...) {
			all = append(all, PoolHealth{VGName(id), a, p.driveNames()})
		}
	}
	return all, len(s.pools)
}

// driveAilments are what is wrong with the pool whatever is in it; Store.mu is
// held. A mirror works on with the drive that is left.
func (p *pool) driveAilments() []Ailment {
	lost, step := Inaccessible, "bring it back"
	if p.layout() == drive.Mirrored {
		lost, step = Degraded, "bring it back, or give the mirror another with 'lvme pools repair'"
	}
	var all []Ailment
	switch {
	case p.away && p.bare != "":
		return []Ailment{{Inaccessible, VolumeGroupLost, p.problem()}}
	case p.away:
		return []Ailment{{Inaccessible, DriveAway, "not in this node: " + p.driveNames() + "; plug it in again"}}
	case p.missing > 0:
		all = append(all, Ailment{lost, DriveMissing, fmt.Sprintf("%d of its drives missing; here are %s; %s", p.missing, p.driveNames(), step)})
	}
	switch now := p.now.Load(); {
	case now != nil && now.hung:
		all = append(all, Ailment{Inaccessible, DriveDoesNotAnswer, now.why + "; see the kernel's log, reset it (nvme reset) or pull it out"})
	case now != nil:
		all = append(all, Ailment{lost, DriveNotReadable, now.why + "; see the kernel's log, and reset or replace it"})
	case p.stale != "":
		all = append(all, Ailment{Degraded, PoolNotSeen, "could not be looked at: " + p.stale + "; the agent tries again by itself"})
	}
	if p.stuck != "" {
		all = append(all, Ailment{Inaccessible, PoolStuck, p.stuck})
	}
	if p.failing != "" {
		all = append(all, Ailment{Degraded, DriveFailing, p.failing + "; replace it, and until then it gets no new volumes"})
	}
	return all
}

// fillAilments are what is wrong with the thin pool that has come so far at least.
// One that only fills up is healthy, and so are its volumes.
func (p *pool) fillAilments(least stage) []Ailment {
	var all []Ailment
	for _, c := range p.watched.conditions {
		effect := Early
		switch {
		case c.stage < least:
			continue
		case c.stage >= broken:
			effect = Inaccessible
		case c.stage >= stopped:
			effect = Degraded
		}
		all = append(all, Ailment{effect, c.reason, c.text})
	}
	return all
}

// noteDrives remembers of each pool whether one of its drives says that it fails:
// nothing new is put on it. s.mu is held.
func (s *Store) noteDrives(ctx context.Context, byPath map[string]drive.Drive) {
	for _, p := range s.pools {
		if p.away {
			continue
		}
		was := p.failing
		p.failing = failing(p.vg.Devices, byPath)
		switch p.failing {
		case was:
		case "":
			klog.FromContext(ctx).Info("a drive has recovered", "vg", VGName(p.id), "from", was)
		default:
			klog.FromContext(ctx).Error(nil, "a drive fails: its pool gets no new volumes; move what is on it, and replace it",
				"vg", VGName(p.id), "why", p.failing)
		}
	}
}

// failing says what the first of the drives reports that does.
func failing(devices []string, byPath map[string]drive.Drive) string {
	for _, path := range devices {
		if d := byPath[path]; d.Health.Status == drive.HealthCritical {
			return fmt.Sprintf("%s (%s): %s", path, strings.TrimSpace(d.Model+" "+d.Serial), strings.Join(d.Health.Reasons, ", "))
		}
	}
	return ""
}

package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// Repair is what is to be done to a mirrored pool that has lost a drive, or a
// leg. Which of it is done already stands in LVM's metadata alone, so that a
// repair that was interrupted is begun again and goes on where it was.
type Repair struct {
	Pool Pool
	// Lost are the drives that are given up for good.
	Lost []string
	// Back are drives that LVM takes for lost and that are here again.
	Back []string
	// With takes the place of what is lost; nil when nothing is, or when it was
	// made a part of the pool before.
	With *drive.Drive
	// Mirrors get a new leg, in the order of their names.
	Mirrors []string
	// Refresh says that mirrors are given legs back that the kernel has dropped.
	Refresh bool

	onto  string // the path of the drive that new legs go to
	wipe  bool   // the free extents of the new drive are to be wiped
	spare string // the spare that is lost with its drive, "" for none
	added bool   // the drive is a PV of the VG already
}

// Nothing says that the pool is as it should be.
func (r Repair) Nothing() bool {
	return len(r.Lost)+len(r.Back)+len(r.Mirrors) == 0 && r.With == nil && !r.Refresh
}

// Steps say what will be done, for a person.
func (r Repair) Steps() []string {
	var steps []string
	add := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	for _, path := range r.Back {
		add("use %s again, which is back", path)
	}
	if r.With != nil {
		add("make %s (%s %s, %s) a part of %s", r.With.Path, r.With.Model, r.With.Serial, drive.FormatSize(r.With.Bytes), r.Pool.VG)
	}
	for _, lv := range r.Mirrors {
		add("give mirror %s a new leg on %s, copied in the background", lv, r.onto)
	}
	for _, name := range r.Lost {
		add("give up %s for good: should it come back, it is refused", name)
	}
	if r.Refresh {
		add("give mirrors the legs back that the kernel has dropped")
	}
	return steps
}

// PlanRepair says what a mirrored pool needs. with says of a free drive whether
// it may take the place of a lost one; nil for none.
func (s *Store) PlanRepair(ctx context.Context, vg string, with func(drive.Verdict) bool) (Repair, error) {
	p, err := s.mirroredPool(vg)
	if err != nil {
		return Repair{}, err
	}
	r, err := s.planRepair(ctx, p, with)
	if err != nil {
		return Repair{}, fmt.Errorf("repair %s: %w", vg, err)
	}
	return r, nil
}

func (s *Store) mirroredPool(vg string) (*pool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pools[PoolID(vg)]
	switch {
	case !ok:
		return nil, fmt.Errorf("repair %s: %w: 'lvme pools' shows the volume groups of this store", vg, ErrNotFound)
	case p.away:
		return nil, fmt.Errorf("repair %s: %w: none of its drives is in this node: %s", vg, ErrAway, p.driveNames())
	case p.layout() != drive.Mirrored:
		return nil, fmt.Errorf("repair %s: %w: it is not mirrored, so what was on a lost drive is lost: 'lvme drives forget' gives it up", vg, ErrPrecondition)
	}
	return p, nil
}

func (s *Store) planRepair(ctx context.Context, p *pool, with func(drive.Verdict) bool) (Repair, error) {
	s.mu.RLock()
	r := Repair{Pool: p.describe()}
	vg, lacks := p.vg, slices.Clone(p.lacks)
	s.mu.RUnlock()
	report, err := s.LVM.Report(ctx, s.withFlagged(vg))
	if err != nil {
		return Repair{}, domainError(err)
	}
	for _, pv := range report.PVs {
		if pv.Missing && strings.HasPrefix(pv.Device, "/") {
			r.Back = append(r.Back, pv.Device)
		}
	}
	if lost := report.MissingPVs - len(r.Back); lost > 0 {
		if r.Lost = lacks; len(r.Lost) == 0 {
			r.Lost = []string{fmt.Sprintf("%d drives that the host record does not name", lost)}
		}
		if err := s.planLegs(&r, report, with); err != nil {
			return Repair{}, err
		}
		return r, nil
	}
	lost, err := s.LVM.Lost(ctx, vg)
	r.Refresh = err == nil && len(lost.Degraded) > 0 || s.mirrorStatus(ctx, r.Pool.VG, s.mirrorsOf(p)).Failed > 0
	return r, err
}

// withFlagged is the VG with the drives too that LVM takes for lost and that
// are in this node.
func (s *Store) withFlagged(vg lvm.VG) lvm.VG {
	vg.Devices = slices.Clone(vg.Devices)
	for _, v := range s.Verdicts() {
		if v.VG == vg.Name && !slices.Contains(vg.Devices, v.Drive.Path) {
			vg.Devices = append(vg.Devices, v.Drive.Path)
		}
	}
	return vg
}

func (s *Store) mirrorsOf(p *pool) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return p.mirrors()
}

// planLegs finds the mirrors with a lost leg, and the drive for new ones.
func (s *Store) planLegs(r *Repair, report lvm.VGReport, with func(drive.Verdict) bool) error {
	for _, lv := range report.LVs {
		if lv.SegType == lvm.Mirrored.String() && lv.Health == "partial" {
			r.Mirrors = append(r.Mirrors, lv.Name)
		}
	}
	slices.Sort(r.Mirrors)
	if spare, ok := report.Spare(); ok && spare.Health == "partial" {
		r.spare = spare.Name
	}
	r.wipe = s.hasThick(report)
	if here := healthyPVs(report); len(here) > 1 { // it was added before
		r.onto, r.added = emptiest(here).Device, true
		return nil
	}
	chosen, err := s.choose(report, with)
	if err != nil {
		return err
	}
	r.With, r.onto = &chosen, chosen.Path
	return nil
}

func (s *Store) hasThick(report lvm.VGReport) bool {
	tags, err := parseVGRecord(report.Tags)
	return err == nil && tags.thick > 0 && tags.clean
}

func healthyPVs(report lvm.VGReport) []lvm.PV {
	return slices.DeleteFunc(slices.Clone(report.PVs), func(pv lvm.PV) bool { return pv.Missing })
}

// emptiest is the PV with most room: the one that was added to take new legs.
func emptiest(pvs []lvm.PV) lvm.PV {
	return slices.MaxFunc(pvs, func(a, b lvm.PV) int { return int((a.Free - b.Free) >> 20) })
}

// choose finds the free drive that was meant, and that is large enough.
func (s *Store) choose(report lvm.VGReport, with func(drive.Verdict) bool) (drive.Drive, error) {
	var need int64
	for _, pv := range healthyPVs(report) {
		need = max(need, pv.DeviceSize)
	}
	var why []string
	for _, v := range s.Verdicts() {
		switch d := v.Drive; {
		case with == nil || !with(v):
		case v.Status != drive.Free:
			why = append(why, fmt.Sprintf("%s is not free: %s", d.Path, strings.Join(v.Reasons, "; ")))
		case d.Bytes < need:
			why = append(why, fmt.Sprintf("%s has %s, and the drive that is left has %s", d.Path, drive.FormatSize(d.Bytes), drive.FormatSize(need)))
		default:
			return d, nil
		}
	}
	if len(why) == 0 {
		why = []string{"name a free drive that takes the place of the lost one"}
	}
	return drive.Drive{}, fmt.Errorf("%w: no drive for its second leg: %s", ErrPrecondition, strings.Join(why, "; "))
}

// Repair carries a plan out; progress is told before each step. Done again
// after an interruption, with a new plan, it goes on.
func (s *Store) Repair(ctx context.Context, r Repair, progress func(step string)) error {
	return s.withHost(ctx, func(held *hostrecord.Held) error {
		p, err := s.mirroredPool(r.Pool.VG)
		if err != nil {
			return err
		}
		err = p.exclusively(ctx, func() error { return s.repairLegs(ctx, p, r, progress) })
		if err != nil {
			err = fmt.Errorf("repair %s: %w; 'lvme pools repair' goes on where this stopped", r.Pool.VG, domainError(err))
		}
		return errors.Join(err, s.refresh(ctx, held))
	})
}

// repairLegs is Repair under the pool's writer lock.
func (s *Store) repairLegs(ctx context.Context, p *pool, r Repair, progress func(string)) error {
	vg := s.withFlagged(p.vg)
	for _, path := range r.Back {
		progress("use " + path + " again")
		if err := s.LVM.RestoreMissing(ctx, vg, path); err != nil {
			return err
		}
	}
	if len(r.Lost) > 0 {
		if err := s.replace(ctx, p, r, progress); err != nil {
			return err
		}
	}
	if err := s.reload(ctx, p); err != nil {
		return err
	}
	if r.Refresh || len(r.Back) > 0 {
		progress("give mirrors their legs back")
		return s.refreshMirrors(ctx, p)
	}
	return nil
}

// replace puts another drive in the place of a lost one. Everything before the
// last step leaves the lost drive a missing part of the VG, by which the repair
// is known to be unfinished.
func (s *Store) replace(ctx context.Context, p *pool, r Repair, progress func(string)) error {
	vg := p.vg
	if r.With != nil {
		vg.Devices = append(slices.Clone(vg.Devices), r.With.Path)
		progress("make " + r.With.Path + " a part of " + vg.Name)
		if err := s.LVM.AddDrive(ctx, vg, r.With.Path, pvMetadata(r.With.Bytes)); err != nil {
			return err
		}
	}
	for _, lv := range r.Mirrors {
		progress("give mirror " + lv + " a new leg on " + r.onto)
		if err := s.newLeg(ctx, vg, lv, r.onto); err != nil {
			return err
		}
	}
	if r.spare != "" {
		if err := s.LVM.RemoveSpare(ctx, vg, r.spare); err != nil {
			return err
		}
	}
	if err := s.dropWipe(ctx, p, vg); err != nil {
		return err
	}
	if r.wipe { // the free extents of the new drive hold its earlier life
		if err := s.LVM.ChangeVGTags(ctx, vg, nil, []string{cleanTag}); err != nil {
			return err
		}
	}
	progress("give up " + strings.Join(r.Lost, ", "))
	if err := s.LVM.RemoveMissing(ctx, vg); err != nil {
		return err
	}
	return s.newSpare(ctx, p, vg, progress)
}

// newLeg replaces the lost leg of one mirror, which is active meanwhile.
func (s *Store) newLeg(ctx context.Context, vg lvm.VG, lv, onto string) error {
	visible := !slices.Contains(lvm.MirroredPoolParts(poolLV), lv)
	_, err := s.LVM.DeviceInfo(ctx, vg.Name, lv)
	inactive := visible && err != nil
	if inactive {
		if err := s.LVM.ActivateDegraded(ctx, vg, lv); err != nil {
			return fmt.Errorf("%w (a mirror that was never in use has nothing on its other leg to copy: delete it, with 'lvremove %s/%s' if need be)", err, vg.Name, lv)
		}
	}
	if err := s.LVM.ReplaceLeg(ctx, vg, lv, onto); err != nil || !inactive {
		return err
	}
	return s.LVM.Deactivate(ctx, vg, lv)
}

// dropWipe removes what a new pool's thick share was wiped in, unless the wiper
// is done with it: it lies on both drives, and another is made.
func (s *Store) dropWipe(ctx context.Context, p *pool, vg lvm.VG) error {
	if _, begun := p.wiping[initWipeLV]; !begun {
		return nil
	}
	if err := s.LVM.Deactivate(ctx, vg, initWipeLV); err != nil {
		return err
	}
	err := s.LVM.Remove(ctx, vg, initWipeLV)
	if errors.Is(err, lvm.ErrNotFound) {
		return nil
	}
	return err
}

// newSpare has LVM make a spare for the pool's metadata where there is none; it
// makes one only when the metadata grow.
func (s *Store) newSpare(ctx context.Context, p *pool, vg lvm.VG, progress func(string)) error {
	report, err := s.LVM.Report(ctx, vg)
	if err != nil {
		return err
	}
	lv, ok := report.LV(poolLV)
	if _, has := report.Spare(); has || !ok {
		return nil
	}
	progress("make a spare for the pool's metadata")
	return s.LVM.ExtendPoolMetadata(ctx, vg, poolLV, lv.MetadataSize+p.extent)
}

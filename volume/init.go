package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

const (
	// pvMetadataBytes is the metadata area of each drive: room for some 40,000
	// volumes, reckoned at 0.8 KiB each, against LVM's 1 MiB for 1,100.
	pvMetadataBytes = 64 << 20
	// Limits of a thin pool's metadata (kernel: 16 GiB less what LVM keeps).
	minPoolMetadata = 64 << 20
	maxPoolMetadata = 15<<30 + 800<<20
	// poolMetadataPerChunk is twice what LVM reckons for a chunk, 64 bytes.
	poolMetadataPerChunk = 128
	// smallDrive is a VG so small that the least metadata would be a large
	// part of it: then a quarter of the least does.
	smallDrive = 8 << 30
	// extentBytes is LVM's own.
	extentBytes = 4 << 20
)

// Group is a set of drives that become one pool.
type Group struct {
	Class  string
	Number int
	Layout drive.Layout
	Drives []drive.Drive
	// Bytes is what the VG will have; the others are its parts.
	Bytes, ThinBytes, MetadataBytes, ThickBytes, ReserveBytes int64
}

// Plan is what Init would do.
type Plan struct {
	Groups []Group
	// Verdicts are those of all drives, the refused ones with their reasons.
	Verdicts []drive.Verdict
	// Notes say what is left out and why.
	Notes []string
}

// Plan says which free drives become which pools. only limits it to drives for
// which it answers true; nil takes all.
func (s *Store) Plan(only func(drive.Verdict) bool) Plan {
	plan := Plan{Verdicts: s.Verdicts()}
	for _, class := range s.Config.Classes {
		var free []drive.Drive
		for _, v := range plan.Verdicts {
			if v.Status == drive.Free && v.Class == class.Name && (only == nil || only(v)) {
				free = append(free, v.Drive)
			}
		}
		groups, note := group(class, free)
		if note != "" {
			plan.Notes = append(plan.Notes, note)
		}
		number := s.nextNumber(class.Name)
		for _, drives := range groups {
			plan.Groups = append(plan.Groups, layOut(class, number, drives))
			number++
		}
	}
	return plan
}

// group divides the drives of a class into those of one VG each. Drives of
// different block sizes are never in one: the VG would have the largest, and
// filesystems made before would not mount.
func group(class drive.Class, free []drive.Drive) (groups [][]drive.Drive, note string) {
	if class.Layout != drive.PerDrive {
		free, note = alike(class, free)
		if note != "" {
			return nil, note
		}
	}
	switch class.Layout {
	case drive.Striped:
		if len(free) == 1 {
			return nil, fmt.Sprintf("class %s is striped and needs two drives or more; %s waits", class.Name, free[0].Path)
		}
		if len(free) > 1 {
			groups = [][]drive.Drive{free}
		}
	case drive.Mirrored:
		for len(free) > 1 {
			groups, free = append(groups, free[:2:2]), free[2:]
		}
		if len(free) == 1 {
			note = fmt.Sprintf("class %s is mirrored and takes drives in pairs; %s waits for a partner", class.Name, free[0].Path)
		}
	case drive.PerDrive:
		for i := range free {
			groups = append(groups, free[i:i+1:i+1])
		}
	}
	return groups, note
}

// alike are the drives when they all have one logical block size.
func alike(class drive.Class, free []drive.Drive) (same []drive.Drive, note string) {
	for _, d := range free {
		if d.LogicalBlock != free[0].LogicalBlock {
			return nil, fmt.Sprintf("class %s is %s and its drives have different logical block sizes: %s has %d bytes, %s has %d; select them apart, or name the drives to take",
				class.Name, class.Layout, free[0].Path, free[0].LogicalBlock, d.Path, d.LogicalBlock)
		}
	}
	return free, ""
}

// nextNumber is the number of the class's next pool.
func (s *Store) nextNumber(class string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	next := 0
	for _, p := range s.poolsOf(class) {
		next = max(next, p.tags.number+1)
	}
	return next
}

// layOut reckons the parts of a VG on these drives.
func layOut(class drive.Class, number int, drives []drive.Drive) Group {
	g := Group{Class: class.Name, Number: number, Layout: class.Layout, Drives: drives}
	smallest := smallestOf(drives)
	per := (smallest - pvMetadata(smallest) - 2<<20) / extentBytes * extentBytes
	g.Bytes = per * int64(len(drives))
	g.ReserveBytes, g.ThickBytes = percent(g.Bytes, class.Reserve), percent(g.Bytes, class.Thick.Share)
	legs := int64(1)
	if class.Layout == drive.Mirrored {
		legs = 2
		g.ThickBytes /= legs
	}
	g.ThinBytes, g.MetadataBytes = poolSizes(percent(g.Bytes, class.Thin.Share), class.Thin.ChunkSize, legs, g.Bytes)
	unit := extentBytes * int64(stripesOf(class.Layout, len(drives)))
	g.ThinBytes = g.ThinBytes / unit * unit
	return g
}

func smallestOf(drives []drive.Drive) int64 {
	return slices.MinFunc(drives, func(a, b drive.Drive) int { return cmp.Compare(a.Bytes, b.Bytes) }).Bytes
}

func stripesOf(layout drive.Layout, drives int) int {
	if layout == drive.Striped {
		return drives
	}
	return 1
}

// pvMetadata is the metadata area for a drive of that size.
func pvMetadata(bytes int64) int64 {
	if bytes < smallDrive {
		return pvMetadataBytes / 4
	}
	return pvMetadataBytes
}

// poolSizes divides a share of a VG into a thin pool's data and metadata,
// which LVM keeps a spare of.
func poolSizes(share, chunk, legs, vgBytes int64) (data, metadata int64) {
	if share == 0 {
		return 0, 0
	}
	least := int64(minPoolMetadata)
	if vgBytes < smallDrive {
		least /= 4
	}
	metadata = min(max(poolMetadataPerChunk*(share/legs/chunk), least), maxPoolMetadata)
	metadata = lvm.RoundUp(metadata, extentBytes)
	spare := metadata
	data = (share - legs*metadata - spare) / legs
	if legs > 1 {
		data -= 2 * extentBytes // the metadata of the raid itself
	}
	return max(0, data/extentBytes*extentBytes), metadata
}

// Init takes the drives of the plan: one VG and its pool a group. progress is
// told before each step. Done twice, the second time changes nothing, and what
// an earlier attempt left half-made is finished.
func (s *Store) Init(ctx context.Context, plan Plan, progress func(step string)) error {
	return s.withHost(ctx, func(held *hostrecord.Held) error {
		var errs []error
		if err := s.refresh(ctx, held); err != nil {
			return err
		}
		for _, g := range plan.Groups {
			if err := s.stillFree(g); err != nil {
				errs = append(errs, err)
				continue
			}
			progress(fmt.Sprintf("class %s: make a volume group of %s", g.Class, devices(g.Drives)))
			if err := s.makeVG(ctx, g); err != nil {
				errs = append(errs, fmt.Errorf("take %s for class %s: %w", devices(g.Drives), g.Class, err))
			}
		}
		progress("make thin pools, and finish what was begun earlier")
		return errors.Join(append(errs, s.lookAgain(ctx, held), s.furnishAll(ctx, furnishPatience))...)
	})
}

// stillFree says whether the drives of the group are those that were planned:
// a drive may have been pulled, and another have got its name.
func (s *Store) stillFree(g Group) error {
	for _, d := range g.Drives {
		ok := slices.ContainsFunc(s.Verdicts(), func(v drive.Verdict) bool {
			return v.Status == drive.Free && v.Drive.Path == d.Path && v.Drive.Is(d.ID)
		})
		if !ok {
			return fmt.Errorf("take %s (%s %s) for class %s: %w: it is no longer free; look again with 'lvme drives'",
				d.Path, d.Model, d.Serial, g.Class, ErrPrecondition)
		}
	}
	return nil
}

func devices(drives []drive.Drive) []string {
	var paths []string
	for _, d := range drives {
		paths = append(paths, d.Path)
	}
	return paths
}

// makeVG makes the VG of a group; the host's lock is held. Its tags make it
// ours at once, and say what is still to be made in it.
func (s *Store) makeVG(ctx context.Context, g Group) error {
	class, _ := s.Config.Class(g.Class)
	tags := vgRecord{
		store: s.key, class: g.Class, number: g.Number, layout: string(g.Layout),
		thin: class.Thin.Share, thick: class.Thick.Share, reserve: class.Reserve, stripe: class.StripeSize,
		chunk: class.Thin.ChunkSize,
	}
	spec := lvm.VGSpec{
		Name: VGName(hostrecord.NewKey()), Devices: devices(g.Drives), MetadataSize: pvMetadata(smallestOf(g.Drives)),
		ExtentSize: extentBytes, Tags: tags.tags(),
	}
	if err := s.LVM.CreateVG(ctx, spec); err != nil {
		return domainError(err)
	}
	klog.FromContext(ctx).Info("drives taken", "vg", spec.Name, "class", g.Class, "drives", spec.Devices)
	return nil
}

// repair makes every pool ready and reports, rather than returns, what cannot
// be: one bad drive must not keep the others from serving.
func (s *Store) repair(ctx context.Context) {
	if err := s.furnishAll(ctx, s.patience()); err != nil {
		klog.FromContext(ctx).Error(err, "some pools are not ready")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if twice := s.doubles(); len(twice) > 0 {
		klog.FromContext(ctx).Error(nil, "volumes stand twice, made again while a drive was away", "volumes", twice)
	}
}

// furnishPatience is how long the pools of drives that were just taken may need
// to be made.
const furnishPatience = 10 * time.Minute

// furnishAll furnishes every pool that is here, and waits for all of them that
// long.
func (s *Store) furnishAll(ctx context.Context, wait time.Duration) error {
	s.mu.RLock()
	var here []*pool
	for _, p := range s.pools {
		if !p.away && p.reason() == "" {
			here = append(here, p)
		}
	}
	s.mu.RUnlock()
	return s.eachSoon(ctx, here, wait, func(ctx context.Context, p *pool) error {
		defer s.startWatch(p)
		defer s.startWiper(p)
		if !s.unfurnished(ctx, p) {
			return nil
		}
		return s.furnish(ctx, p)
	})
}

// unfurnished says whether there may be something to do: nobody waits for a
// pool that is in order.
func (s *Store) unfurnished(ctx context.Context, p *pool) bool {
	s.mu.RLock()
	todo := p.tags.thin > 0 && (p.thinBytes == 0 || !p.thinActive) || p.wantsInitWipe() || p.wantsMending() || p.stuck != ""
	vg := p.vg
	s.mu.RUnlock()
	lost, err := s.LVM.Lost(ctx, vg)
	return todo || s.behind(ctx, p) || s.markedHeld(p) || err != nil || len(lost.Dead)+len(lost.Degraded)+len(lost.Frozen) > 0 || s.broken(ctx, p)
}

// furnish makes what the VG should have and has not: the thin pool, active,
// and the LV that holds the thick share until it is wiped.
func (s *Store) furnish(ctx context.Context, p *pool) error {
	unlock, err := p.lockSoon(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.revive(ctx, p); err != nil {
		return err
	}
	if p.tags.thin > 0 && p.thinBytes == 0 {
		if err := s.makePool(ctx, p); err != nil {
			return fmt.Errorf("make the thin pool: %w", err)
		}
	}
	if err := s.activatePool(ctx, p); err != nil {
		return err
	}
	if err := s.mendPool(ctx, p); err != nil {
		return err
	}
	if p.wantsInitWipe() {
		return s.makeInitWipe(ctx, p)
	}
	return nil
}

// makePool makes the thin pool of a VG and believes the report of it.
func (s *Store) makePool(ctx context.Context, p *pool) error {
	chunk := p.tags.chunk
	data, metadata := p.planned()
	spec := lvm.PoolSpec{
		Name: poolLV, Size: data, MetadataSize: metadata, ChunkSize: chunk, Stripes: p.stripes(), StripeSize: p.tags.stripe,
	}
	if spec.Size == 0 {
		return fmt.Errorf("%w: a share of %d %% of %d bytes leaves nothing beside its metadata", ErrRange, p.tags.thin, p.size)
	}
	create := s.LVM.CreatePool
	if p.legs() > 1 {
		create = s.LVM.CreateMirroredPool
	}
	if err := s.change(ctx, p, func(vg lvm.VG) error { return create(ctx, vg, spec) }, func() {}); err != nil {
		return err
	}
	return s.confirmPool(ctx, p)
}

// confirmPool reports the new pool and mends what LVM made otherwise than
// asked: a pool that queues when full hangs its writers.
func (s *Store) confirmPool(ctx context.Context, p *pool) error {
	report, err := s.LVM.Report(ctx, p.vg)
	if err != nil {
		return domainError(err)
	}
	lv, ok := report.LV(poolLV)
	if !ok {
		return fmt.Errorf("LV %s: %w", poolLV, ErrNotFound)
	}
	if lv.WhenFull != "error" {
		if err := s.LVM.SetErrorWhenFull(ctx, p.vg, poolLV); err != nil {
			return domainError(err)
		}
	}
	if !lv.Zero {
		return fmt.Errorf("%w: LVM made it without zeroing of new chunks", ErrPrecondition)
	}
	return s.reload(ctx, p)
}

// wantsInitWipe says that the thick share has not been wiped nor is about to be.
func (p *pool) wantsInitWipe() bool {
	_, begun := p.wiping[initWipeLV]
	return p.tags.thick > 0 && !p.tags.clean && !begun && p.free >= p.extent
}

// makeInitWipe puts every free extent of the VG into one LV.
func (s *Store) makeInitWipe(ctx context.Context, p *pool) error {
	spec := lvm.ThickSpec{Name: initWipeLV, Size: p.free}
	return s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.CreateThick(ctx, vg, spec) }, func() {
		p.wiping[initWipeLV], p.free = spec.Size, 0
	})
}

package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

const (
	// defaultBytes is the size of a volume that names none.
	defaultBytes = 1 << 30
	// maxBytes bounds sizes so that rounding up never overflows; LVM's own
	// limit is 8 EiB, and no node holds an eighth of that.
	maxBytes = 1 << 60
)

// minFSBytes are the smallest devices that each mkfs takes (mkfs.xfs(8) since
// xfsprogs 5.19: 300 MB; ext4 with a journal). A btrfs fits into 109 MiB
// (mkfs.btrfs(8)), but the kernel resizes none to less than 256 MiB (EINVAL):
// a smaller one could be expanded and then not be used.
var minFSBytes = map[string]int64{"xfs": 300 << 20, "btrfs": 256 << 20, "ext4": 16 << 20}

// wanted is a CreateSpec with every choice made.
type wanted struct {
	CreateSpec
	lv    string
	class drive.Class
	// bytes is the size before it is rounded to the pool's unit.
	bytes int64
}

// Create returns the volume called spec.Name, making it if needed. A volume of
// that name with another size, class or source is ErrConflict. Create may be
// called again after any failure, including a crash of this process.
func (s *Store) Create(ctx context.Context, spec CreateSpec) (Volume, error) {
	w, err := s.decide(spec)
	if err != nil {
		return Volume{}, err
	}
	return fly(ctx, &s.flights, w.lv, fmt.Sprintf("create %+v", w), func(ctx context.Context) (Volume, error) {
		return s.create(ctx, w)
	})
}

// decide checks the specification and fills in what it leaves open.
func (s *Store) decide(spec CreateSpec) (wanted, error) {
	w := wanted{CreateSpec: spec, lv: VolumeLV(spec.Name)}
	profile, err := LookupProfile(spec.Profile)
	if err != nil {
		return wanted{}, err
	}
	w.Profile = profile.Name
	class, known := s.Config.Class(spec.Class)
	if !known {
		return wanted{}, Invalid("parameters.driveClass", spec.Class, "a drive class of this node's configuration")
	}
	w.class = class
	if w.Type == "" {
		w.Type = profile.Type
		if !spec.Source.IsZero() {
			w.Type = Thin
		}
	}
	if w.FSType == "" && w.Mode == Filesystem && spec.Source.IsZero() {
		w.FSType = profile.FSType
	}
	if w.Mode == Block {
		w.FSType = ""
	}
	if err := errors.Join(checkName(spec.Name), checkChoices(w)); err != nil {
		return wanted{}, err
	}
	if spec.Source.IsZero() {
		w.bytes, err = chooseSize(spec.Size, minFSBytes[w.FSType])
	} else {
		w.bytes, err = spec.Size.Required, checkRange(spec.Size)
	}
	return w, err
}

func checkChoices(w wanted) error {
	if w.Type != Thin && w.Type != Thick {
		return Invalid("parameters.type", string(w.Type), "thin or thick")
	}
	if !w.Source.IsZero() && w.Type == Thick {
		return Invalid("parameters.type", string(w.Type), "a volume made from a snapshot or another volume is thin")
	}
	share := w.class.Thin.Share
	if w.Type == Thick {
		share = w.class.Thick.Share
	}
	if share == 0 && w.Source.IsZero() {
		return Invalid("parameters.type", string(w.Type), fmt.Sprintf(
			"drive class %q has no %s share (a profile may have chosen the type: set the parameter type, or give the class a %s share)",
			w.class.Name, w.Type, w.Type))
	}
	if _, known := minFSBytes[w.FSType]; w.FSType != "" && !known {
		return Invalid("fsType", w.FSType, "ext4, xfs or btrfs")
	}
	return nil
}

// checkRange says whether the wanted size makes sense at all.
func checkRange(r Range) error {
	for field, n := range map[string]int64{"capacity_range.required_bytes": r.Required, "capacity_range.limit_bytes": r.Limit} {
		if n < 0 {
			return Invalid(field, strconv.FormatInt(n, 10), "no negative size")
		}
	}
	if r.Limit > 0 && r.Required > r.Limit {
		return Invalid("capacity_range.limit_bytes", strconv.FormatInt(r.Limit, 10), fmt.Sprintf("at least required_bytes, %d", r.Required))
	}
	if r.Required > maxBytes {
		return fmt.Errorf("capacity_range.required_bytes %d: %w: at most %d", r.Required, ErrRange, int64(maxBytes))
	}
	return nil
}

// chooseSize is the size before rounding of a volume that must have at least
// least bytes.
func chooseSize(r Range, least int64) (int64, error) {
	if err := checkRange(r); err != nil {
		return 0, err
	}
	bytes := r.Required
	if bytes == 0 {
		bytes = defaultBytes
		if r.Limit > 0 {
			bytes = min(bytes, r.Limit)
		}
	}
	bytes = max(bytes, least)
	if r.Limit > 0 && bytes > r.Limit {
		return 0, fmt.Errorf("capacity_range.limit_bytes %d: %w: its filesystem needs %d", r.Limit, ErrRange, least)
	}
	return bytes, nil
}

// create looks, compares, and makes what is missing.
func (s *Store) create(ctx context.Context, w wanted) (Volume, error) {
	for range 2 {
		have, target, exists := s.lookUp(w.lv)
		if exists {
			return s.converge(ctx, w, have, target)
		}
		err := s.make(ctx, w)
		// The name is taken by an LV that was not known: an earlier command
		// ended otherwise than it was seen to. The pool was reported again.
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return Volume{}, err
		}
	}
	return Volume{}, fmt.Errorf("LV %s: %w", w.lv, ErrConflict)
}

// lookUp finds the volume of an LV name in any pool, and the size that it is
// to get when it is not yet finished.
func (s *Store) lookUp(lv string) (have Volume, target int64, exists bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, e, exists := s.findLV(lv)
	if !exists {
		return Volume{}, 0, false
	}
	return p.volume(s.key, e), e.target, true
}

// converge compares the volume that exists with the wanted one and finishes
// what an earlier attempt left undone.
func (s *Store) converge(ctx context.Context, w wanted, have Volume, target int64) (Volume, error) {
	if err := w.compare(have, max(have.Bytes, target)); err != nil {
		return Volume{}, err
	}
	if have.Bytes < target {
		if err := s.growCopy(ctx, have.Key); err != nil {
			return Volume{}, err
		}
	}
	return s.Volume(ctx, have.Key)
}

// compare says in what the volume that exists, or will have bytes when it is
// finished, differs from the wanted one.
func (w wanted) compare(have Volume, bytes int64) error {
	differs := func(what, have, want string) error {
		return fmt.Errorf("%w: its %s is %q, not %q", ErrConflict, what, have, want)
	}
	switch {
	case have.Name != w.Name:
		return differs("name", have.Name, w.Name)
	case have.Source != w.Source:
		return differs("source", have.Source.String(), w.Source.String())
	case have.Class != w.class.Name && (w.Class != "" || w.Source.IsZero()):
		return differs("drive class", have.Class, w.class.Name)
	case have.Type != w.Type:
		return differs("type", string(have.Type), string(w.Type))
	case have.Mode != w.Mode:
		return differs("mode", string(have.Mode), string(w.Mode))
	case w.FSType != "" && have.FSType != w.FSType:
		return differs("filesystem", have.FSType, w.FSType)
	case bytes < w.Size.Required, w.Size.Limit > 0 && bytes > w.Size.Limit:
		return differs("size in bytes", strconv.FormatInt(bytes, 10), w.Size.String())
	}
	return nil
}

// make makes the volume, in the next best pool where one that has room refuses:
// it may be full of more than was promised, or need a repair.
func (s *Store) make(ctx context.Context, w wanted) error {
	if !w.Source.IsZero() {
		return s.makeCopy(ctx, w)
	}
	refusals := map[*pool]string{}
	for {
		p, bytes, release, err := s.place(w, refusals)
		if err != nil {
			return err
		}
		err = s.makeIn(ctx, w, p, bytes)
		release()
		if err == nil || !s.refused(p, w.lv, err) {
			return err
		}
		klog.FromContext(ctx).Error(err, "a pool refuses a new volume", "vg", VGName(p.id), "lv", w.lv)
		refusals[p] = "refuses: " + err.Error()
	}
}

// refused says that the pool, which was looked at again after the error, did
// not make the LV for reasons of its own.
func (s *Store) refused(p *pool, lv string, err error) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, made := p.entries.get(lv)
	return !made && p.stale == "" && (errors.Is(err, errHeld) || p.reason() != "" || errors.Is(err, ErrNoSpace) || errors.Is(err, ErrPrecondition) || errors.Is(err, ErrNotFound))
}

// makeIn makes the volume in that pool: one command, all tags in it.
func (s *Store) makeIn(ctx context.Context, w wanted, p *pool, bytes int64) error {
	unlock, err := p.lockInTurn(ctx) // another pool may be free of what holds this one up
	if err != nil {
		return err
	}
	defer unlock()
	e := entry{lv: w.lv, bytes: bytes, thick: w.Type == Thick, record: record{
		name: w.Name, state: Fresh, mode: w.Mode, fsType: w.FSType, profile: w.Profile, mkfs: w.MkfsOptions, created: s.now(),
	}}
	command := func(vg lvm.VG) error {
		return s.LVM.CreateThin(ctx, vg, lvm.ThinSpec{Name: e.lv, Pool: poolLV, Size: e.bytes, Tags: e.tags()})
	}
	if e.thick {
		command = func(vg lvm.VG) error { return s.LVM.CreateThick(ctx, vg, p.thickSpec(e)) }
	}
	err = s.change(ctx, p, command, func() { p.add(e) })
	if err == nil {
		klog.FromContext(ctx).Info("volume created", "volume", Key{s.key, p.id, e.lv}, "bytes", e.bytes, "type", w.Type)
	}
	return err
}

// now is the clock as records keep it, in whole seconds.
func (s *Store) now() time.Time { return s.Now().UTC().Truncate(time.Second) }

// thickSpec is how a thick volume lies in this pool.
func (p *pool) thickSpec(e entry) lvm.ThickSpec {
	spec := lvm.ThickSpec{Name: e.lv, Size: e.bytes, Tags: e.tags()}
	switch p.layout() {
	case drive.Striped:
		spec.Layout, spec.Stripes, spec.StripeSize = lvm.Striped, p.stripes(), p.tags.stripe
	case drive.Mirrored:
		spec.Layout = lvm.Mirrored
	case drive.PerDrive:
	}
	return spec
}

// add enters a new LV; Store.mu is held.
func (p *pool) add(e entry) {
	p.entries.put(e)
	if e.thick {
		p.free -= p.raw(e.bytes)
	}
}

// raw is what a thick LV of that size takes of the VG.
func (p *pool) raw(bytes int64) int64 { return p.legs() * (bytes + p.raidOverhead()) }

// place chooses the pool for an empty volume, none that refused it, and keeps
// room in it until release is called. bytes is the size rounded to the pool's
// unit.
func (s *Store) place(w wanted, refusals map[*pool]string) (p *pool, bytes int64, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *pool
	var bestRoom, largest int64
	var why []string
	for _, p := range s.poolsOf(w.class.Name) {
		if problem := cmp.Or(p.refuses(w.Type), refusals[p]); problem != "" {
			why = append(why, VGName(p.id)+" "+problem)
			continue
		}
		room := p.room(w)
		largest = max(largest, room)
		if room >= p.rounded(w.bytes, w.Type) && (best == nil || w.class.Placement == drive.Pack && room < bestRoom ||
			w.class.Placement != drive.Pack && room > bestRoom) {
			best, bestRoom = p, room
		}
	}
	if best == nil {
		return nil, 0, nil, noRoom(w, largest, why)
	}
	bytes = best.rounded(w.bytes, w.Type)
	if w.Size.Limit > 0 && bytes > w.Size.Limit {
		return nil, 0, nil, fmt.Errorf("capacity_range.limit_bytes %d: %w: sizes are multiples of %d here", w.Size.Limit, ErrRange, best.extent)
	}
	return best, bytes, s.promise(best, w.Type, bytes), nil
}

func noRoom(w wanted, largest int64, why []string) error {
	if len(why) > 0 {
		return fmt.Errorf("%w for %d bytes in drive class %q: the largest %s volume that fits has %d bytes; not counted: %q",
			ErrNoSpace, w.bytes, w.class.Name, w.Type, largest, why)
	}
	return fmt.Errorf("%w for %d bytes in drive class %q: the largest %s volume that fits has %d bytes", ErrNoSpace, w.bytes, w.class.Name, w.Type, largest)
}

// promise keeps room in the pool for a change that is running; s.mu is held.
func (s *Store) promise(p *pool, t Type, bytes int64) (release func()) {
	pending := &p.pendingThin
	if t == Thick {
		pending = &p.pendingThick
	}
	*pending += bytes
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		*pending -= bytes
	}
}

// poolsOf are the pools of a class, by their number; s.mu is held.
func (s *Store) poolsOf(class string) []*pool {
	var of []*pool
	for _, p := range s.pools {
		if p.tags.class == class {
			of = append(of, p)
		}
	}
	slices.SortFunc(of, func(a, b *pool) int { return a.tags.number - b.tags.number })
	return of
}

// room is the largest volume of the wanted type that fits, in bytes.
func (p *pool) room(w wanted) int64 {
	if w.Type == Thick {
		return p.thickRoom()
	}
	return p.thinRoom(w.class.Thin.Overcommit)
}

// rounded is the size that LVM gives a volume of so many bytes.
func (p *pool) rounded(bytes int64, t Type) int64 {
	if t == Thick {
		return lvm.RoundUp(bytes, p.extent*int64(p.stripes()))
	}
	return lvm.RoundUp(bytes, p.extent)
}

package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

const (
	// vgPrefix begins the name of every VG of ours; the short id follows.
	vgPrefix = "lvme-"
	// poolLV is the thin pool in each VG.
	poolLV = "pool"
	// initWipeLV holds the thick share of a new VG until it was wiped.
	initWipeLV = wipePrefix + "init"
	// unknownMapped: nobody knows how much a thin has mapped, so it counts in full.
	unknownMapped = -1
)

// pool is one VG of the store. Its fields but writer are guarded by Store.mu;
// whoever changes the VG holds writer as well.
type pool struct {
	id string
	vg lvm.VG
	// writer holds one token: the right to change this VG. Everybody who waits
	// gets it in turn.
	writer chan struct{}

	tags   vgRecord
	drives []PoolDrive
	// away: its drives are not in this node, or without it; only id, tags.class,
	// tags.number and drives are known. bare names a drive that is here without it.
	away bool
	bare string
	// stale is why nothing here may be believed, "" for no reason: a command
	// failed, and the report after it too.
	stale string
	// missing counts drives that a VG over several drives lacks; lacks names
	// them as far as the host record knows them.
	missing int
	lacks   []string
	// stuck is why nothing of the pool can be handed out though its drive is
	// here, "" for no reason; see lost.go.
	stuck string
	// quiet is why it cannot be commanded though its drive is here; see silent.go.
	quiet
	// held is since when its writer has been at work, 0 for nobody; patience is
	// for how long that is no reason to worry. effort is who makes it ready.
	held     atomic.Int64
	effort   atomic.Pointer[effort]
	patience time.Duration

	extent, size, free int64
	thinBytes          int64 // data of the thin pool, 0 without one
	thinMeta           int64
	thinActive         bool
	unzeroed, queues   bool  // the thin pool is not as it must be: see mendPool
	transaction        int64 // LVM's count of the pool's changes, as of the last report
	entries            entries
	wiping             map[string]int64 // LVs on their way out, raw bytes
	strange            []string         // LVs that are not lvme's

	// pendingThin and pendingThick are promised to creates that are running.
	pendingThin, pendingThick int64
	// seqno is LVM's count of the VG's changes when it was last reported, changes
	// our own; saved is the seqno of the last copy of its metadata, 0 for not
	// known, and backingUp says that one will be made.
	seqno, saved int64
	changes      int
	backingUp    bool
	// copying is held while a copy of the metadata is written: it has one name.
	copying sync.Mutex
	// use is what the kernel said last of the thin pool.
	use use
	// wiperRuns says that something of wiping is being worked on, healing that
	// the pool will be looked at again soon.
	wiperRuns, healing bool

	// watched is what is seen of the thin pool as it fills; see watch.go.
	watched watched
	// failing is what a drive of the pool reports of itself that it should not
	// get new volumes for, "" for nothing.
	failing string
}

func newPool(id string) *pool {
	return &pool{id: id, patience: defaultPatience, writer: make(chan struct{}, 1), wiping: map[string]int64{}}
}

// VGName is the name of the VG of that short id.
func VGName(id string) string { return vgPrefix + id }

// PoolID is the short id in a VG's name, "" for a name that is none of ours.
func PoolID(vg string) string {
	id, ours := strings.CutPrefix(vg, vgPrefix)
	if !ours || !shortID(id) {
		return ""
	}
	return id
}

// exclusively does work with the right to change the VG.
func (p *pool) exclusively(ctx context.Context, work func() error) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return work()
}

// load takes over what a report says.
func (p *pool) load(r lvm.VGReport, known map[string]drive.Drive) error {
	tags, err := parseVGRecord(r.Tags)
	if err != nil {
		return fmt.Errorf("VG %s: %w", r.Name, err)
	}
	before := p.entries
	p.vg, p.tags, p.away, p.stale, p.missing, p.lacks = r.VG(), tags, false, "", r.MissingPVs, nil
	p.extent, p.size, p.free, p.seqno = r.ExtentSize, r.Size, r.Free, r.Seqno
	p.entries, p.wiping, p.strange = entries{}, map[string]int64{}, nil
	p.thinBytes, p.thinMeta, p.thinActive, p.unzeroed, p.queues, p.transaction = 0, 0, false, false, false, 0
	p.drives = poolDrives(r, known)
	for _, lv := range r.LVs {
		p.loadLV(lv, before)
	}
	return nil
}

func (p *pool) loadLV(lv lvm.LV, before entries) {
	switch {
	case lv.Hidden:
	case lv.Name == poolLV && lv.SegType == "thin-pool":
		p.thinBytes, p.thinMeta, p.thinActive, p.transaction = lv.Size, lv.MetadataSize, lv.Active, lv.TransactionID
		p.unzeroed, p.queues = !lv.Zero, lv.WhenFull != "error"
	case strings.HasPrefix(lv.Name, wipePrefix):
		p.wiping[lv.Name] = lv.Size
	case strings.HasPrefix(lv.Name, volumePrefix), strings.HasPrefix(lv.Name, snapshotPrefix):
		rec, err := parseRecord(lv.Tags)
		if err != nil || rec.snapshot != strings.HasPrefix(lv.Name, snapshotPrefix) {
			p.strange = append(p.strange, lv.Name)
			return
		}
		known, _ := before.get(lv.Name)
		p.entries.put(entry{
			record: rec, lv: lv.Name, bytes: lv.Size, thick: lv.SegType != "thin", active: lv.Active,
			mapped: mappedOf(lv, rec, known),
		})
	default:
		p.strange = append(p.strange, lv.Name)
	}
}

// mappedOf is the most that the thin can have mapped by what is known of it.
func mappedOf(lv lvm.LV, rec record, before entry) int64 {
	switch {
	case rec.state == Fresh:
		return 0
	case lv.Active || before.lv == "":
		return unknownMapped
	default:
		return before.mapped
	}
}

func poolDrives(r lvm.VGReport, known map[string]drive.Drive) []PoolDrive {
	var drives []PoolDrive
	for _, pv := range r.PVs {
		if pv.Missing {
			continue
		}
		d := known[pv.Device]
		drives = append(drives, PoolDrive{ID: d.ID, Path: pv.Device, Model: d.Model, Serial: d.Serial, Bytes: d.Bytes})
	}
	return drives
}

// leave empties the pool: its drives are gone from this node.
func (p *pool) leave() {
	p.away, p.entries, p.wiping, p.strange = true, entries{}, map[string]int64{}, nil
	p.stale, p.stuck = "", ""
	p.now.Store(nil)
	p.size, p.free, p.thinBytes, p.thinMeta, p.thinActive = 0, 0, 0, 0, false
	p.watched.conditions, p.failing = nil, ""
	for i := range p.drives {
		p.drives[i].Path = ""
	}
}

// fromRecord fills in what the host record knows of a pool that is away.
func (p *pool) fromRecord(vg hostrecord.VG) {
	p.away = true
	p.vg = lvm.VG{Name: VGName(vg.ID), UUID: vg.UUID}
	p.tags.class, p.tags.number = vg.Class, vg.Number
	p.drives = nil
	for _, d := range vg.Drives {
		p.drives = append(p.drives, PoolDrive{ID: d.ID, Model: d.Model, Serial: d.Serial, Bytes: d.Bytes})
	}
}

// driveNames names the pool's drives for a person.
func (p *pool) driveNames() string {
	var names []string
	for _, d := range p.drives {
		names = append(names, strings.TrimSpace(d.Model+" "+d.Serial))
	}
	return strings.Join(names, ", ")
}

// problem says why the pool takes no new volumes, "" for nothing.
func (p *pool) problem() string {
	switch {
	case p.away && p.bare != "":
		return "drive " + p.bare + " is in this node without its volume group: lvme doctor says what to do"
	case p.away:
		return "drive is not in this node: " + p.driveNames()
	case p.reason() != "":
		return p.reason()
	case p.missing > 0:
		return strings.TrimSpace(fmt.Sprintf("%d of its drives missing %s", p.missing, strings.Join(p.lacks, ", ")))
	case p.stale != "":
		return "could not be looked at: " + p.stale
	case p.tags.thin > 0 && p.thinBytes == 0:
		return "has no thin pool yet; lvme init continues what was begun"
	case p.failing != "":
		return "drive fails: " + p.failing
	case p.stuck != "":
		return p.stuck
	}
	if began := p.slow(); !began.IsZero() {
		return "a change of it has been running since " + began.Format(time.TimeOnly) + ": its drive may hang"
	}
	return ""
}

// unseen is the answer to who asks for what is in a stale pool.
func (p *pool) unseen() error {
	return fmt.Errorf("VG %s: %w (the agent tries again by itself): %s", VGName(p.id), ErrUnavailable, p.stale)
}

// layout is how thick volumes of the pool lie on its drives.
func (p *pool) layout() drive.Layout { return drive.Layout(p.tags.layout) }

// thinCommitted is what the thins of the pool may come to hold, in bytes.
func (p *pool) thinCommitted() int64 { return p.entries.sums.committed }

// thinRoom is how many more bytes of thin volumes may be promised.
func (p *pool) thinRoom(overcommit float64) int64 {
	if p.thinBytes == 0 || p.refuses(Thin) != "" {
		return 0
	}
	limit, _ := p.asMade()
	if overcommit > 1 {
		limit = int64(float64(limit) * overcommit)
	}
	return max(0, limit-p.thinCommitted()-p.pendingThin)
}

// legs is how many copies of each block the pool keeps.
func (p *pool) legs() int64 {
	if p.layout() == drive.Mirrored {
		return 2
	}
	return 1
}

// stripes is over how many drives a volume of the pool is spread.
func (p *pool) stripes() int {
	if p.layout() == drive.Striped {
		return max(1, len(p.vg.Devices))
	}
	return 1
}

// thickShare is how many bytes of volumes the pool's thick share holds.
func (p *pool) thickShare() int64 { return percent(p.size, p.tags.thick) / p.legs() }

// thickUsed is what thick volumes and those still being wiped take of it.
func (p *pool) thickUsed() int64 {
	sum := p.entries.sums.thick
	for lv, bytes := range p.wiping {
		if lv != initWipeLV {
			sum += bytes
		}
	}
	return sum
}

// raidOverhead is kept for the metadata extents of each mirrored volume.
func (p *pool) raidOverhead() int64 {
	if p.legs() == 1 {
		return 0
	}
	return p.extent
}

// thickRoom is the largest thick volume that fits, in bytes. It is 0 until
// every free extent of the VG is known to be wiped.
func (p *pool) thickRoom() int64 {
	if !p.tags.clean || p.problem() != "" || p.extent == 0 {
		return 0
	}
	free := (p.free-p.bounds().left)/p.legs() - p.raidOverhead()
	room := max(0, min(p.thickShare()-p.thickUsed(), free)-p.pendingThick)
	unit := p.extent * int64(p.stripes())
	return room / unit * unit
}

func percent(n int64, share int) int64 { return n / 100 * int64(share) }

// volume is the entry as callers see it.
func (p *pool) volume(store string, e entry) Volume {
	v := Volume{
		Key: Key{Store: store, VG: p.id, LV: e.lv}, Name: e.name, Class: p.tags.class, Type: Thin, Mode: e.mode, State: e.state,
		FSType: e.fsType, Profile: e.profile, MkfsOptions: e.mkfs, Bytes: e.bytes, Created: e.created, Active: e.active,
	}
	if e.thick {
		v.Type = Thick
	}
	if e.source != "" {
		v.Source = Key{Store: store, VG: p.id, LV: e.source}
	}
	return v
}

// snapshotOf is the entry of a snapshot as callers see it.
func (p *pool) snapshotOf(store string, e entry) Snapshot {
	return Snapshot{
		Key: Key{Store: store, VG: p.id, LV: e.lv}, Name: e.name, Source: Key{Store: store, VG: p.id, LV: e.source}, Class: p.tags.class,
		Mode: e.mode, State: e.state, FSType: e.fsType, Profile: e.profile, Bytes: e.bytes, Reserved: e.reserved, Created: e.created,
	}
}

// describe is the pool as callers see it; the figures of use are the kernel's.
func (p *pool) describe() Pool {
	d := Pool{
		VG: VGName(p.id), ID: p.id, Class: p.tags.class, Number: p.tags.number, Layout: p.tags.layout, Drives: slices.Clone(p.drives),
		Away: p.away, Bytes: p.size, ThinBytes: p.thinBytes, ThinCommitted: p.thinCommitted(), MetadataBytes: p.thinMeta,
		ThickBytes: p.thickShare(), ThickUsed: p.thickUsed(), Problem: p.problem(), Strange: slices.Clone(p.strange),
	}
	for _, lv := range slices.Sorted(maps.Keys(p.wiping)) {
		d.Wiping += p.wiping[lv]
	}
	d.Reserve, d.Lent = p.bounds().left, p.lent()
	d.Volumes, d.Snapshots = p.entries.sums.volumes, p.entries.sums.snapshots
	return d
}

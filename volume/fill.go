package volume

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lvme/lvme/lvm"
)

// A thin pool can fill up in two ways. Its data can where more was promised than
// it has, which takes overcommit above 1. Its metadata can in any pool: each
// snapshot lets writes need metadata of their own. Both end badly: writes fail,
// and metadata that is full stops the whole pool. So before that, in this order,
// a pool is said to be filling, takes no new promises, and gets more of its
// group's reserve.
//
// The shares below are per cent. Those of what is for sale, the pool as it was
// made, bound what is promised; the edge is of the pool as it is now.
const (
	// dataWarn leaves a person time: a fifth of the pool.
	dataWarn = 80
	// dataStop: from here on every new volume, snapshot or larger size would
	// only bring the edge nearer.
	dataStop = 90
	// dataEdge: the pool is extended. What is left must last for one look and
	// one command: 5 % of 1 TiB are some ten seconds of a drive's full speed.
	dataEdge = 95

	metaWarn = 50
	// metaEdge comes before metaStop, so that metadata that can be extended
	// never keeps a volume from being made.
	metaEdge = 70
	// metaStop is where LVM itself refuses a small pool's new volumes. In a large
	// one it would go on to 4 MiB before the end.
	metaStop = 75

	// slack is by how much a figure must fall below a share before it counts as
	// below it again: one that hovers is told of once.
	slack = 2

	// metaKept of a reserve is never given to data: a pool out of metadata is
	// worse off than one out of data.
	metaKept = 25
	// dataSteps is in how many steps data gets its part of the reserve. A pool
	// cannot shrink again, and a burst may end, or somebody delete something,
	// before the whole of it is needed.
	dataSteps = 4
)

// stage is how far a thin pool has come.
type stage int

const (
	// filling: works, and somebody should look after it.
	filling stage = iota + 1
	// stopped: works, and takes no new promises.
	stopped
	// full: writes to new blocks fail, until there is space again.
	full
	// broken: the pool does not work any more.
	broken
)

// condition is one thing that is not as it should be with a thin pool.
type condition struct {
	stage  stage
	reason Reason
	// text is a line with the next step for people.
	text string
}

// bounds are what a pool's fill is judged by.
type bounds struct {
	// data and meta are the sizes of the pool's data and metadata, own that of
	// the data as it was made: what is for sale.
	data, meta, own int64
	committed       int64
	// reserve is the group's whole reserve, left what of it is still free; both
	// are raw bytes, of which each byte of data takes legs.
	reserve, left int64
	legs          int64
	// unit is the step of sizes of the data, extent that of the metadata.
	unit, extent, chunk int64
	drives              int64
}

// bounds are those of the pool now; Store.mu is held.
func (p *pool) bounds() bounds {
	own, _ := p.asMade()
	reserve := percent(p.size, p.tags.reserve)
	return bounds{
		data: p.thinBytes, meta: p.thinMeta, own: own, committed: p.thinCommitted(),
		reserve: reserve, left: max(0, min(reserve-p.lent(), p.free)), legs: p.legs(),
		unit: p.extent * int64(p.stripes()), extent: p.extent, chunk: p.tags.chunk, drives: int64(max(1, len(p.vg.Devices))),
	}
}

// asMade are the sizes that the group's tags give the pool. What it has beyond
// them is lent from the reserve, by lvme or by hand, and not for sale: sold, it
// would be missing when the pool fills up again.
func (p *pool) asMade() (data, meta int64) {
	if p.tags.thin == 0 || p.tags.chunk == 0 {
		return p.thinBytes, p.thinMeta
	}
	data, meta = p.planned()
	return min(data, p.thinBytes), min(meta, p.thinMeta)
}

// lent is what the thin pool has beyond that, in raw bytes of its group.
func (p *pool) lent() int64 {
	data, meta := p.asMade()
	return p.legs()*max(0, p.thinBytes-data) + (p.legs()+1)*max(0, p.thinMeta-meta)
}

// planned are the sizes that a thin pool of this group is made with.
func (p *pool) planned() (data, meta int64) {
	data, meta = poolSizes(percent(p.size, p.tags.thin), p.tags.chunk, p.legs(), p.size)
	unit := p.extent * int64(p.stripes())
	return data / unit * unit, meta
}

// mayFill says that more was promised than there is now.
func (b bounds) mayFill() bool { return b.committed > b.data }

// used is what the kernel says the data hold, in bytes.
func (b bounds) used(s lvm.PoolStatus) int64 {
	if s.DataTotal == 0 {
		return 0
	}
	return int64(float64(b.data) / float64(s.DataTotal) * float64(s.DataUsed))
}

// share is part of whole in per cent, rounded down.
func share(part, whole int64) int64 {
	if whole == 0 {
		return 0
	}
	return int64(float64(part) / float64(whole) * 100)
}

// conditions are what is not as it should be, the worst first. had are those of
// the look before: what was said then is said until the figure has fallen for good.
func (b bounds) conditions(s lvm.PoolStatus, had []condition) []condition {
	if s.Mode == lvm.PoolFailed {
		return []condition{{broken, PoolFailed, modeText(s) + ": stop its users and repair it (docs/operations.md)"}}
	}
	all := b.modeConditions(s)
	above := func(figure, limit int64, reason Reason) bool {
		if slices.ContainsFunc(had, func(c condition) bool { return c.reason == reason }) {
			limit -= slack
		}
		return figure >= limit
	}
	used := share(b.used(s), b.own)
	switch {
	case b.committed <= b.own: // It can never fill up.
	case above(used, dataStop, PoolNearlyFull):
		all = append(all, condition{stopped, PoolNearlyFull, fmt.Sprintf("thin pool is %d %% full and promised %.1f times: it takes no new volumes; %s",
			used, float64(b.committed)/float64(b.own), freeSpace)})
	case above(used, dataWarn, PoolFilling):
		all = append(all, condition{filling, PoolFilling, fmt.Sprintf("thin pool is %d %% full and promised %.1f times; %s",
			used, float64(b.committed)/float64(b.own), freeSpace)})
	}
	meta := share(s.MetaUsed, s.MetaTotal)
	switch {
	case above(meta, metaStop, MetadataNearlyFull):
		all = append(all, condition{stopped, MetadataNearlyFull, fmt.Sprintf(
			"metadata of the thin pool are %d %% full: it takes no new volumes until they are extended; delete snapshots", meta)})
	case above(meta, metaWarn, MetadataFilling):
		all = append(all, condition{filling, MetadataFilling, fmt.Sprintf(
			"metadata of the thin pool are %d %% full; delete snapshots that nobody needs (at %d %% they are extended from the reserve)", meta, metaEdge)})
	}
	slices.SortStableFunc(all, func(a, b condition) int { return cmp.Compare(b.stage, a.stage) })
	return all
}

// freeSpace is what a person does about a pool that fills up.
const freeSpace = "delete volumes or snapshots, or run fstrim on its filesystems"

// modeConditions are those that the kernel names itself.
func (b bounds) modeConditions(s lvm.PoolStatus) []condition {
	switch {
	case s.NeedsCheck:
		return []condition{{broken, PoolNeedsCheck, modeText(s) + ": stop its users and repair it (docs/operations.md)"}}
	case s.Mode == lvm.PoolReadOnly:
		return []condition{{broken, PoolReadOnly, modeText(s) + ": its metadata are full or could not be written; nothing can be deleted until they are enlarged or repaired (docs/operations.md)"}}
	case s.Mode == lvm.PoolOutOfData:
		return []condition{{full, PoolFull, modeText(s) + ": writes to new blocks fail; " + freeSpace}}
	}
	return nil
}

func modeText(s lvm.PoolStatus) string {
	return fmt.Sprintf("thin pool is in mode %q (needs check: %t)", s.Mode, s.NeedsCheck)
}

// more is what the pool's data and metadata are to be extended to, 0 for as they
// are. wanted says that one of them should be, whether or not the reserve has
// something left for it.
func (b bounds) more(s lvm.PoolStatus) (data, meta int64, wanted bool) {
	if s.Mode == lvm.PoolFailed || s.NeedsCheck { // the kernel refuses both
		return 0, 0, false
	}
	left := b.left
	if share(s.MetaUsed, s.MetaTotal) >= metaEdge && b.meta < maxPoolMetadata {
		wanted = true
		// The spare, which a repair needs, grows with it.
		legs := b.legs + 1
		step := min(lvm.RoundUp(b.meta/4, b.extent), maxPoolMetadata-b.meta, left/legs/b.extent*b.extent)
		if step > 0 {
			meta, left = b.meta+step, left-legs*step
		}
	}
	if s.Mode == lvm.PoolOutOfData || b.mayFill() && share(b.used(s), b.data) >= dataEdge {
		wanted = true
		most := (left - percent(b.reserve, metaKept)) / b.legs / b.unit * b.unit
		step := lvm.RoundUp(percent(b.reserve, 100-metaKept)/b.legs/dataSteps, b.unit)
		if step = min(step, most); step > 0 {
			data = b.data + step
		}
	}
	return data, meta, wanted
}

const (
	// topSpeed is the most that one drive writes in a second: PCIe 5.0 with
	// four lanes moves no more.
	topSpeed = 16 << 30
	// restLook is the wait between looks at a pool that is far from any edge.
	restLook = 10 * time.Second
	// idleLook is the shortest wait while a pool stays as it is, soonLook while
	// it changes. A look is one ioctl, of some 20 microseconds.
	idleLook = time.Second
	soonLook = 250 * time.Millisecond
)

// nextLook is the wait until the pool is looked at again. Until then it cannot
// come to the edge: no drive writes faster than topSpeed, and a new block of
// metadata takes at least one new chunk of data, since what needs one is a chunk
// that is given out or copied. Only where a pool is so small or so near its edge
// that the wait would be very short does it take a change, which begins just
// after a look, by surprise; extending takes as long as that anyway.
func (b bounds) nextLook(s lvm.PoolStatus, changed bool) time.Duration {
	bytes := max(0, s.MetaTotal*metaEdge/100-s.MetaUsed) * b.chunk
	if b.mayFill() {
		bytes = min(bytes, max(0, percent(b.data, dataEdge)-b.used(s)))
	}
	least := idleLook
	if changed {
		least = soonLook
	}
	seconds := float64(bytes) / float64(topSpeed*b.drives)
	return min(restLook, max(least, time.Duration(seconds*float64(time.Second))))
}

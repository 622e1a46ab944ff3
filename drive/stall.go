package drive

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// work is what the kernel has counted of a drive: requests that have ended, and
// those that the drive has and has not answered.
type work struct{ ended, waiting uint64 }

// work reads the counters of /sys/block/NAME/stat (Documentation/block/stat.rst)
// and no drive. A drive without them has no work.
func (t tree) work(name string) work {
	f := strings.Fields(t.text("sys/block", name, "stat"))
	at := func(i int) uint64 {
		if i >= len(f) {
			return 0
		}
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	// Reads, writes, discards and flushes that have ended.
	return work{ended: at(0) + at(4) + at(11) + at(15), waiting: at(8)}
}

// Stalled says whether a drive has work and ends none of it within a moment. It
// may be hanging, or busy with something large: now is no time to ask the
// kernel for what it keeps under a lock while it waits for the drive.
func Stalled(ctx context.Context, h Host, name string, moment time.Duration) bool {
	t := tree(h.Root)
	before := t.work(name)
	if before.waiting == 0 {
		return false
	}
	select {
	case <-time.After(moment):
	case <-ctx.Done():
		return true
	}
	after := t.work(name)
	return after.waiting > 0 && after.ended == before.ended
}

// Stalls finds the drives that hang by watching the kernel's counters of them.
// The zero value is ready to use, by one goroutine.
type Stalls struct {
	seen map[string]stall
}

type stall struct {
	work
	since time.Time // of the last request that ended, or of idleness
}

// Look is to be called every few seconds. It names the drives that have had
// work for at least patience and ended none of it.
func (s *Stalls) Look(h Host, now time.Time, patience time.Duration) (names []string) {
	t := tree(h.Root)
	all, err := t.namespaces()
	if err != nil {
		return nil
	}
	next := map[string]stall{}
	for _, name := range all {
		is, was := t.work(name), s.seen[name]
		if is.waiting == 0 || was.waiting == 0 || is.ended != was.ended || was.since.IsZero() {
			was.since = now
		}
		next[name] = stall{is, was.since}
		if now.Sub(was.since) >= patience {
			names = append(names, name)
		}
	}
	s.seen = next
	slices.Sort(names)
	return names
}

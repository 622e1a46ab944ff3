package agent

import (
	"context"
	"hash/fnv"
	"time"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/node"
)

// nextTrim is when filesystems are trimmed next: at a moment of each period
// that is the store's own, so that the nodes of a cluster take turns, and that
// no restart of an agent moves or puts off.
func nextTrim(now time.Time, every time.Duration, store string) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(store)) // never fails
	own := time.Duration(h.Sum64() % uint64(every))
	begun := now.Add(-own).Truncate(every)
	return begun.Add(every + own)
}

// keepTrimming trims all filesystems once in each period, until ctx ends.
func (a *Agent) keepTrimming(ctx context.Context) {
	every := a.options.Config.TrimEvery
	if every == 0 {
		return
	}
	select {
	case <-a.opened:
	case <-ctx.Done():
		return
	}
	for {
		timer := time.NewTimer(time.Until(nextTrim(time.Now(), every, a.Store().Key())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			a.trim(ctx)
		}
	}
}

// trim trims all filesystems, and counts what they give back.
func (a *Agent) trim(ctx context.Context) {
	log := klog.FromContext(ctx)
	start, filesystems, total := time.Now(), 0, int64(0)
	err := a.node.Trim(ctx, func(t node.Trimmed) {
		filesystems++
		total += t.Bytes
		a.metrics.trimmed.Add(float64(t.Bytes))
		if t.Err != nil {
			a.metrics.failedTrims.Inc()
			log.Error(t.Err, "a filesystem was not trimmed; its next turn comes", "volume", t.Key.String(), "in", a.options.Config.TrimEvery)
		}
	})
	if err != nil && ctx.Err() == nil {
		a.metrics.failedTrims.Inc()
		log.Error(err, "filesystems were not trimmed")
	}
	log.Info("filesystems were trimmed", "filesystems", filesystems, "bytes", total, "took", time.Since(start).Round(time.Second))
}

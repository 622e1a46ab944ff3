package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/volume"
)

const (
	// stampEvery is how often the host record is looked at for what other
	// lvme commands wrote: one stat.
	stampEvery = 2 * time.Second
	// retryAfter is how long after a failed look the next one comes, unless a
	// drive or the host record changes before.
	retryAfter = 15 * time.Second
	// ailingEvery is the same while a drive cannot be asked, or a pool waits for
	// what is in use of it.
	ailingEvery = time.Minute
	// lookEvery is the longest time without a look. It finds what no event
	// told of: a pool that could not be read, a drive whose health got worse.
	lookEvery = 10 * time.Minute
)

// looks is what the agent remembers between two looks at its drives.
type looks struct {
	next  time.Time        // when the next is due at the latest
	early time.Time        // when it is due if some pool cannot be asked
	stamp hostrecord.Stamp // of the host record before the last one
	fault string           // of the last one, logged already
	notes string           // of the last plan, logged already
	hung  []string         // drives that had ended no work for a while
}

// keepLooking opens the store, as often as it takes, and from then on follows
// what happens to the drives and to the host record, until ctx ends.
func (a *Agent) keepLooking(ctx context.Context) {
	events := a.watch(ctx)
	tick := time.NewTicker(stampEvery)
	defer tick.Stop()
	a.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil // a nil channel is never ready
				continue
			}
			a.look(ctx)
		case now := <-tick.C:
			if a.due(ctx, now) {
				a.look(ctx)
			}
		}
	}
}

// watch is the channel of drive events. Without events the agent still looks
// from time to time.
func (a *Agent) watch(ctx context.Context) <-chan struct{} {
	if a.host.Watch == nil {
		return nil
	}
	events, err := a.host.Watch(ctx)
	if err != nil {
		klog.FromContext(ctx).Error(err, "drives that come and go are noticed late", "every", lookEvery)
	}
	return events
}

// due says whether it is time for a look.
func (a *Agent) due(ctx context.Context, now time.Time) bool {
	if s := a.Store(); now.After(a.looks.next) || s != nil && now.After(a.looks.early) && s.Ailing() {
		return true
	}
	if a.host.Stalls != nil {
		hung := a.host.Stalls(now)
		changed := !slices.Equal(hung, a.looks.hung)
		if a.looks.hung = hung; changed {
			klog.FromContext(ctx).Info("drives that answer no requests changed", "drives", hung)
			return true
		}
	}
	stamp, err := hostrecord.ReadStamp(a.options.StateDir)
	if err != nil {
		klog.FromContext(ctx).V(1).Info("host record cannot be looked at", "error", err)
		return false
	}
	return stamp != a.looks.stamp
}

// look looks at the drives once and takes what came and may be taken.
func (a *Agent) look(ctx context.Context) {
	// Before the look: what is written during it makes the next one due.
	a.looks.stamp, _ = hostrecord.ReadStamp(a.options.StateDir)
	err := a.openOrRefresh(ctx)
	if err == nil {
		err = a.takeAutomatic(ctx, a.Store())
		a.settle()
	}
	a.looks.next, a.looks.early = time.Now().Add(lookEvery), time.Now().Add(ailingEvery)
	if err != nil {
		a.looks.next = time.Now().Add(retryAfter)
	}
	if ctx.Err() == nil {
		a.report(ctx, err)
	}
}

func (a *Agent) openOrRefresh(ctx context.Context) error {
	if s := a.Store(); s != nil {
		return s.Refresh(ctx)
	}
	err := a.open(ctx)
	if err != nil {
		a.gate.Wait(err)
	}
	return err
}

// report logs the fault of a look once, not every few seconds.
func (a *Agent) report(ctx context.Context, err error) {
	log := klog.FromContext(ctx)
	fault := ""
	if err != nil {
		fault = err.Error()
		a.metrics.failedLooks.Inc()
	}
	if fault == a.looks.fault {
		return
	}
	a.looks.fault = fault
	switch {
	case err == nil:
		log.Info("drives can be looked at again")
	case errors.Is(err, volume.ErrAdopt):
		log.Error(err, "this node serves no volumes until an operator decides: 'lvme drives' shows the drives, 'lvme adopt' makes their store this node's")
	default:
		log.Error(err, "drives could not be looked at; trying again", "every", retryAfter)
	}
}

// taking is the controller service of a store that may be taking its first
// drives. How much room it has is not known meanwhile, rather than none: whoever
// asks comes back soon, and with none only some time later.
type taking struct {
	csi.ControllerServer
	settled <-chan struct{}
}

// GetCapacity implements csi.ControllerServer.
func (t taking) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	select {
	case <-t.settled:
		return t.ControllerServer.GetCapacity(ctx, req)
	default:
		return nil, fmt.Errorf("%w: this node takes its drives first", driver.ErrStarting)
	}
}

// automatic is what may be taken without being told.
func automatic(s *volume.Store) volume.Plan {
	return s.Plan(func(v drive.Verdict) bool { return v.Auto })
}

// takeAutomatic takes the free drives of classes that say so.
func (a *Agent) takeAutomatic(ctx context.Context, s *volume.Store) error {
	log := klog.FromContext(ctx)
	plan := automatic(s)
	if notes := strings.Join(plan.Notes, "; "); notes != a.looks.notes {
		a.looks.notes = notes
		log.Info("drives that wait for others changed", "waiting", notes)
	}
	if len(plan.Groups) == 0 {
		return nil
	}
	return s.Init(ctx, plan, func(step string) { log.Info("taking drives", "step", step) })
}

package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

const (
	// payment bounds one payment. Nothing of it is sent to an agent later.
	payment = 30 * time.Second
	// reserve is how long a tombstone is taken beyond the end of what it is
	// taken for, so that the clocks of two nodes need not agree.
	reserve = time.Minute
	// nowhere is the id of a VG that no store has.
	nowhere = "00000000"
)

// owe notes that something is to be deleted in a store once that is back.
func (r *Router) owe(ctx context.Context, t Tombstone) error {
	t.Since = time.Now()
	if err := r.config.Ledger.Add(ctx, t); err != nil {
		return ledgerError("note what is to be deleted in store "+t.Store+" later", err)
	}
	klog.FromContext(ctx).Info("a deletion is owed", "store", t.Store, "volume", t.ID, "name", t.Name)
	return nil
}

// lvOf is the name of the LV that a tombstone is about.
func lvOf(t Tombstone) string {
	if t.ID == "" {
		return volume.VolumeLV(t.Name)
	}
	key, _ := volume.ParseKey(t.ID) // nothing else is recorded
	return key.LV
}

// retries are the tombstones of a store that could not be paid, and when to try
// again: ever more seldom.
type retries map[string]retry

type retry struct {
	wait time.Duration
	at   time.Time
}

// longestWait is between two attempts to pay a tombstone.
const longestWait = 10 * time.Minute

// pay deletes what is owed to the store of that agent. What cannot be deleted
// now stays owed, for another time.
func (r *Router) pay(ctx context.Context, a *agent, store string, failed retries) {
	ctx, cancel := context.WithTimeout(ctx, 2*payment)
	defer cancel()
	for _, t := range r.config.Ledger.Owed(store) {
		key := t.ID + " " + t.Name
		again := failed[key]
		if t.ID == "" && time.Since(t.Since) < r.config.Settle || time.Now().Before(again.at) {
			continue
		}
		err := r.payOne(ctx, a, t)
		if err == nil {
			delete(failed, key)
			continue
		}
		again.wait = min(max(2*again.wait, r.config.Tend), longestWait)
		again.at = time.Now().Add(again.wait)
		failed[key] = again
		if !errors.Is(err, ErrTaken) {
			klog.FromContext(ctx).Error(err, "a deletion is still owed", "store", t.Store, "volume", t.ID, "name", t.Name, "again", again.wait)
		}
	}
}

// payOne pays one tombstone, unless its volume is being created right now.
func (r *Router) payOne(ctx context.Context, a *agent, t Tombstone) error {
	unlock, ok := r.names.TryLock(lvOf(t))
	if !ok {
		return nil
	}
	defer unlock()
	free, err := a.changes.take(a.Node)
	if err != nil {
		return err
	}
	defer free()
	return r.payLocked(ctx, a, t)
}

// payLocked pays one tombstone, whose name is locked and for which the caller
// has a slot. An ErrTaken says that another replica is at it.
func (r *Router) payLocked(ctx context.Context, a *agent, t Tombstone) error {
	ctx, cancel := context.WithTimeout(ctx, payment)
	defer cancel()
	taken, err := r.config.Ledger.Take(ctx, t, time.Now().Add(payment+reserve))
	if err != nil {
		return fmt.Errorf("take the tombstone: %w", err)
	}
	if !taken {
		return nil // another replica has paid it
	}
	if err := r.deleteOwed(ctx, a, t); err != nil {
		r.release(ctx, t, err)
		return err
	}
	r.capacity.invalidate(t.Store)
	if err := r.config.Ledger.Remove(ctx, t); err != nil {
		return fmt.Errorf("remove the tombstone: %w", err)
	}
	r.metrics.paid.Inc()
	klog.FromContext(ctx).Info("a deletion that was owed is done", "store", t.Store, "volume", t.ID, "name", t.Name)
	return nil
}

// release lets others take a tombstone that could not be paid, unless its
// deletion may still be on its way.
func (r *Router) release(ctx context.Context, t Tombstone, why error) {
	switch codeOf(why) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return
	}
	if _, err := r.config.Ledger.Take(ctx, t, time.Now()); err != nil {
		klog.FromContext(ctx).Error(err, "a tombstone stays taken for a while", "store", t.Store, "volume", t.ID, "name", t.Name)
	}
}

// deleteOwed deletes what a tombstone is about.
func (r *Router) deleteOwed(ctx context.Context, a *agent, t Tombstone) error {
	if t.ID != "" {
		return deleteID(ctx, a, t.ID)
	}
	// Names are locked in the whole store: a deletion of that LV, wherever it
	// is, is refused as long as an earlier creation is still running.
	probe := volume.Key{Store: t.Store, VG: nowhere, LV: lvOf(t)}
	if err := deleteID(ctx, a, probe.String()); err != nil {
		return fmt.Errorf("see whether a creation is still running: %w", err)
	}
	ids, err := volumesOf(ctx, a, lvOf(t))
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.deleteUnwanted(ctx, a, t.Name, id); err != nil {
			return err
		}
	}
	return nil
}

// deleteUnwanted deletes what an attempt to create a volume left behind. A
// volume that somebody has after all is kept.
func (r *Router) deleteUnwanted(ctx context.Context, a *agent, name, id string) error {
	wanted, err := r.config.Cluster.Wanted(ctx, name, id)
	if err != nil {
		return fmt.Errorf("look whether anybody has volume %s: %w", id, err)
	}
	if wanted {
		klog.FromContext(ctx).Info("a volume that was to be deleted is in use, and is kept", "volume", id, "name", name)
		return nil
	}
	return deleteID(ctx, a, id)
}

// deleteID deletes the volume or snapshot of that id.
func deleteID(ctx context.Context, a *agent, id string) (err error) {
	key, err := volume.ParseKey(id)
	if err != nil {
		return nil //nolint:nilerr // it names nothing, so there is nothing to delete
	}
	if key.IsSnapshot() {
		_, err = a.controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
	} else {
		_, err = a.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
	}
	if err != nil {
		return driver.AnsweredBy(a.Node, err)
	}
	return nil
}

// volumesOf are the ids of the volumes of an agent whose LV has that name.
func volumesOf(ctx context.Context, a *agent, lv string) (ids []string, err error) {
	list, err := a.controller.ListVolumes(ctx, &csi.ListVolumesRequest{})
	if err != nil {
		return nil, driver.AnsweredBy(a.Node, err)
	}
	for _, e := range list.GetEntries() {
		if key, err := volume.ParseKey(e.GetVolume().GetVolumeId()); err == nil && key.LV == lv {
			ids = append(ids, key.String())
		}
	}
	return ids, nil
}

// recall takes the tombstones of a volume that is about to be created in that
// store after all, so that nobody pays them meanwhile. What it returns removes
// them, once the volume is there. A deletion that its user asked for is done
// first. The volume's name is locked and the caller has a slot.
func (r *Router) recall(ctx context.Context, a *agent, store, name string) (forget func() error, err error) {
	until := time.Now().Add(payment + reserve)
	if deadline, ok := ctx.Deadline(); ok {
		until = deadline.Add(reserve)
	}
	var mine []Tombstone
	for _, t := range r.config.Ledger.Owed(store) {
		switch {
		case lvOf(t) != volume.VolumeLV(name):
		case t.ID != "":
			if err := r.payLocked(ctx, a, t); err != nil {
				return nil, fmt.Errorf("the earlier %s must be deleted first: %w: %s", t.ID, volume.ErrBusy, err.Error())
			}
		default:
			taken, err := r.config.Ledger.Take(ctx, t, until)
			if err != nil {
				return nil, ledgerError("take back what was to be deleted in store "+store, err)
			}
			if taken {
				mine = append(mine, t)
			}
		}
	}
	return func() error { return r.forget(ctx, store, mine) }, nil
}

func (r *Router) forget(ctx context.Context, store string, tombstones []Tombstone) error {
	for _, t := range tombstones {
		if err := r.config.Ledger.Remove(ctx, t); err != nil {
			return ledgerError("forget what was to be deleted in store "+store, err)
		}
	}
	return nil
}

// ledgerError is what a caller gets to read of an error of the ledger: try
// again, and again soon if another replica is at it.
func ledgerError(what string, err error) error {
	if errors.Is(err, ErrTaken) {
		return fmt.Errorf("%s: %w: %w", what, volume.ErrBusy, err)
	}
	return fmt.Errorf("%s: %w: %w", what, driver.ErrUnreachable, err)
}

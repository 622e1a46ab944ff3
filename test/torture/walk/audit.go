package walk

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/torture/model"
)

// audit reads a volume as a pod would and verifies what it holds; how it is
// staged and published is then as before.
func (w *Walk) audit(ctx context.Context, o *model.Object) error {
	wasStaged, wasPublished := o.Staged, o.Published
	if wasPublished != model.Yes {
		if err := w.do(ctx, w.stage(o), w.publish(o)); err != nil {
			return err
		}
	}
	if err := w.do(ctx, w.verify(o)); err != nil {
		return err
	}
	if wasPublished != model.Yes {
		if err := w.do(ctx, w.unpublish(o)); err != nil {
			return err
		}
	}
	if wasStaged != model.Yes && wasPublished != model.Yes {
		return w.do(ctx, w.unstage(o))
	}
	return nil
}

// sample reads one of the volumes and snapshots that were written to.
func (w *Walk) sample(ctx context.Context) error {
	all := w.model.Pick(func(o *model.Object) bool { return o.Usable() && o.Content != "" && o.Staged != model.Maybe })
	if len(all) == 0 {
		return nil
	}
	o := one(w.Dice, all)
	if o.Snapshot {
		return w.proveSnapshot(ctx, o)
	}
	return w.audit(ctx, o)
}

// do makes calls that nothing disturbs.
func (w *Walk) do(ctx context.Context, actions ...action) error {
	for _, a := range actions {
		w.Log("  %s", a)
		w.report.Verbs[a.verb]++
		if err := w.make(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	return nil
}

// contents holds a published volume against the model.
func (w *Walk) contents(ctx context.Context, o *model.Object) error {
	if o.Content != "" {
		have, err := w.host.Sum(ctx, &o.Volume)
		if err != nil {
			return w.found(model.Damaged, "%s cannot be read: %v", o.ID, err)
		}
		w.report.Contents++
		if have != o.Content {
			return w.found(model.Damaged, "%s holds %s and %s was written", o.ID, have, o.Content)
		}
	}
	if o.Records != "" {
		if err := w.host.Hold(ctx, &o.Volume, o.Records); err != nil {
			return w.found(model.Damaged, "%s lost records that were acknowledged: %v", o.ID, err)
		}
		w.report.Records += strings.Count(o.Records, "\n")
	}
	return nil
}

// finish verifies everything once more, deletes it and verifies that nothing
// is left.
func (w *Walk) finish(ctx context.Context) error {
	w.Log("the end: everything is verified and deleted")
	if err := w.look(ctx); err != nil {
		return err
	}
	for _, o := range w.model.Pick(func(o *model.Object) bool { return o.Snapshot && o.Usable() && o.Content != "" }) {
		if err := w.proveSnapshot(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range w.model.Pick(func(o *model.Object) bool { return !o.Snapshot }) {
		if err := w.farewell(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range w.model.Pick(func(*model.Object) bool { return true }) {
		if err := w.do(ctx, w.remove(o)); err != nil {
			return err
		}
	}
	return w.empty(ctx)
}

// proveSnapshot restores a snapshot and looks into the copy.
func (w *Walk) proveSnapshot(ctx context.Context, of *model.Object) error {
	restored := w.newCopy(of, 0)
	if err := w.do(ctx, w.create(restored)); err != nil {
		return err
	}
	if w.model.Objects[restored.LV()] == nil {
		return nil // The pool has no room for it.
	}
	if err := w.audit(ctx, restored); err != nil {
		return err
	}
	return w.do(ctx, w.remove(restored))
}

// farewell looks into a volume for the last time and takes it from its pod.
func (w *Walk) farewell(ctx context.Context, o *model.Object) error {
	if o.Usable() && (w.thorough || o.Content != "" || o.Published == model.Yes) {
		if err := w.audit(ctx, o); err != nil {
			return err
		}
	}
	if err := w.do(ctx, w.unpublish(o), w.unstage(o)); err != nil {
		return err
	}
	if w.Audit && o.Usable() && o.FS != "" && !o.Thick() && o.Content != "" {
		return w.fsck(ctx, o)
	}
	return nil
}

// fsck has the filesystem of an unstaged volume checked, on a copy that is a
// raw device.
func (w *Walk) fsck(ctx context.Context, o *model.Object) error {
	c := w.newCopy(o, 0)
	fs := c.FS
	c.FS, c.Content, c.Parameters = "", "", map[string]string{"allowModeChange": "true"}
	if err := w.do(ctx, w.create(c)); err != nil || w.model.Objects[c.LV()] == nil {
		return err
	}
	if err := w.do(ctx, w.stage(c), w.publish(c)); err != nil {
		return err
	}
	w.report.Checks++
	if err := w.host.Check(ctx, &c.Volume, fs); err != nil {
		return w.found(model.Damaged, "%s: %v", o.ID, err)
	}
	return w.do(ctx, w.unpublish(c), w.unstage(c), w.remove(c))
}

// errNotYet is what insist waits for to pass.
var errNotYet = status.Error(codes.Unavailable, "not yet")

// empty verifies that nothing is left but what there was at the beginning.
func (w *Walk) empty(ctx context.Context) error {
	sight, err := w.wiped(ctx)
	if err != nil {
		return err
	}
	if err := w.compare(ctx, sight); err != nil {
		return err
	}
	if err := w.given(poolUse(sight)); err != nil {
		return err
	}
	var have map[string]int64
	err = w.insist(ctx, func(ctx context.Context) (err error) {
		// What was wiped is room again a moment after it is gone.
		if have, err = w.capacities(ctx); err == nil && !maps.Equal(have, w.capacity) {
			err = errNotYet
		}
		return err
	})
	if err != nil {
		return w.found(model.Leaked, "there is room for %v, at the beginning for %v", have, w.capacity)
	}
	return nil
}

// chunksPerCut is how many chunks can be on their way to thins when the power is
// cut: a write to each, of which each queue has a few.
const chunksPerCut = 128

// given verifies that pools have their chunks back. Those on their way to a thin
// when the power is cut stay in the count of those that are used, though a check
// takes them back (docs/limitations.md).
func (w *Walk) given(used map[string]int64) error {
	cuts := int64(w.report.Faults[powerCut])
	for vg, before := range w.used {
		lost := used[vg] - before
		if lost < 0 || lost > cuts*chunksPerCut || len(used) != len(w.used) {
			return w.found(model.Leaked, "pools use %v chunks, at the beginning %v, after %d power cuts", used, w.used, cuts)
		}
		w.report.Chunks += lost
	}
	return nil
}

// newCopy is a copy of a volume or snapshot that is not made yet.
func (w *Walk) newCopy(of *model.Object, more int64) *model.Object {
	c := &model.Object{Volume: rig.Volume{Spec: rig.Spec{Name: w.name("copy"), FS: of.FS}, Root: w.host.Root()}, Of: of.LV(), Content: of.Content}
	if of.Snapshot {
		c.Volume.Spec.Snapshot = of.ID
	} else {
		c.Volume.Spec.Volume = of.ID
	}
	c.Size = of.Size
	if more > 0 {
		c.Bytes, c.Size, c.Half = of.Size+more, of.Size+more, of.Size
	}
	return c
}

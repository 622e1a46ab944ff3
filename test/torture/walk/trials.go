package walk

import (
	"context"

	"github.com/lvme/lvme/test/torture/model"
)

// trial is a verb whose deaths are gone through.
type trial struct {
	verb string
	// prepare brings the node to where the call can be made.
	prepare func(ctx context.Context, w *Walk) (action, error)
	// wipes: what the call begins goes on after it was answered.
	wipes bool
}

var (
	thinExt4  = kindOf{fs: "ext4", bytes: 48 * mib}
	thinXFS   = kindOf{fs: "xfs", bytes: 300 * mib}
	thinBtrfs = kindOf{fs: "btrfs", bytes: 256 * mib}
	thinBlock = kindOf{bytes: 32 * mib}
	thickExt4 = kindOf{fs: "ext4", bytes: 32 * mib, thick: true}
	thickRaw  = kindOf{bytes: 16 * mib, thick: true}
)

// trials are all verbs that change a node, in what ways they do it differently.
var trials = []trial{
	{"create thin", create(thinExt4), false},
	{"create thick", create(thickRaw), false},
	{"stage, ext4, first", on(thinExt4, made, (*Walk).stage), false},
	{"stage, xfs, first", on(thinXFS, made, (*Walk).stage), false},
	{"stage, thick ext4, first", on(thickExt4, made, (*Walk).stage), false},
	{"stage, block, first", on(thinBlock, made, (*Walk).stage), false},
	{"stage, ext4, again", on(thinExt4, used, (*Walk).stage), false},
	{"stage, block, again", on(thinBlock, used, (*Walk).stage), false},
	{"stage, larger copy", onCopy(thinExt4, 8*mib, (*Walk).stage), false},
	{"stage, btrfs copy", onCopy(thinBtrfs, 0, (*Walk).stage), false},
	{"publish", on(thinExt4, staged, (*Walk).publish), false},
	{"publish, block", on(thinBlock, staged, (*Walk).publish), false},
	{"snapshot, mounted", on(thinExt4, filled, takeSnapshot), false},
	{"restore", onSnapshot(thinExt4, func(w *Walk, s *model.Object) action { return w.create(w.newCopy(s, 0)) }), false},
	{"restore, larger", onSnapshot(thinExt4, func(w *Walk, s *model.Object) action { return w.create(w.newCopy(s, 16*mib)) }), false},
	{"clone, mounted", on(thinExt4, filled, func(w *Walk, o *model.Object) action { return w.create(w.newCopy(o, 0)) }), false},
	{"clone, larger", on(thinBlock, filled, func(w *Walk, o *model.Object) action { return w.create(w.newCopy(o, 16*mib)) }), false},
	{"expand, mounted", on(thinExt4, filled, func(w *Walk, o *model.Object) action { return w.expand(o, o.Size+16*mib) }), false},
	{"expand thick", on(thickExt4, filled, func(w *Walk, o *model.Object) action { return w.expand(o, o.Size+16*mib) }), false},
	{"expand on the node", on(thinExt4, expanded, (*Walk).nodeExpand), false},
	{"unpublish", on(thinExt4, filled, (*Walk).unpublish), false},
	{"unpublish, block", on(thinBlock, filled, (*Walk).unpublish), false},
	{"unstage", on(thinExt4, unpublished, (*Walk).unstage), false},
	{"unstage, block", on(thinBlock, unpublished, (*Walk).unstage), false},
	{"delete, fresh", on(thinExt4, made, (*Walk).remove), false},
	{"delete thin", on(thinExt4, used, (*Walk).remove), false},
	{"delete thick", on(thickRaw, used, (*Walk).remove), true},
	{"delete a snapshot", onSnapshot(thinExt4, (*Walk).remove), false},
}

func create(k kindOf) func(context.Context, *Walk) (action, error) {
	return func(_ context.Context, w *Walk) (action, error) { return w.create(w.volumeOf(k)), nil }
}

// on is a call for a volume that was brought somewhere.
func on(k kindOf, bring func(context.Context, *Walk, *model.Object) error, call func(*Walk, *model.Object) action) func(context.Context, *Walk) (action, error) {
	return func(ctx context.Context, w *Walk) (action, error) {
		o := w.volumeOf(k)
		err := bring(ctx, w, o)
		return call(w, o), err
	}
}

// onCopy is a call for a copy of a volume that was written to.
func onCopy(k kindOf, more int64, call func(*Walk, *model.Object) action) func(context.Context, *Walk) (action, error) {
	return func(ctx context.Context, w *Walk) (action, error) {
		o := w.volumeOf(k)
		if err := filled(ctx, w, o); err != nil {
			return action{}, err
		}
		c := w.newCopy(o, more)
		err := w.do(ctx, w.create(c))
		return call(w, c), err
	}
}

// onSnapshot is a call for a snapshot of a volume that was written to since.
func onSnapshot(k kindOf, call func(*Walk, *model.Object) action) func(context.Context, *Walk) (action, error) {
	return func(ctx context.Context, w *Walk) (action, error) {
		o := w.volumeOf(k)
		if err := filled(ctx, w, o); err != nil {
			return action{}, err
		}
		s := w.newSnapshot(o)
		err := w.do(ctx, w.snapshot(s, o), w.fill(o))
		return call(w, s), err
	}
}

func takeSnapshot(w *Walk, o *model.Object) action { return w.snapshot(w.newSnapshot(o), o) }

// Where a volume is brought: made, staged, filled (published and written to),
// used (filled and at rest again) ...
func made(ctx context.Context, w *Walk, o *model.Object) error { return w.do(ctx, w.create(o)) }

func staged(ctx context.Context, w *Walk, o *model.Object) error {
	return w.do(ctx, w.create(o), w.stage(o))
}

func filled(ctx context.Context, w *Walk, o *model.Object) error {
	return w.do(ctx, w.create(o), w.stage(o), w.publish(o), w.fill(o))
}

func unpublished(ctx context.Context, w *Walk, o *model.Object) error {
	return w.do(ctx, w.create(o), w.stage(o), w.publish(o), w.fill(o), w.unpublish(o))
}

func used(ctx context.Context, w *Walk, o *model.Object) error {
	if err := unpublished(ctx, w, o); err != nil {
		return err
	}
	return w.do(ctx, w.unstage(o))
}

// expanded is larger than its filesystem, which no pod had when it grew.
func expanded(ctx context.Context, w *Walk, o *model.Object) error {
	if err := staged(ctx, w, o); err != nil {
		return err
	}
	return w.do(ctx, w.expand(o, o.Size+16*mib), w.publish(o), w.fill(o))
}

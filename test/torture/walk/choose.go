package walk

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/torture/model"
)

const mib = int64(1) << 20

// name is one that was not given out before.
func (w *Walk) name(kind string) string {
	w.named++
	return fmt.Sprintf("%s-%d", kind, w.named)
}

// kindOf is a kind of volume and how often one is chosen.
type kindOf struct {
	often int
	fs    string
	bytes int64
	thick bool
}

// kinds are small, of sizes that LVM need not round.
var kinds = []kindOf{
	{5, "ext4", 48 * mib, false}, {2, "xfs", 300 * mib, false}, {1, "btrfs", 256 * mib, false}, {4, "", 32 * mib, false},
	{2, "ext4", 32 * mib, true}, {2, "", 16 * mib, true},
}

// newVolume is a volume that is not made yet.
func (w *Walk) newVolume() *model.Object {
	total := 0
	for _, k := range kinds {
		total += k.often
	}
	n, kind := w.Dice.IntN(total), kinds[0]
	for _, k := range kinds {
		if n -= k.often; n < 0 {
			kind = k
			break
		}
	}
	return w.volumeOf(kind)
}

func (w *Walk) volumeOf(k kindOf) *model.Object {
	o := &model.Object{Volume: rig.Volume{Spec: rig.Spec{Name: w.name("pvc"), FS: k.fs, Bytes: k.bytes}, Size: k.bytes, Root: w.host.Root()}}
	if k.thick {
		o.Parameters = map[string]string{"type": "thick"}
	}
	return o
}

// choice is a way to go on; its action is only asked for where of holds for an
// object, if there is an of.
type choice struct {
	often int
	of    func(*model.Object) bool
	do    func(w *Walk, o *model.Object) action
}

func volumeThat(test func(*model.Object) bool) func(*model.Object) bool {
	return func(o *model.Object) bool { return !o.Snapshot && o.Usable() && test(o) }
}

var (
	anyVolume = volumeThat(func(*model.Object) bool { return true })
	atRest    = volumeThat(func(o *model.Object) bool { return o.Staged == model.No && o.Published == model.No })
	stagedOne = volumeThat(func(o *model.Object) bool { return o.Staged == model.Yes && o.Published == model.No })
	halfUsed  = volumeThat(func(o *model.Object) bool {
		return o.Staged == model.Maybe || o.Staged == model.No && o.Published == model.Yes
	})
	inUse    = volumeThat(func(o *model.Object) bool { return o.Staged == model.Yes && o.Published == model.Yes })
	written  = volumeThat(func(o *model.Object) bool { return o.Published == model.Yes && o.Content != "" })
	snapable = volumeThat(func(o *model.Object) bool { return !o.Thick() })
	mounted  = volumeThat(func(o *model.Object) bool { return o.FS != "" && o.Staged == model.Yes })
)

var choices = []choice{
	{10, nil, func(w *Walk, _ *model.Object) action { return w.create(w.newVolume()) }},
	{2, anyVolume, func(w *Walk, o *model.Object) action { return w.again(w.create(o)) }},
	{1, anyVolume, (*Walk).conflict},
	{6, snapable, func(w *Walk, o *model.Object) action { return w.snapshot(w.newSnapshot(o), o) }},
	{1, isSnapshot, (*Walk).snapshotAgain},
	{6, copyable, func(w *Walk, o *model.Object) action { return w.create(w.newCopy(o, int64(w.Dice.IntN(3))*8*mib)) }},
	{3, anyVolume, func(w *Walk, o *model.Object) action { return w.expand(o, o.Size+int64(1+w.Dice.IntN(4))*4*mib) }},
	{2, inUse, (*Walk).nodeExpand},
	{12, atRest, (*Walk).stage},
	{12, stagedOne, (*Walk).publish},
	{4, halfUsed, func(w *Walk, o *model.Object) action {
		if o.Published == model.Yes {
			return w.unpublish(o)
		}
		return one(w.Dice, []action{w.stage(o), w.unstage(o)})
	}},
	{10, inUse, (*Walk).fill},
	{4, written, (*Walk).verify},
	{6, inUse, (*Walk).unpublish},
	{2, atRest, func(w *Walk, o *model.Object) action { return w.again(w.unpublish(o)) }},
	{6, stagedOne, (*Walk).unstage},
	{1, atRest, (*Walk).publishUnstaged},
	{6, atRest, (*Walk).remove},
	{4, isSnapshot, (*Walk).remove},
	{6, unsettled, func(w *Walk, o *model.Object) action {
		if o.Unfinished && !o.Doomed && w.Dice.IntN(2) == 0 {
			return w.finishCopy(o)
		}
		return w.remove(o)
	}},
	{1, unfinished, (*Walk).stage},
	{1, mounted, (*Walk).remove}, // which must be refused
	{1, isSnapshot, (*Walk).removeAsVolume},
	{2, anyVolume, (*Walk).get},
	{2, nil, func(w *Walk, _ *model.Object) action { return w.largest() }},
	{12, nil, func(w *Walk, _ *model.Object) action { return w.nonsense() }},
}

func isSnapshot(o *model.Object) bool { return o.Snapshot && o.Usable() }
func copyable(o *model.Object) bool   { return isSnapshot(o) || snapable(o) }
func unsettled(o *model.Object) bool  { return o.Doomed || o.Unfinished }
func unfinished(o *model.Object) bool { return o.Unfinished && !o.Doomed && !o.Snapshot }

// choose chooses how to go on.
func (w *Walk) choose() action {
	var ways []choice
	total := 0
	for _, c := range choices {
		if c.of == nil || len(w.model.Pick(c.of)) > 0 {
			ways, total = append(ways, c), total+c.often
		}
	}
	n := w.Dice.IntN(total)
	for _, c := range ways {
		if n -= c.often; n >= 0 {
			continue
		}
		var o *model.Object
		if c.of != nil {
			o = one(w.Dice, w.model.Pick(c.of))
		}
		return w.several(w.fitting(c.do(w, o)))
	}
	panic("the weights do not add up")
}

// fitting has something deleted where the node has enough.
func (w *Walk) fitting(a action) action {
	rest := w.model.Pick(func(o *model.Object) bool { return isSnapshot(o) || atRest(o) || unsettled(o) })
	if a.adds && len(w.model.Objects) >= w.Objects && len(rest) > 0 {
		return w.remove(one(w.Dice, rest))
	}
	return a
}

// several has some calls made more than once at the same time.
func (w *Walk) several(a action) action {
	if !a.alone && w.Dice.IntN(6) == 0 {
		a.copies = 2 + w.Dice.IntN(2)
	}
	return a
}

// again is a call that must change nothing.
func (w *Walk) again(a action) action {
	a.verb, a.doubt, a.adds = a.verb+", again", nil, false
	return a
}

func (w *Walk) newSnapshot(of *model.Object) *model.Object {
	return &model.Object{
		Snapshot: true, Volume: rig.Volume{Spec: rig.Spec{Name: w.name("snap"), FS: of.FS}, Size: of.Size, Root: w.host.Root()},
		Of: of.LV(), Content: of.Content,
	}
}

// snapshotAgain asks for a snapshot that is there, of its source or, if that is
// gone or changed its size, of another.
func (w *Walk) snapshotAgain(o *model.Object) action {
	if of := w.model.Objects[o.Of]; of != nil && anyVolume(of) {
		return w.again(w.snapshot(o, of))
	}
	if others := w.model.Pick(func(other *model.Object) bool { return anyVolume(other) && other.LV() != o.Of }); len(others) > 0 {
		return w.snapshotConflict(o, one(w.Dice, others))
	}
	return w.get(o)
}

// finishCopy makes the call again that was not acknowledged.
func (w *Walk) finishCopy(o *model.Object) action {
	a := w.create(o)
	a.adds = false
	a.doubt = func() { o.Grown = o.Bytes }
	return a
}

// removeAsVolume deletes a volume by the id of a snapshot: there is none.
func (w *Walk) removeAsVolume(o *model.Object) action {
	return action{verb: "delete, of the wrong kind", on: o.Name, call: func(ctx context.Context, a Agent) (proto.Message, error) {
		return nil, drop(ctx, a, o.ID, !o.Snapshot)
	}}
}

// get looks one up.
func (w *Walk) get(o *model.Object) action {
	return action{
		verb: "get", on: o.Name, copies: 1,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			if o.Snapshot {
				return answered(a.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: o.ID}))
			}
			return answered(a.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: o.ID}))
		},
		then: func(_ context.Context, answer proto.Message) error {
			bytes := int64(0)
			switch r := answer.(type) {
			case *csi.GetSnapshotResponse:
				bytes = r.GetSnapshot().GetSizeBytes()
			case *csi.ControllerGetVolumeResponse:
				bytes = r.GetVolume().GetCapacityBytes()
			}
			if bytes != o.Size {
				return w.found(model.Wrong, "%s has %d bytes and is said to have %d", o.ID, o.Size, bytes)
			}
			return nil
		},
	}
}

// largest makes the largest volume that there is said to be room for, and none
// that is larger.
func (w *Walk) largest() action {
	return action{verb: "the largest volume", alone: true, call: func(ctx context.Context, a Agent) (proto.Message, error) {
		r, err := a.GetCapacity(ctx, &csi.GetCapacityRequest{Parameters: map[string]string{"type": "thin"}})
		most := r.GetMaximumVolumeSize().GetValue()
		if err != nil || most < 4*mib {
			return nil, err
		}
		o := w.volumeOf(kindOf{bytes: most})
		if err := w.make(ctx, w.create(o)); err != nil {
			return nil, err
		}
		if w.model.Objects[o.LV()] == nil {
			return nil, w.found(model.Wrong, "no room for %d bytes, which is the capacity", most)
		}
		return nil, w.make(ctx, w.remove(o))
	}}
}

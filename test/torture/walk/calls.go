package walk

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/test/torture/model"
)

// answered is an answer without one of a call that failed.
func answered[R proto.Message](r R, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// create makes a volume that is not in the model yet, or finishes one.
func (w *Walk) create(o *model.Object) action {
	return action{
		verb: verbOf(o), on: o.Name, adds: true, may: []codes.Code{codes.ResourceExhausted},
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.CreateVolume(ctx, o.Request()))
		},
		excused: func(ctx context.Context) error { return w.noRoom(ctx, o) },
		doubt:   func() { o.There = model.Maybe; w.model.Add(o) },
		then: func(_ context.Context, answer proto.Message) error {
			v := answer.(*csi.CreateVolumeResponse).GetVolume()
			want := max(o.Size, o.Bytes)
			if v.GetVolumeId() == "" || v.GetCapacityBytes() != want || !proto.Equal(v.GetContentSource(), o.Request().GetVolumeContentSource()) {
				return w.found(model.Wrong, "create %s of %d bytes: %v", o.Name, want, v)
			}
			o.ID, o.Size, o.There, o.Unfinished = v.GetVolumeId(), v.GetCapacityBytes(), model.Yes, false
			o.Grown, o.Half = 0, 0
			w.model.Add(o)
			return nil
		},
	}
}

// noRoom verifies that there is no room for a volume, as was answered. Of a copy
// nobody else can say, and of a thick one it may have changed since.
func (w *Walk) noRoom(ctx context.Context, o *model.Object) error {
	if o.Of != "" || o.Thick() {
		return nil
	}
	r, err := w.agent.GetCapacity(ctx, &csi.GetCapacityRequest{Parameters: map[string]string{"type": "thin"}})
	if err != nil || r.GetMaximumVolumeSize().GetValue() >= o.Bytes {
		return w.found(model.Wrong, "no room for %s of %d bytes, and the capacity is %v, %v", o.Name, o.Bytes, r, err)
	}
	return nil
}

func verbOf(o *model.Object) string {
	switch {
	case o.Unfinished:
		return "finish a larger copy"
	case o.Of != "" && o.Half > 0:
		return "copy, larger"
	case o.Of != "" && o.Volume.Spec.Snapshot != "":
		return "restore"
	case o.Of != "":
		return "clone"
	case o.Thick():
		return "create thick"
	case o.FS == "":
		return "create block"
	}
	return "create " + o.FS
}

// conflict asks for a volume of that name that is larger than it is.
func (w *Walk) conflict(o *model.Object) action {
	return action{
		verb: "create, conflicting", on: o.Name, may: []codes.Code{codes.AlreadyExists}, refused: true,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			r := o.Request()
			r.CapacityRange = &csi.CapacityRange{RequiredBytes: o.Size + 64*mib}
			return answered(a.CreateVolume(ctx, r))
		},
	}
}

// snapshot takes a snapshot, or asks for it again.
func (w *Walk) snapshot(o, of *model.Object) action {
	return action{
		verb: "snapshot", on: o.Name + " of " + of.Name, adds: true, may: []codes.Code{codes.ResourceExhausted},
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: o.Name, SourceVolumeId: of.ID}))
		},
		doubt: func() { o.There = model.Maybe; w.model.Add(o) },
		then: func(_ context.Context, answer proto.Message) error {
			s := answer.(*csi.CreateSnapshotResponse).GetSnapshot()
			if s.GetSnapshotId() == "" || s.GetSizeBytes() != o.Size || s.GetSourceVolumeId() != of.ID || !s.GetReadyToUse() {
				return w.found(model.Wrong, "snapshot %s of %s: %v", o.Name, of.ID, s)
			}
			o.ID, o.There = s.GetSnapshotId(), model.Yes
			w.model.Add(o)
			return nil
		},
	}
}

// snapshotConflict asks for a snapshot of that name of another volume.
func (w *Walk) snapshotConflict(o, other *model.Object) action {
	a := w.snapshot(o, other)
	a.verb, a.may, a.refused, a.doubt = "snapshot, conflicting", []codes.Code{codes.AlreadyExists}, true, nil
	return a
}

// expand grows a volume's device.
func (w *Walk) expand(o *model.Object, bytes int64) action {
	return action{
		verb: "expand", on: o.Name, may: []codes.Code{codes.ResourceExhausted},
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.ControllerExpandVolume(ctx, o.ExpandRequest(bytes)))
		},
		doubt: func() { o.Grown = bytes },
		then: func(_ context.Context, answer proto.Message) error {
			r := answer.(*csi.ControllerExpandVolumeResponse)
			// A filesystem that pods have has grown as well, unless its command was killed.
			lost := !r.GetNodeExpansionRequired() && o.FS != "" && o.Published == model.No
			if r.GetCapacityBytes() != bytes || r.GetNodeExpansionRequired() && o.FS == "" || lost {
				return w.found(model.Wrong, "expand %s to %d: %v", o.ID, bytes, r)
			}
			o.Size, o.Grown = bytes, 0
			return nil
		},
	}
}

// nodeExpand grows the filesystem of a published volume.
func (w *Walk) nodeExpand(o *model.Object) action {
	return action{
		verb: "expand on the node", on: o.Name, mounted: true,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.NodeExpandVolume(ctx, o.NodeExpandRequest(o.Size)))
		},
	}
}

// stage stages a volume.
func (w *Walk) stage(o *model.Object) action {
	a := action{
		verb: "stage", on: o.Name,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			if err := w.host.MakeDirs(ctx, o.Dirs()...); err != nil {
				return nil, err
			}
			return answered(a.NodeStageVolume(ctx, o.StageRequest()))
		},
		doubt: func() { o.Staged = max(o.Staged, model.Maybe) },
		then:  func(context.Context, proto.Message) error { o.Staged = model.Yes; return nil },
	}
	if o.Unfinished {
		a.may, a.refused, a.doubt = []codes.Code{codes.FailedPrecondition}, true, nil
	}
	return a
}

// publish publishes a volume that is staged.
func (w *Walk) publish(o *model.Object) action {
	return action{
		verb: "publish", on: o.Name, mounted: true,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.NodePublishVolume(ctx, o.PublishRequest()))
		},
		doubt: func() { o.Published = max(o.Published, model.Maybe) },
		then: func(context.Context, proto.Message) error {
			o.Published = model.Yes
			return nil
		},
	}
}

// publishUnstaged does it with one that is not.
func (w *Walk) publishUnstaged(o *model.Object) action {
	a := w.publish(o)
	a.verb, a.may, a.refused, a.doubt = "publish, unstaged", []codes.Code{codes.FailedPrecondition}, true, nil
	return a
}

// unpublish takes a volume from its pod.
func (w *Walk) unpublish(o *model.Object) action {
	return action{
		verb: "unpublish", on: o.Name,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.NodeUnpublishVolume(ctx, o.UnpublishRequest()))
		},
		doubt: func() { o.Published = min(o.Published, model.Maybe) },
		then:  func(context.Context, proto.Message) error { o.Published = model.No; return nil },
	}
}

// unstage undoes stage. The volume must not be published.
func (w *Walk) unstage(o *model.Object) action {
	return action{
		verb: "unstage", on: o.Name,
		call: func(ctx context.Context, a Agent) (proto.Message, error) {
			return answered(a.NodeUnstageVolume(ctx, o.UnstageRequest()))
		},
		doubt: func() { o.Staged = min(o.Staged, model.Maybe) },
		then:  func(context.Context, proto.Message) error { o.Staged = model.No; return nil },
	}
}

// fill writes to a published volume, verify reads it.
func (w *Walk) fill(o *model.Object) action {
	seed := uint64(w.named)<<16 | uint64(w.Dice.IntN(1<<8))
	w.named++
	return action{verb: "write", on: o.Name, alone: true, call: func(ctx context.Context, _ Agent) (proto.Message, error) {
		if err := w.host.Fill(ctx, &o.Volume, seed); err != nil {
			return nil, fmt.Errorf("write: %w", err)
		}
		var err error
		o.Content, err = w.host.Sum(ctx, &o.Volume)
		return nil, err
	}}
}

func (w *Walk) verify(o *model.Object) action {
	return action{
		verb: "read", on: o.Name, alone: true,
		call: func(ctx context.Context, _ Agent) (proto.Message, error) { return nil, w.contents(ctx, o) },
	}
}

// remove deletes a volume or a snapshot. A mounted one is in use and keeps what
// it holds.
func (w *Walk) remove(o *model.Object) action {
	a := action{
		verb: "delete", on: o.Name,
		call:  func(ctx context.Context, a Agent) (proto.Message, error) { return nil, drop(ctx, a, o.ID, o.Snapshot) },
		doubt: func() { o.Doomed = true },
		then:  func(context.Context, proto.Message) error { w.model.Remove(o); return nil },
	}
	switch {
	case o.Mounted() && !o.Doomed:
		a.verb, a.may, a.refused, a.doubt = "delete, mounted", []codes.Code{codes.FailedPrecondition}, true, nil
	case o.Thick():
		a.verb = "delete thick"
	case o.Snapshot:
		a.verb = "delete a snapshot"
	}
	return a
}

func drop(ctx context.Context, a Agent, id string, snapshot bool) (err error) {
	if snapshot {
		_, err = a.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
	} else {
		_, err = a.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
	}
	return err
}

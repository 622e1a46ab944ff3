package walk

import (
	"context"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/test/torture/model"
)

// refusals are the answers to what makes no sense: they say that the request is
// wrong, or that what it names is not there. Never that the agent is.
var refusals = []codes.Code{
	codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.FailedPrecondition, codes.AlreadyExists, codes.ResourceExhausted, codes.Aborted,
}

// nonsense is a request of which something is wrong. Where it is right after all
// and makes something, that is deleted at once.
func (w *Walk) nonsense() action {
	calls := []func() (string, func(context.Context, Agent) (string, error)){
		w.oddCreate, w.oddSnapshot, w.oddDelete, w.oddExpand, w.oddStage, w.oddPublish, w.oddUndo, w.oddList, w.oddLook,
	}
	verb, call := one(w.Dice, calls)()
	return action{verb: "nonsense: " + verb, alone: true, may: refusals, call: func(ctx context.Context, a Agent) (proto.Message, error) {
		made, err := call(ctx, a)
		if err == nil && made != "" {
			err = w.insist(ctx, func(ctx context.Context) error { return drop(ctx, a, made, strings.Contains(made, "/s-")) })
		}
		return nil, err
	}}
}

// oddNames are names of volumes; some are allowed.
var oddNames = []string{
	"", "a", ".", "..", "-", "--all", "../../etc/passwd", "a b", "a\nb", "a\x00b", "ärger", "v-a", "s-a", "pool", "w-init", "snapshot1", "a_tdata", "+a", "a/b", "theirs",
	strings.Repeat("x", 60), strings.Repeat("-", 60), strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("ä", 64),
}

// oddID is the id of nothing, or of something of another kind.
func (w *Walk) oddID() string {
	ids := []string{
		"", "a", "/", "//", "a/b", "a/b/c", "../../..", "aaaaaaaa/aaaaaaaa/v-a", "aaaaaaaa/aaaaaaaa/s-a", strings.Repeat("x", 200), "a\x00b", "--config=x",
	}
	if gone := slices.Sorted(maps.Keys(w.model.Deleted)); len(gone) > 0 {
		ids = append(ids, one(w.Dice, gone))
	}
	if all := w.model.Pick(func(o *model.Object) bool { return o.ID != "" }); len(all) > 0 {
		id := one(w.Dice, all).ID
		at := strings.LastIndexByte(id, '/')
		ids = append(ids, id+"x", id[:at], id[:at]+"/pool", id[:at]+"/v-theirs", id[:at]+"/w-init", id[:at]+"/v-", strings.ToUpper(id), id+"/"+id, " "+id)
	}
	return one(w.Dice, ids)
}

var oddSizes = []int64{0, 1, -1, math.MinInt64, math.MaxInt64, 1 << 60, 1<<60 + 1, 5 * mib, 4096}

func (w *Walk) oddRange() *csi.CapacityRange {
	if w.Dice.IntN(4) == 0 {
		return nil
	}
	return &csi.CapacityRange{RequiredBytes: one(w.Dice, oddSizes), LimitBytes: one(w.Dice, oddSizes)}
}

func (w *Walk) oddCapability() *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{
		Mode: csi.VolumeCapability_AccessMode_Mode(w.Dice.IntN(12)),
	}}
	switch w.Dice.IntN(4) {
	case 0:
	case 1:
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	default:
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{
			FsType:     one(w.Dice, []string{"", "ext4", "xfs", "ext3", "zfs", "ext4\n", "/dev/sda"}),
			MountFlags: one(w.Dice, [][]string{nil, {"noatime"}, {"suid"}, {"noatime,suid"}, {"bind"}, {""}, {strings.Repeat("x", 5000)}}),
		}}
	}
	if w.Dice.IntN(6) == 0 {
		return nil
	}
	return c
}

var oddParameters = []map[string]string{
	nil, {"type": "thick"}, {"type": "THIN"}, {"driveClass": "none"}, {"driveClass": "../fast"}, {"profile": "turbo"}, {"size": "1"},
	{"mkfsOptions": "-F"}, {"mkfsOptions": "-m 1;reboot"}, {"csi.storage.k8s.io/fstype": "ntfs"}, {"csi.storage.k8s.io/x": strings.Repeat("x", 5000)},
	{"allowModeChange": "perhaps"},
}

func (w *Walk) oddCreate() (string, func(context.Context, Agent) (string, error)) {
	r := &csi.CreateVolumeRequest{
		Name: one(w.Dice, oddNames), CapacityRange: w.oddRange(), Parameters: one(w.Dice, oddParameters),
		VolumeCapabilities: []*csi.VolumeCapability{w.oddCapability(), w.oddCapability()}[:w.Dice.IntN(3)],
	}
	switch w.Dice.IntN(4) {
	case 0:
		r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: w.oddID()},
		}}
	case 1:
		r.VolumeContentSource = &csi.VolumeContentSource{}
	}
	return "create", func(ctx context.Context, a Agent) (string, error) {
		resp, err := a.CreateVolume(ctx, r)
		return resp.GetVolume().GetVolumeId(), err
	}
}

func (w *Walk) oddSnapshot() (string, func(context.Context, Agent) (string, error)) {
	r := &csi.CreateSnapshotRequest{Name: one(w.Dice, oddNames), SourceVolumeId: w.oddID(), Parameters: one(w.Dice, oddParameters)}
	return "snapshot", func(ctx context.Context, a Agent) (string, error) {
		resp, err := a.CreateSnapshot(ctx, r)
		return resp.GetSnapshot().GetSnapshotId(), err
	}
}

func (w *Walk) oddDelete() (string, func(context.Context, Agent) (string, error)) {
	id, snapshot := w.oddID(), w.Dice.IntN(2) == 0
	return "delete", func(ctx context.Context, a Agent) (string, error) { return "", drop(ctx, a, id, snapshot) }
}

func (w *Walk) oddExpand() (string, func(context.Context, Agent) (string, error)) {
	r := &csi.ControllerExpandVolumeRequest{VolumeId: w.oddID(), CapacityRange: w.oddRange(), VolumeCapability: w.oddCapability()}
	return "expand", func(ctx context.Context, a Agent) (string, error) {
		_, err := a.ControllerExpandVolume(ctx, r)
		return "", err
	}
}

// oddPath is a path on which nothing may be mounted.
func (w *Walk) oddPath() string {
	return one(w.Dice, []string{"", "/", "a", "/etc", "/etc/../etc/x", "//x", w.host.Root() + "/../x", w.host.Root() + "/none/none/none", "/proc/self", "a\x00b"})
}

func (w *Walk) oddStage() (string, func(context.Context, Agent) (string, error)) {
	r := &csi.NodeStageVolumeRequest{VolumeId: w.oddID(), StagingTargetPath: w.oddPath(), VolumeCapability: w.oddCapability()}
	if all := w.model.Pick(atRest); len(all) > 0 && w.Dice.IntN(2) == 0 {
		r.VolumeId = one(w.Dice, all).ID // a volume at a path that is none
	}
	return "stage", func(ctx context.Context, a Agent) (string, error) {
		_, err := a.NodeStageVolume(ctx, r)
		return "", err
	}
}

func (w *Walk) oddPublish() (string, func(context.Context, Agent) (string, error)) {
	r := &csi.NodePublishVolumeRequest{VolumeId: w.oddID(), StagingTargetPath: w.oddPath(), TargetPath: w.oddPath(), VolumeCapability: w.oddCapability()}
	return "publish", func(ctx context.Context, a Agent) (string, error) {
		_, err := a.NodePublishVolume(ctx, r)
		return "", err
	}
}

func (w *Walk) oddUndo() (string, func(context.Context, Agent) (string, error)) {
	id, path, publish := w.oddID(), w.oddPath(), w.Dice.IntN(2) == 0
	return "undo", func(ctx context.Context, a Agent) (string, error) {
		var err error
		if publish {
			_, err = a.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: path})
		} else {
			_, err = a.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: path})
		}
		return "", err
	}
}

func (w *Walk) oddList() (string, func(context.Context, Agent) (string, error)) {
	entries, token, snapshots := int32(w.Dice.IntN(4)-1), w.oddID(), w.Dice.IntN(2) == 0
	return "list", func(ctx context.Context, a Agent) (string, error) {
		var err error
		if snapshots {
			_, err = a.ListSnapshots(ctx, &csi.ListSnapshotsRequest{MaxEntries: entries, StartingToken: token, SourceVolumeId: token})
		} else {
			_, err = a.ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: entries, StartingToken: token})
		}
		return "", err
	}
}

func (w *Walk) oddLook() (string, func(context.Context, Agent) (string, error)) {
	id, path, which := w.oddID(), filepath.Join(w.host.Root(), "none"), w.Dice.IntN(4)
	return "look", func(ctx context.Context, a Agent) (string, error) {
		var err error
		switch which {
		case 0:
			_, err = a.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: id})
		case 1:
			_, err = a.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: id})
		case 2:
			_, err = a.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
		default:
			_, err = a.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id})
		}
		return "", err
	}
}

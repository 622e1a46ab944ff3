package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/demo/rig"
)

// The verbs, in the order in which a volume lives.
const (
	probe         = "Probe"
	create        = "CreateVolume"
	stage         = "NodeStageVolume, first"
	publish       = "NodePublishVolume"
	takeSnapshot  = "CreateSnapshot"
	restore       = "CreateVolume, restore"
	expand        = "ControllerExpandVolume"
	unpublish     = "NodeUnpublishVolume"
	unstage       = "NodeUnstageVolume"
	deleteRestore = "DeleteVolume, restore"
	deleteSnap    = "DeleteSnapshot"
	deleteVolume  = "DeleteVolume"
)

var verbs = []string{probe, create, stage, publish, takeSnapshot, restore, expand, unpublish, unstage, deleteRestore, deleteSnap, deleteVolume}

const (
	mib = 1 << 20
	// benchBytes is the size of a volume, of which expand makes one larger.
	benchBytes, expandedBytes = 64 * mib, 128 * mib
)

// side does verbs for the volume of a tag, each after those before it.
type side interface {
	do(ctx context.Context, verb, tag string) (took time.Duration, err error)
	// commands are those of LVM that a verb takes, and how many of them change
	// something; none means that the side does not have the verb.
	commands(verb string) (all, changes int)
}

// life is one volume, its snapshot and a restore of it, on the agent.
type life struct {
	volume, restored *rig.Volume
	snapshot         string
}

// agentSide is the agent.
type agentSide struct {
	*agent
	lives map[string]*life
	notes map[string][]command
}

func (s *agentSide) commands(verb string) (all, changes int) { return count(s.notes[verb]) }

func count(commands []command) (all, changes int) {
	for _, c := range commands {
		if c.changes() {
			changes++
		}
	}
	return len(commands), changes
}

// Names of what belongs to a tag.
func volumeName(tag string) string   { return "pvc-bench-" + tag }
func restoredName(tag string) string { return "pvc-copied-" + tag }
func snapshotName(tag string) string { return "snap-bench-" + tag }

func (s *agentSide) do(ctx context.Context, verb, tag string) (time.Duration, error) {
	l := s.lives[tag]
	if l == nil {
		l = &life{}
		s.lives[tag] = l
	}
	if verb == stage {
		for _, dir := range l.volume.Dirs() {
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return 0, err
			}
		}
	}
	began := time.Now()
	if err := s.call(ctx, l, verb, tag); err != nil {
		return 0, fmt.Errorf("%s of %s: %w", verb, tag, err)
	}
	return time.Since(began), nil
}

func (s *agentSide) call(ctx context.Context, l *life, verb, tag string) (err error) {
	switch verb {
	case probe:
		_, err = s.Probe(ctx, &csi.ProbeRequest{})
	case create:
		l.volume, err = s.create(ctx, rig.Spec{Name: volumeName(tag), FS: "ext4", Bytes: benchBytes})
	case stage:
		_, err = s.NodeStageVolume(ctx, l.volume.StageRequest())
	case publish:
		_, err = s.NodePublishVolume(ctx, l.volume.PublishRequest())
	case takeSnapshot:
		var resp *csi.CreateSnapshotResponse
		resp, err = s.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: snapshotName(tag), SourceVolumeId: l.volume.ID})
		l.snapshot = resp.GetSnapshot().GetSnapshotId()
	case restore:
		l.restored, err = s.create(ctx, rig.Spec{Name: restoredName(tag), FS: "ext4", Snapshot: l.snapshot})
	case expand:
		_, err = s.ControllerExpandVolume(ctx, l.volume.ExpandRequest(expandedBytes))
	case unpublish:
		_, err = s.NodeUnpublishVolume(ctx, l.volume.UnpublishRequest())
	case unstage:
		_, err = s.NodeUnstageVolume(ctx, l.volume.UnstageRequest())
	case deleteRestore:
		err = s.delete(ctx, l.restored)
	case deleteSnap:
		_, err = s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: l.snapshot})
	case deleteVolume:
		err = s.delete(ctx, l.volume)
	default:
		err = errors.New("no verb of the agent")
	}
	return err
}

func (a *agent) create(ctx context.Context, spec rig.Spec) (*rig.Volume, error) {
	resp, err := a.CreateVolume(ctx, spec.Request())
	if err != nil {
		return nil, err
	}
	return &rig.Volume{Spec: spec, ID: resp.GetVolume().GetVolumeId()}, nil
}

func (a *agent) delete(ctx context.Context, v *rig.Volume) error {
	_, err := a.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.ID})
	return err
}

// replaySide runs commands, with the tag in the place of token. What is not LVM's of
// a stage, mkfs and mount, is done too and not counted: a snapshot of a filesystem in
// use is another thing than one of an idle device.
type replaySide struct {
	token string
	steps map[string][]command
	// device is that of the volume of the token.
	device string
}

func (s *replaySide) commands(verb string) (all, changes int) { return count(s.steps[verb]) }

func (s *replaySide) do(_ context.Context, verb, tag string) (took time.Duration, err error) {
	at := "/run/verbs-" + tag
	if verb == unstage {
		if err := syscall.Unmount(at, 0); err != nil {
			return 0, fmt.Errorf("unmount %s: %w", at, err)
		}
		if _, err := output("udevadm", "settle"); err != nil {
			return 0, err
		}
	}
	var steps []command
	for _, c := range s.steps[verb] {
		steps = append(steps, c.with(s.token, tag))
	}
	if took, err = runAll(steps); err != nil {
		return 0, err
	}
	if verb == stage {
		return took, format(command{Args: []string{s.device}}.with(s.token, tag).Args[0], at)
	}
	return took, nil
}

// format makes a filesystem on a device and mounts it.
func format(device, at string) error {
	if _, err := output("mkfs.ext4", "-q", "-F", "-E", "nodiscard", device); err != nil {
		return err
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	return syscall.Mount(device, at, "ext4", 0, "")
}

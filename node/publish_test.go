package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

func staged(t *testing.T, mode volume.Mode) (*bench, func(csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability) {
	t.Helper()
	b := newBench(t, func(v *volume.Volume) { v.Mode = mode })
	c := func(m csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability { return filesystem("", m) }
	if mode == volume.Block {
		c = block
	}
	b.ok(b.stage(c(writer)))
	return b, c
}

func TestPublish(t *testing.T) {
	for _, mode := range []volume.Mode{volume.Filesystem, volume.Block} {
		t.Run(string(mode), func(t *testing.T) {
			b, c := staged(t, mode)
			b.ok(b.publish("one", c(singleWriter), false))
			b.ok(b.publish("one", c(singleWriter), false))
			code(t, b.publish("one", c(singleWriter), true), codes.AlreadyExists)
			code(t, b.publish("two", c(singleWriter), false), codes.FailedPrecondition)
			if _, err := os.Lstat(b.targets + "/two"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a refused publish left its target: %v", err)
			}
			b.ok(b.publish("two", c(multiWriter), false))
			b.ok(b.publish("three", c(writer), true))
			b.ok(b.publish("four", c(reader), false))
			table, _ := b.host.Table()
			for target, readOnly := range map[string]bool{"one": false, "two": false, "three": true, "four": true} {
				p, ok := table.At(b.targets + "/" + target)
				if !ok || p.ReadOnly != readOnly {
					t.Errorf("%s: %+v, %t", target, p, ok)
				}
				info, err := os.Lstat(b.targets + "/" + target)
				if err != nil || info.IsDir() != (mode == volume.Filesystem) {
					t.Errorf("%s: %v %v", target, info, err)
				}
			}
			for _, target := range []string{"one", "one", "two", "three", "four", "never"} {
				b.ok(b.unpublish(target))
				if _, err := os.Lstat(b.targets + "/" + target); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still there: %v", target, err)
				}
			}
			b.ok(b.unstage())
		})
	}
}

func TestPublishReadOnlyFlag(t *testing.T) {
	b, _ := staged(t, volume.Filesystem)
	b.ok(b.publish("pod", filesystem("", writer, "ro"), false))
	table, _ := b.host.Table()
	if p, _ := table.At(b.targets + "/pod"); !p.ReadOnly {
		t.Error("mount flag ro gave a writable mount")
	}
	if p, _ := table.At(b.staging); p.ReadOnly {
		t.Error("staged read-only: it can never grow")
	}
}

func TestPublishNotStaged(t *testing.T) {
	for _, mode := range []volume.Mode{volume.Filesystem, volume.Block} {
		b, c := staged(t, mode)
		b.ok(b.unstage())
		code(t, b.publish("pod", c(writer), false), codes.FailedPrecondition)
		staging := b.staging
		b.staging = ""
		code(t, b.publish("pod", c(writer), false), codes.FailedPrecondition)
		b.staging = staging
		// After a reboot kubelet stages again and finds the target of before.
		b.ok(b.stage(c(writer)))
		b.ok(b.publish("pod", c(writer), false))
		b.host.Reboot()
		b.volume().Active = false
		code(t, b.publish("pod", c(writer), false), codes.FailedPrecondition)
		b.ok(b.stage(c(writer)))
		b.ok(b.publish("pod", c(writer), false))
		b.ok(b.unpublish("pod"))
	}
}

func TestPublishTarget(t *testing.T) {
	b, c := staged(t, volume.Filesystem)
	outside := t.TempDir()
	if err := os.Symlink(outside, b.targets+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.targets+"/file", []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.host.MountOther(b.targets + "/other")
	for target, want := range map[string]codes.Code{
		"link": codes.InvalidArgument, "file": codes.InvalidArgument, "other": codes.FailedPrecondition, "../x": codes.InvalidArgument,
	} {
		code(t, b.publish(target, c(writer), false), want)
		code(t, b.unpublish(target), want)
	}
	if text, err := os.ReadFile(b.targets + "/file"); err != nil || string(text) != "data" {
		t.Errorf("a file that is not ours: %q %v", text, err)
	}
	if err := os.MkdirAll(b.targets+"/full/of", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.unpublish("full"); err == nil {
		t.Error("a directory with something in it was removed")
	}
	// A pod can end while the volume's record cannot be read.
	b.ok(b.publish("pod", c(writer), false))
	b.store.err = volume.ErrUnavailable
	b.ok(b.unpublish("pod"))
}

func TestRequired(t *testing.T) {
	b := newBench(t, nil)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"stage": func() error { _, err := b.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{}); return err },
		"unstage": func() error {
			_, err := b.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id})
			return err
		},
		"publish": func() error {
			_, err := b.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: "x"})
			return err
		},
		"unpublish": func() error {
			_, err := b.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{TargetPath: "/x"})
			return err
		},
		"stats": func() error {
			_, err := b.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: "x"})
			return err
		},
		"expand": func() error {
			_, err := b.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{VolumePath: "/x"})
			return err
		},
		"stage, no mode": func() error { b.staging = "/x"; return b.stage(&csi.VolumeCapability{}) },
	} {
		t.Run(name, func(t *testing.T) { code(t, call(), codes.InvalidArgument) })
	}
}

func TestUnknownVolume(t *testing.T) {
	b := newBench(t, nil)
	ctx, dir := t.Context(), t.TempDir()
	for id, want := range map[string]codes.Code{
		"fake-vol-id": codes.NotFound, "../../etc": codes.NotFound, "store001/vgvgvgv1/s-a": codes.NotFound, "store001/vgvgvgv1/v-none": codes.NotFound,
	} {
		_, err := b.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: dir, VolumeCapability: filesystem("", writer)})
		code(t, err, want)
		_, err = b.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: id, StagingTargetPath: dir, TargetPath: dir + "/t", VolumeCapability: filesystem("", writer),
		})
		code(t, err, want)
		_, err = b.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: "some/path"})
		code(t, err, want)
		_, err = b.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: "some/path"})
		code(t, err, want)
		_, err = b.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: dir + "/t"})
		b.ok(err)
		_, err = b.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: dir})
		b.ok(err)
	}
	b.host.MountOther(dir)
	_, err := b.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: "fake-vol-id", TargetPath: dir})
	code(t, err, codes.FailedPrecondition)
}

func TestBusy(t *testing.T) {
	b := newBench(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.store.before = func(op string) error {
		if op == "activate" {
			close(entered)
			<-leave
		}
		return nil
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		_, err := b.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: id, StagingTargetPath: b.staging, VolumeCapability: filesystem("", writer),
		})
		if err != nil {
			t.Errorf("a stage whose caller went away did not end: %v", err)
		}
	})
	<-entered
	cancel()
	code(t, b.stage(filesystem("", writer)), codes.Aborted)
	code(t, b.unstage(), codes.Aborted)
	close(leave)
	wg.Wait()
	b.store.before = nil
	b.ok(b.stage(filesystem("", writer)))
}

func TestInfo(t *testing.T) {
	b := newBench(t, nil)
	info, err := b.NodeGetInfo(t.Context(), nil)
	if err != nil || info.GetNodeId() != "node-a" || info.GetMaxVolumesPerNode() != 42 ||
		info.GetAccessibleTopology().GetSegments()["topology.lvme.dev/store"] != "store001" {
		t.Errorf("%v %v", info, err)
	}
	caps, err := b.NodeGetCapabilities(t.Context(), nil)
	if err != nil || len(caps.GetCapabilities()) != 6 {
		t.Errorf("%v %v", caps, err)
	}
}

func (b *bench) stats(path string) ([]*csi.VolumeUsage, error) {
	resp, err := b.NodeGetVolumeStats(b.t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
	return resp.GetUsage(), err
}

func TestStats(t *testing.T) {
	b, c := staged(t, volume.Filesystem)
	b.ok(b.publish("pod", c(writer), false))
	for _, path := range []string{b.staging, b.targets + "/pod"} {
		usage, err := b.stats(path)
		if err != nil || len(usage) != 2 || usage[0].GetTotal() != gib || usage[1].GetUnit() != csi.VolumeUsage_INODES {
			t.Errorf("%s: %v %v", path, usage, err)
		}
	}
	b.host.MountOther(b.targets + "/other")
	for _, path := range []string{"some/path", b.targets, b.targets + "/none", b.targets + "/other", "/none/none"} {
		_, err := b.stats(path)
		code(t, err, codes.NotFound)
	}
	b.store.err = volume.ErrAway
	_, err := b.stats(b.staging)
	code(t, err, codes.Unavailable)

	b, c = staged(t, volume.Block)
	b.ok(b.publish("pod", c(writer), false))
	usage, err := b.stats(b.targets + "/pod")
	if err != nil || len(usage) != 1 || usage[0].GetTotal() != gib || usage[0].GetUsed() != 0 {
		t.Errorf("block: %v %v", usage, err)
	}
}

// hanging is a host of which one filesystem does not answer.
type hanging struct {
	Host
	path  string
	asked chan struct{}
	leave chan struct{}
}

func (h *hanging) Stats(path string) (mount.Stats, error) {
	if path == h.path {
		h.asked <- struct{}{}
		<-h.leave
	}
	return h.Host.Stats(path)
}

func TestStatsOfHungFilesystem(t *testing.T) {
	b, c := staged(t, volume.Filesystem)
	b.ok(b.publish("pod", c(writer), false))
	h := &hanging{Host: b.host, path: b.staging, asked: make(chan struct{}, 10), leave: make(chan struct{})}
	b.Service.host = h
	b.Service.measures.wait = 10 * time.Millisecond
	for range 3 {
		_, err := b.stats(b.staging)
		code(t, err, codes.Unavailable)
	}
	if n := len(h.asked); n != 1 {
		t.Errorf("%d goroutines hang, want 1", n)
	}
	if _, err := b.stats(b.targets + "/pod"); err != nil {
		t.Errorf("another mount: %v", err)
	}
	close(h.leave)
	b.Service.measures.wait = time.Minute
	if _, err := b.stats(b.staging); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestExpand(t *testing.T) {
	for _, mode := range []volume.Mode{volume.Filesystem, volume.Block} {
		t.Run(string(mode), func(t *testing.T) {
			b, c := staged(t, mode)
			b.ok(b.publish("pod", c(writer), true))
			pod := b.targets + "/pod"
			_, err := b.expand(pod, 2*gib)
			code(t, err, codes.OutOfRange) // The device is as it was.
			b.volume().Bytes = 2 * gib
			for range 2 {
				got, err := b.expand(pod, gib+mib)
				if err != nil || got != 2*gib {
					t.Fatalf("%d %v", got, err)
				}
			}
			if bytes, _ := b.host.FSBytes(b.device()); mode == volume.Filesystem && bytes != 2*gib {
				t.Errorf("filesystem of %d bytes", bytes)
			}
			if _, err := b.expand(b.staging, 0); err != nil {
				t.Errorf("by its staging path: %v", err)
			}
			for _, path := range []string{b.targets, b.targets + "/none", "some/path"} {
				_, err := b.expand(path, 0)
				code(t, err, codes.NotFound)
			}
			_, err = b.expand(pod, -1)
			code(t, err, codes.InvalidArgument)
			for _, req := range []*csi.NodeExpandVolumeRequest{
				{CapacityRange: &csi.CapacityRange{LimitBytes: gib}},
				{CapacityRange: &csi.CapacityRange{LimitBytes: -gib}},
				{VolumeCapability: block(writer)}, {VolumeCapability: filesystem("", writer)},
			} {
				req.VolumeId, req.VolumePath = id, pod
				want := codes.OutOfRange
				if req.GetCapacityRange().GetLimitBytes() < 0 {
					want = codes.InvalidArgument
				}
				if v := req.GetVolumeCapability(); v != nil {
					if want = codes.InvalidArgument; (v.GetBlock() != nil) == (mode == volume.Block) {
						want = codes.OK
					}
				}
				_, err := b.NodeExpandVolume(t.Context(), req)
				code(t, err, want)
			}
		})
	}
}

// TestGrowPublished: what pods have grows with its device, and nothing else.
func TestGrowPublished(t *testing.T) {
	b, c := staged(t, volume.Filesystem)
	key := b.volume().Key
	grow := func(want bool, bytes int64) {
		t.Helper()
		if grown, err := b.GrowPublished(t.Context(), key); err != nil || grown != want {
			t.Errorf("grown %t, %v; want %t", grown, err, want)
		}
		if have, _ := b.host.FSBytes(b.device()); have != bytes {
			t.Errorf("filesystem of %d bytes, want %d", have, bytes)
		}
	}
	b.volume().Bytes = 2 * gib
	grow(false, gib) // staged alone
	b.ok(b.publish("pod", c(writer), true))
	grow(true, 2*gib)
	grow(true, 2*gib)
	b.volume().Bytes = 3 * gib
	b.host.Before = func(op string) error { return errDied }
	if grown, err := b.GrowPublished(t.Context(), key); grown || !errors.Is(err, errDied) {
		t.Errorf("a growth that fails: %t, %v", grown, err)
	}
	b.host.Before = nil
	unlock, _ := b.changing.TryLock(key.String())
	if grown, err := b.GrowPublished(t.Context(), key); grown || !errors.Is(err, volume.ErrBusy) {
		t.Errorf("during another change: %t, %v", grown, err)
	}
	unlock()
	b.volume().Bytes = 3 * gib
	b.growWait = 50 * time.Millisecond
	begun, end := make(chan struct{}), make(chan struct{})
	b.host.Before = func(string) error { close(begun); <-end; return nil }
	if grown, err := b.GrowPublished(t.Context(), key); grown || !errors.Is(err, volume.ErrBusy) {
		t.Errorf("of what hangs: %t, %v", grown, err)
	}
	<-begun
	if grown, err := b.GrowPublished(t.Context(), key); grown || !errors.Is(err, volume.ErrBusy) {
		t.Errorf("of what hangs still: %t, %v", grown, err)
	}
	b.host.Before, b.growWait = nil, growWait
	close(end)
	for ok := false; !ok; {
		if unlock, ok = b.changing.TryLock(key.String()); ok {
			unlock()
		}
	}
	grow(true, 3*gib)
	b.ok(b.unpublish("pod"))
	b.ok(b.unstage())
	if grown, err := b.GrowPublished(t.Context(), key); grown || err != nil {
		t.Errorf("at rest: %t, %v", grown, err)
	}
}

func TestOfflineExpand(t *testing.T) {
	b, c := staged(t, volume.Filesystem)
	b.ok(b.unstage())
	b.volume().Bytes = 3 * gib
	b.ok(b.stage(c(writer)))
	if bytes, _ := b.host.FSBytes(b.device()); bytes != 3*gib {
		t.Errorf("filesystem of %d bytes", bytes)
	}
}

func TestDomain(t *testing.T) {
	for _, m := range meaning {
		if err := domain(fmt.Errorf("x: %w", m.host)); !errors.Is(err, m.domain) || !errors.Is(err, m.host) {
			t.Errorf("%v became %v", m.host, err)
		}
	}
	if err := domain(errDied); err != errDied {
		t.Errorf("%v", err)
	}
}

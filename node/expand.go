package node

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// NodeExpandVolume implements csi.NodeServer.
func (s *Service) NodeExpandVolume(ctx context.Context, req *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "volume_path", req.GetVolumePath()); err != nil {
		return nil, err
	}
	u, err := s.use(ctx, req.GetVolumeId(), req.GetVolumePath(), req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	if err := checkExpand(req, u); err != nil {
		return nil, err
	}
	if u.volume.Mode == volume.Filesystem {
		err = s.exclusively(ctx, u.volume.Key, "expand", func(ctx context.Context) error { return s.grow(ctx, u) })
		if err != nil {
			return nil, err
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: u.dev.Bytes}, nil
}

// growWait is how long GrowPublished waits for a filesystem: one that is frozen,
// or whose drive hangs, is not waited for with a caller's other volumes.
const growWait = 5 * time.Second

// GrowPublished grows the filesystem of a volume that pods of this node have, to
// the size of its device, and says whether it has. The kubelet has it done too,
// when it looks at the pod the next time: within a minute and a half by default.
// One that no pod has is grown when it is staged. Who comes while it grows does
// not share the result: the device may be larger by then.
func (s *Service) GrowPublished(ctx context.Context, key volume.Key) (bool, error) {
	type result struct {
		grown bool
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = s.exclusively(ctx, key, "expand", func(ctx context.Context) (err error) {
			r.grown, err = s.growPublished(ctx, key)
			return err
		})
		done <- r
	}()
	timer := time.NewTimer(s.growWait)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.grown, r.err
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C:
		return false, fmt.Errorf("expand volume %s: its filesystem has not grown in %s, and goes on: %w", key, s.growWait, volume.ErrBusy)
	}
}

func (s *Service) growPublished(ctx context.Context, key volume.Key) (bool, error) {
	dev, err := s.device(key)
	if err != nil || dev == nil {
		return false, err
	}
	table, err := s.host.Table()
	if err != nil {
		return false, err
	}
	paths := table.Of(dev.Number)
	if len(paths) < 2 { // the first is where it is staged
		return false, nil
	}
	at, _ := table.At(paths[0])
	if at.Device != dev.Number {
		return false, otherMount(at)
	}
	if err := s.grow(ctx, use{dev: *dev, at: &at}); err != nil {
		return false, err
	}
	return true, nil
}

// checkExpand checks what is optional in the request. The device has its new
// size already: the controller gave it.
func checkExpand(req *csi.NodeExpandVolumeRequest, u use) error {
	if c := req.GetVolumeCapability(); c != nil {
		capability, err := driver.ParseCapability("volume_capability", c)
		if err != nil {
			return err
		}
		if capability.Mode != u.volume.Mode {
			return volume.Invalid("volume_capability.access_type", string(capability.Mode), string(u.volume.Mode))
		}
	}
	need, limit := req.GetCapacityRange().GetRequiredBytes(), req.GetCapacityRange().GetLimitBytes()
	switch {
	case need < 0:
		return volume.Invalid("capacity_range.required_bytes", strconv.FormatInt(need, 10), "0 or more")
	case limit < 0:
		return volume.Invalid("capacity_range.limit_bytes", strconv.FormatInt(limit, 10), "0 or more")
	case need > u.dev.Bytes:
		return fmt.Errorf("%w: volume %s has %d bytes and %d are wanted: expand it at the controller first",
			volume.ErrRange, u.volume.Key, u.dev.Bytes, need)
	case limit > 0 && limit < u.dev.Bytes:
		return fmt.Errorf("%w: volume %s has %d bytes already and at most %d are wanted", volume.ErrRange, u.volume.Key, u.dev.Bytes, limit)
	}
	return nil
}

// grow grows the filesystem at a mount through which it can be written.
func (s *Service) grow(ctx context.Context, u use) error {
	table, err := s.host.Table()
	if err != nil {
		return err
	}
	at := *u.at
	if at.ReadOnly {
		at = writable(table, at)
	}
	return s.host.Grow(ctx, u.dev, at.FSType, at.Path)
}

// writable finds another mount of what is mounted read-only; staging is one.
func writable(t mount.Table, p mount.Point) mount.Point {
	for _, other := range t {
		if other.Device == p.Device && !other.ReadOnly && other.Root == p.Root {
			return other
		}
	}
	return p
}

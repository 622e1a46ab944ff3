// Package node serves CSI's node service for this node's volumes: it stages,
// publishes, measures and grows them. Each call looks at what the host and the
// store say, changes the difference, and may be repeated after any failure,
// the end of this process included. It remembers nothing between calls.
//
// It runs no LVM and no program itself: the store activates devices and keeps
// what is known of their content, the host (internal/mount) does the rest. It
// decides when a filesystem may be made, and that is here only: on a volume
// that was never handed out.
package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/keyed"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// Store is what the node service needs of the volumes; *volume.Store has it.
type Store interface {
	// Volume looks a volume up, without LVM.
	Volume(context.Context, volume.Key) (volume.Volume, error)
	// Volumes lists them, without LVM.
	Volumes(context.Context) ([]volume.Volume, error)
	// Activate makes the device of a volume, or finds that it is there.
	Activate(context.Context, volume.Key) (volume.Device, error)
	// SetState records what is known of the volume's content.
	SetState(ctx context.Context, k volume.Key, state volume.State, fsType string) (volume.Volume, error)
	// Deactivate takes the device away; volume.ErrInUse when it is open.
	Deactivate(context.Context, volume.Key) error
	// DevicePath is where the device of a volume is while it is active. It
	// answers for every key, of volumes that are gone or away too.
	DevicePath(volume.Key) string
	Health
}

// Filesystems makes and grows filesystems on devices.
type Filesystems interface {
	Probe(ctx context.Context, dev string) (string, error)
	CheckBlank(ctx context.Context, dev string) error
	Format(ctx context.Context, dev string, s mount.FormatSpec) error
	Prepare(ctx context.Context, dev mount.Device, fsType, clone string) error
	Grow(ctx context.Context, dev mount.Device, fsType, target string) error
}

// Mounts is the host's mount table.
type Mounts interface {
	Table() (mount.Table, error)
	Mount(context.Context, mount.Spec) error
	Bind(ctx context.Context, source, target string, dir, readOnly bool) error
	Unmount(ctx context.Context, target string) error
}

// Devices looks at devices and at the filesystems mounted of them.
type Devices interface {
	Device(path string) (mount.Device, error)
	Tune(dev mount.Device, fsType string, readAheadKiB int) error
	Stats(path string) (mount.Stats, error)
	// Check is mount.ErrBroken where a filesystem has given up.
	Check(dev mount.Device, p mount.Point) error
	// Trim has a filesystem give back what it does not use of a part of its device.
	Trim(dev mount.Device, p mount.Point, offset, length int64) (int64, error)
	Holders(mount.Number) []string
}

// Paths checks and clears the paths that requests name.
type Paths interface {
	Resolve(path string) (string, error)
	Remove(path string) error
}

// Host is what the node service needs of the host; *mount.Host has it.
type Host interface {
	Filesystems
	Mounts
	Devices
	Paths
}

var (
	_ Host           = (*mount.Host)(nil)
	_ csi.NodeServer = (*Service)(nil)
)

// Config is what the node tells of itself.
type Config struct {
	// ID is the name of the Kubernetes node.
	ID string
	// StoreKey is the value of the topology key.
	StoreKey string
	// MaxVolumes is how many volumes the node publishes at most, 0 for no limit
	// of ours.
	MaxVolumes int64
}

// Service is the node service.
type Service struct {
	csi.UnimplementedNodeServer
	config Config
	store  Store
	host   Host
	// changing holds the volumes whose stage or publish is being changed.
	changing keyed.Locks
	measures measures[mount.Stats]
	checks   measures[struct{}]
	trims    measures[int64]
	growWait time.Duration
}

// New returns the node service for the volumes in store.
func New(c Config, store Store, host Host) *Service {
	const wait = 10 * time.Second
	return &Service{
		config: c, store: store, host: host,
		measures: measures[mount.Stats]{wait: wait}, checks: measures[struct{}]{wait: wait}, trims: measures[int64]{wait: trimWait}, growWait: growWait,
	}
}

// NodeGetCapabilities implements csi.NodeServer.
func (s *Service) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	resp := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_GET_STORAGE_HEALTH,
	} {
		rpc := &csi.NodeServiceCapability_RPC{Type: t}
		resp.Capabilities = append(resp.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: rpc}})
	}
	return resp, nil
}

// NodeGetInfo implements csi.NodeServer.
func (s *Service) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId:             s.config.ID,
		MaxVolumesPerNode:  s.config.MaxVolumes,
		AccessibleTopology: driver.Topology(s.config.StoreKey),
	}, nil
}

// exclusively makes one change of a volume at a time. The change outlives its
// caller: an mkfs that takes longer than the caller waits would otherwise be
// begun again and again. Who comes meanwhile is told to come again.
func (s *Service) exclusively(ctx context.Context, k volume.Key, verb string, change func(context.Context) error) error {
	unlock, ok := s.changing.TryLock(k.String())
	if !ok {
		return fmt.Errorf("%s volume %s: an earlier change of it is still running: %w", verb, k, volume.ErrBusy)
	}
	defer unlock()
	if err := change(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("%s volume %s: %w", verb, k, domain(err))
	}
	return nil
}

// meaning gives the host's kinds of failure the meaning they have for a volume.
var meaning = []struct{ host, domain error }{
	{mount.ErrBusy, volume.ErrInUse},
	{mount.ErrPath, volume.ErrInvalid},
	{mount.ErrNotBlank, volume.ErrPrecondition},
	{mount.ErrNoProgram, volume.ErrPrecondition},
	{mount.ErrDamaged, volume.ErrPrecondition},
	{mount.ErrBroken, volume.ErrUnavailable},
}

func domain(err error) error {
	for _, m := range meaning {
		if errors.Is(err, m.host) && !errors.Is(err, m.domain) {
			return fmt.Errorf("%w: %w", m.domain, err)
		}
	}
	return err
}

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mount/mounttest"
	"github.com/lvme/lvme/volume"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
	id  = "store001/vgvgvgv1/v-a"
)

// store is a Store in memory. before and after are as the host's.
type store struct {
	mu            sync.Mutex
	volumes       map[volume.Key]*volume.Volume
	err           error // of Volume
	ailments      []volume.Ailment
	pools         []volume.PoolHealth
	before, after func(op string) error
}

func (s *store) Volume(_ context.Context, k volume.Key) (volume.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return volume.Volume{}, s.err
	}
	v := s.volumes[k]
	if v == nil {
		return volume.Volume{}, fmt.Errorf("volume %s: %w", k, volume.ErrNotFound)
	}
	return *v, nil
}

func (s *store) Volumes(context.Context) ([]volume.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []volume.Volume
	for _, v := range s.volumes {
		all = append(all, *v)
	}
	slices.SortFunc(all, func(a, b volume.Volume) int { return strings.Compare(a.Key.LV, b.Key.LV) })
	return all, s.err
}

func (s *store) change(op string, k volume.Key, apply func(*volume.Volume) error) (volume.Volume, error) {
	if s.before != nil {
		if err := s.before(op); err != nil {
			return volume.Volume{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.volumes[k]
	if v == nil {
		return volume.Volume{}, fmt.Errorf("%s %s: %w", op, k, volume.ErrNotFound)
	}
	if err := apply(v); err != nil {
		return volume.Volume{}, err
	}
	if s.after != nil {
		if err := s.after(op); err != nil {
			return volume.Volume{}, err
		}
	}
	return *v, nil
}

func (s *store) Activate(_ context.Context, k volume.Key) (volume.Device, error) {
	v, err := s.change("activate", k, func(v *volume.Volume) error { v.Active = true; return nil })
	return volume.Device{Path: s.DevicePath(k), Volume: v}, err
}

func (s *store) Deactivate(_ context.Context, k volume.Key) error {
	_, err := s.change("deactivate", k, func(v *volume.Volume) error { v.Active = false; return nil })
	return err
}

// next are the states that may follow each other.
var next = map[volume.State]volume.State{volume.Formatting: volume.Fresh, volume.Formatted: volume.Formatting, volume.Raw: volume.Fresh}

func (s *store) SetState(_ context.Context, k volume.Key, to volume.State, fsType string) (volume.Volume, error) {
	return s.change("state "+string(to), k, func(v *volume.Volume) error {
		if v.State != next[to] {
			return fmt.Errorf("from %s to %s: %w", v.State, to, volume.ErrPrecondition)
		}
		v.State, v.FSType = to, fsType
		return nil
	})
}

func (s *store) VolumeHealth(ctx context.Context, k volume.Key) ([]volume.Ailment, error) {
	_, err := s.Volume(ctx, k)
	return s.ailments, err
}

// StorageHealth is that of three pools.
func (s *store) StorageHealth(context.Context) ([]volume.PoolHealth, int) { return s.pools, 3 }

func (s *store) DevicePath(k volume.Key) string { return "/dev/mapper/" + k.VG + "-" + k.LV }

// bench is a node service on a host and a store in memory.
type bench struct {
	*Service
	t                *testing.T
	store            *store
	host             *mounttest.Host
	staging, targets string
}

// newBench has one volume, id, which change may alter.
func newBench(t *testing.T, change func(*volume.Volume)) *bench {
	t.Helper()
	b := &bench{t: t, store: &store{volumes: map[volume.Key]*volume.Volume{}}, host: &mounttest.Host{}}
	b.staging, b.targets = t.TempDir(), t.TempDir()
	b.host.Lookup = func(path string) (mounttest.Disk, bool) {
		b.store.mu.Lock()
		defer b.store.mu.Unlock()
		for k, v := range b.store.volumes {
			if v.Active && b.store.DevicePath(k) == path {
				return mounttest.Disk{ID: k.String(), Bytes: v.Bytes, Source: v.Source.String()}, true
			}
		}
		return mounttest.Disk{}, false
	}
	b.add(id, change)
	b.restart()
	return b
}

// restart is the end of the agent and its next start.
func (b *bench) restart() {
	b.Service = New(Config{ID: "node-a", StoreKey: "store001", MaxVolumes: 42}, b.store, b.host)
}

func (b *bench) add(id string, change func(*volume.Volume)) *volume.Volume {
	b.t.Helper()
	k, err := volume.ParseKey(id)
	if err != nil {
		b.t.Fatal(err)
	}
	v := &volume.Volume{
		Key: k, Name: k.LV, Type: volume.Thin, Mode: volume.Filesystem, State: volume.Fresh,
		FSType: "ext4", Profile: "general", Bytes: gib,
	}
	if change != nil {
		change(v)
	}
	b.store.volumes[k] = v
	return v
}

func (b *bench) volume() *volume.Volume { return b.store.volumes[mustKey(b.t, id)] }

func (b *bench) device() string { return b.store.DevicePath(mustKey(b.t, id)) }

func mustKey(t *testing.T, id string) volume.Key {
	t.Helper()
	k, err := volume.ParseKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const (
	writer       = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	reader       = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	singleWriter = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	multiWriter  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
)

func filesystem(fsType string, access csi.VolumeCapability_AccessMode_Mode, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: access},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType, MountFlags: flags}},
	}
}

func block(access csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: access},
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
}

func (b *bench) stage(c *csi.VolumeCapability) error {
	_, err := b.NodeStageVolume(b.t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: id, StagingTargetPath: b.staging, VolumeCapability: c,
	})
	return err
}

func (b *bench) unstage() error {
	_, err := b.NodeUnstageVolume(b.t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: b.staging})
	return err
}

func (b *bench) publish(target string, c *csi.VolumeCapability, readOnly bool) error {
	_, err := b.NodePublishVolume(b.t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: id, StagingTargetPath: b.staging, TargetPath: b.targets + "/" + target, VolumeCapability: c, Readonly: readOnly,
	})
	return err
}

func (b *bench) unpublish(target string) error {
	_, err := b.NodeUnpublishVolume(b.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: b.targets + "/" + target})
	return err
}

func (b *bench) expand(path string, need int64) (int64, error) {
	resp, err := b.NodeExpandVolume(b.t.Context(), &csi.NodeExpandVolumeRequest{
		VolumeId: id, VolumePath: path, StagingTargetPath: b.staging, CapacityRange: &csi.CapacityRange{RequiredBytes: need},
	})
	return resp.GetCapacityBytes(), err
}

// ok ends the test on an error.
func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// code wants an error of that code.
func code(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(driver.ToStatus(err)); got != want {
		t.Fatalf("code %s, want %s: %v", got, want, err)
	}
}

var errDied = errors.New("the agent died")

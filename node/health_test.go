package node

import (
	"slices"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// health is what the volume's health says, "STATUS Reason" each.
func (b *bench) health() ([]string, error) {
	resp, err := b.NodeGetVolumeHealth(b.t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: id})
	if err == nil && resp.GetVolumeHealth().GetVolumeId() != id {
		b.t.Errorf("health of %q", resp.GetVolumeHealth().GetVolumeId())
	}
	var all []string
	for _, h := range resp.GetVolumeHealth().GetHealthStatuses() {
		if h.GetMessage() == "" {
			b.t.Errorf("%s has no message", h.GetReason())
		}
		all = append(all, h.GetStatus().String()+" "+h.GetReason())
	}
	return all, err
}

func (b *bench) healthIs(what string, want ...string) {
	b.t.Helper()
	if got, err := b.health(); err != nil || !slices.Equal(got, want) {
		b.t.Errorf("%s: %q, %v; want %q", what, got, err, want)
	}
}

func TestVolumeHealth(t *testing.T) {
	b := newBench(t, nil)
	b.healthIs("never staged")
	b.store.ailments = []volume.Ailment{{Effect: volume.Degraded, Reason: "PoolNearlyFull", Message: "m"}, {Effect: volume.Inaccessible, Reason: "DriveAway", Message: "m"}}
	b.healthIs("not staged, and ailing", "DEGRADED PoolNearlyFull", "INACCESSIBLE DriveAway")

	b, c := staged(t, volume.Filesystem)
	b.ok(b.publish("pod", c(writer), true))
	b.healthIs("published read-only")
	b.host.Fail(b.staging)
	b.healthIs("its filesystem met an error", "INACCESSIBLE FilesystemFailed")
	b.ok(b.unpublish("pod"))
	b.ok(b.unstage())
	b.healthIs("unstaged")
	b.ok(b.stage(c(writer)))
	b.healthIs("mounted anew")
	b.host.ShutDown(b.staging)
	b.healthIs("its filesystem shut down", "INACCESSIBLE FilesystemFailed")

	b, c = staged(t, volume.Block)
	b.ok(b.publish("pod", c(writer), true))
	b.healthIs("block, read-only")
}

func TestHealthOfNoVolume(t *testing.T) {
	b := newBench(t, nil)
	for id, want := range map[string]codes.Code{"": codes.InvalidArgument, "x": codes.NotFound, "store001/vgvgvgv1/v-b": codes.NotFound, "store001/vgvgvgv1/s-a": codes.NotFound} {
		_, err := b.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: id})
		code(t, err, want)
	}
	b.store.err = volume.ErrUnavailable
	_, err := b.health()
	code(t, err, codes.Unavailable)
}

func (h *hanging) Check(dev mount.Device, p mount.Point) error {
	if p.Path == h.path {
		h.asked <- struct{}{}
		<-h.leave
	}
	return h.Host.Check(dev, p)
}

func TestHealthOfHungFilesystem(t *testing.T) {
	b, _ := staged(t, volume.Filesystem)
	h := &hanging{Host: b.host, path: b.staging, asked: make(chan struct{}, 10), leave: make(chan struct{})}
	b.Service.host = h
	b.checks.wait = 10 * time.Millisecond
	for range 3 {
		b.healthIs("hangs", "INACCESSIBLE FilesystemFailed")
	}
	if n := len(h.asked); n != 1 {
		t.Errorf("%d goroutines hang, want 1", n)
	}
	close(h.leave)
	b.checks.wait = time.Minute
	b.healthIs("after it came back")
}

func TestStorageHealth(t *testing.T) {
	ailing := func(vg string, s volume.Effect, reason volume.Reason) volume.PoolHealth {
		return volume.PoolHealth{VG: vg, Ailment: volume.Ailment{Effect: s, Reason: reason, Message: "m"}}
	}
	full, away := ailing("a", volume.Degraded, "PoolFull"), ailing("b", volume.Inaccessible, "DriveAway")
	for name, tc := range map[string]struct {
		pools []volume.PoolHealth
		want  []string
	}{
		"well":                        {nil, nil},
		"a pool will be full one day": {[]volume.PoolHealth{ailing("a", volume.Early, "PoolFilling")}, nil},
		"one of three is full, another away": {[]volume.PoolHealth{full, away}, []string{
			"STORAGE_DEGRADED DriveAway b: m", "STORAGE_DEGRADED PoolFull a: m"}},
		"two of one kind are one entry": {[]volume.PoolHealth{away, ailing("c", volume.Inaccessible, "DriveAway")}, []string{
			"STORAGE_DEGRADED DriveAway b: m; c: m"}},
		"no pool works": {[]volume.PoolHealth{full, ailing("a", volume.Inaccessible, "DriveAway"), away, ailing("c", volume.Inaccessible, "PoolFailed")}, []string{
			"STORAGE_UNREACHABLE DriveAway a: m; b: m", "STORAGE_UNREACHABLE PoolFailed c: m", "STORAGE_DEGRADED PoolFull a: m"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.store.pools = tc.pools
			resp, err := b.NodeGetStorageHealth(t.Context(), &csi.NodeGetStorageHealthRequest{})
			b.ok(err)
			var got []string
			for _, h := range resp.GetBackendHealth() {
				got = append(got, h.GetStatus().String()+" "+h.GetReason()+" "+h.GetMessage())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

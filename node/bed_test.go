package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/volume"
)

// The tests in this file publish true filesystems and devices: they run in a
// node of the bed. In place of LVM, dmsetup cuts volumes from the first drive.

const drive = "/dev/nvme0n1"

// cut is a store whose volumes are pieces of a drive, one after the other in
// slots of 1 GiB.
type cut struct {
	*store
	t     *testing.T
	slots map[volume.Key]int
}

func (c cut) sh(format string, args ...any) error {
	cmd := run.Cmd{Name: "sh", Args: []string{"-c", fmt.Sprintf(format, args...)}, Changes: true}
	res, err := run.Host{}.Run(context.Background(), cmd)
	if err != nil || res.Code != 0 {
		return fmt.Errorf("%s: %v, exit %d: %s%s", cmd.Args[1], err, res.Code, res.Stdout, res.Stderr)
	}
	return nil
}

func (c cut) table(k volume.Key) string {
	return fmt.Sprintf("0 %d linear %s %d", c.volumes[k].Bytes/512, drive, int64(c.slots[k])*gib/512)
}

func name(k volume.Key) string { return k.VG + "-" + k.LV }

func (c cut) Activate(ctx context.Context, k volume.Key) (volume.Device, error) {
	if err := c.sh("dmsetup info %s >/dev/null 2>&1 || dmsetup create --verifyudev %s --table '%s'", name(k), name(k), c.table(k)); err != nil {
		return volume.Device{}, err
	}
	return c.store.Activate(ctx, k)
}

func (c cut) Deactivate(ctx context.Context, k volume.Key) error {
	if err := c.sh("! dmsetup info %s >/dev/null 2>&1 || dmsetup remove --retry %s", name(k), name(k)); err != nil {
		return fmt.Errorf("%w: %w", volume.ErrInUse, err)
	}
	return c.store.Deactivate(ctx, k)
}

// newCut returns a bench on the true host, whose volume lies on zeroed blocks.
func newCut(t *testing.T, change func(*volume.Volume)) (*bench, cut) {
	t.Helper()
	if os.Getenv("LVME_BED_DRIVES") == "" {
		t.Skip("needs a real drive: run it in the bed")
	}
	b := newBench(t, change)
	c := cut{store: b.store, t: t, slots: map[volume.Key]int{b.volume().Key: 0}}
	b.ok(c.sh("blkdiscard -z %s", drive))
	b.Service = New(Config{ID: "node-a", StoreKey: "store001"}, c, mount.New(run.Host{}, ""))
	t.Cleanup(func() { // Whatever a failed test left.
		_ = c.sh("for m in $(findmnt -rno TARGET | grep %s); do umount $m; done; dmsetup remove_all --retry", os.TempDir()+"/Test")
	})
	return b, c
}

func TestBedVolume(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fsType, func(t *testing.T) { bedFilesystem(t, fsType) })
	}
}

func bedFilesystem(t *testing.T, fsType string) {
	b, c := newCut(t, func(v *volume.Volume) {
		v.Type, v.FSType, v.Profile, v.Bytes = volume.Thick, fsType, "training", 512*mib
	})
	capability := filesystem(fsType, multiWriter, "noexec")
	for range 2 {
		b.ok(b.stage(capability))
	}
	for _, target := range []string{"one", "two", "one"} {
		b.ok(b.publish(target, capability, false))
	}
	b.ok(b.publish("ro", capability, true))
	code(t, b.publish("ro", capability, false), codes.AlreadyExists)
	data := bytes.Repeat([]byte("lvme"), int(mib/2))
	b.ok(os.WriteFile(b.targets+"/one/file", data, 0o600))
	for _, target := range []string{"two", "ro"} {
		if got, err := os.ReadFile(b.targets + "/" + target + "/file"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", target, len(got), err)
		}
	}
	if err := os.WriteFile(b.targets+"/ro/file", nil, 0o600); err == nil {
		t.Error("written through a read-only publish")
	}
	code(t, b.unstage(), codes.FailedPrecondition)
	b.ok(b.stage(capability)) // The refused unstage unmounted the staging path.
	grown := growAndMeasure(t, b, c, b.targets+"/ro")
	for _, target := range []string{"one", "two", "ro"} {
		b.ok(b.unpublish(target))
	}
	b.ok(b.unstage())

	// The clone comes larger than its source and is mounted beside it.
	b.ok(b.stage(capability))
	clone := b.add("store001/vgvgvgv1/v-b", func(v *volume.Volume) {
		v.Type, v.FSType, v.State, v.Source, v.Bytes = volume.Thick, fsType, volume.Formatted, b.volume().Key, gib
	})
	c.slots[clone.Key] = 1
	b.ok(c.sh("fsfreeze -f %s && dd if=%s of=%s bs=1M seek=1024 iflag=direct oflag=direct conv=notrunc status=none; fsfreeze -u %s",
		b.staging, b.device(), drive, b.staging))
	staging := t.TempDir() + "/clone"
	r := stageRequest{key: clone.Key, staging: staging}
	r.cap.Mode = volume.Filesystem
	b.ok(b.Service.stage(t.Context(), r))
	if got, err := os.ReadFile(staging + "/file"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("clone: %d bytes, %v", len(got), err)
	}
	if s, err := mount.New(run.Host{}, "").Stats(staging); err != nil || s.Bytes < grown+200*mib {
		t.Errorf("clone: %+v %v", s, err)
	}
	b.ok(b.Service.unstage(t.Context(), clone.Key, staging))
	b.ok(b.unstage())
}

// growAndMeasure expands the volume online through a read-only mount and
// returns how large the filesystem is then.
func growAndMeasure(t *testing.T, b *bench, c cut, path string) int64 {
	t.Helper()
	before, err := b.stats(path)
	b.ok(err)
	k := b.volume().Key
	b.volume().Bytes = 768 * mib
	b.ok(c.sh("dmsetup suspend %s && dmsetup load %s --table '%s' && dmsetup resume %s", name(k), name(k), c.table(k), name(k)))
	for range 2 {
		got, err := b.expand(path, 700*mib)
		if err != nil || got != 768*mib {
			t.Fatalf("expand: %d %v", got, err)
		}
	}
	after, err := b.stats(path)
	if err != nil || after[0].GetTotal() < before[0].GetTotal()+200*mib {
		t.Fatalf("%v, before %v: %v", after, before, err)
	}
	return after[0].GetTotal()
}

func TestBedBlock(t *testing.T) {
	b, c := newCut(t, func(v *volume.Volume) { v.Mode, v.FSType, v.Bytes = volume.Block, "", 512*mib })
	b.ok(b.stage(block(singleWriter)))
	for range 2 {
		b.ok(b.publish("pod", block(singleWriter), false))
	}
	code(t, b.publish("other", block(singleWriter), false), codes.FailedPrecondition)
	code(t, b.publish("pod", block(singleWriter), true), codes.AlreadyExists)
	f, err := os.OpenFile(b.targets+"/pod", os.O_RDWR, 0)
	b.ok(err)
	_, err = f.WriteAt([]byte("TENANT"), 4096)
	b.ok(err)
	b.ok(f.Close())
	code(t, b.unstage(), codes.FailedPrecondition)
	k := b.volume().Key
	b.volume().Bytes = 768 * mib
	b.ok(c.sh("dmsetup suspend %s && dmsetup load %s --table '%s' && dmsetup resume %s", name(k), name(k), c.table(k), name(k)))
	if got, err := b.expand(b.targets+"/pod", 768*mib); err != nil || got != 768*mib {
		t.Errorf("expand: %d %v", got, err)
	}
	usage, err := b.stats(b.targets + "/pod")
	if err != nil || len(usage) != 1 || usage[0].GetTotal() != 768*mib {
		t.Errorf("stats: %v %v", usage, err)
	}
	// A container has the device open, by a node of its own.
	f, err = os.Open(b.device())
	b.ok(err)
	for range 2 {
		b.ok(b.unpublish("pod"))
	}
	code(t, b.unstage(), codes.FailedPrecondition)
	b.ok(f.Close())
	for range 2 {
		b.ok(b.unstage())
	}
	b.ok(b.stage(block(reader)))
	b.ok(b.publish("pod", block(reader), false))
	got := make([]byte, 6)
	f, err = os.Open(b.targets + "/pod")
	b.ok(err)
	if _, err := f.ReadAt(got, 4096); err != nil || string(got) != "TENANT" {
		t.Errorf("%q %v", got, err)
	}
	b.ok(f.Close())
	b.ok(b.unpublish("pod"))
	b.ok(b.unstage())
}

// TestBedNotBlank: a thick volume that should be new and is not is left alone.
func TestBedNotBlank(t *testing.T) {
	b, c := newCut(t, func(v *volume.Volume) { v.Type, v.FSType, v.Bytes = volume.Thick, "xfs", 512*mib })
	b.ok(c.sh("printf SECRET | dd of=%s bs=1 seek=%d conv=notrunc,fsync status=none", drive, 512*mib-6))
	err := b.stage(filesystem("", writer))
	code(t, err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), "not blank") || b.volume().State != volume.Fresh {
		t.Errorf("state %s, %v", b.volume().State, err)
	}
	_, err = b.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: b.staging})
	b.ok(err)
}

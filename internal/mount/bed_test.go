package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/internal/run"
)

// The tests in this file make and mount filesystems on a real drive: they run
// in a node of the bed and use its first drive, which they cut into devices.

const mib = 1 << 20

// bed returns the host, or skips.
func bed(t *testing.T) *Host {
	t.Helper()
	if os.Getenv("LVME_BED_DRIVES") == "" {
		t.Skip("needs a real drive: run it in the bed")
	}
	return New(run.Host{}, "")
}

// sh runs a command that must succeed.
func sh(t *testing.T, format string, args ...any) string {
	t.Helper()
	c := run.Cmd{Name: "sh", Args: []string{"-c", fmt.Sprintf(format, args...)}, Changes: true}
	res, err := run.Host{}.Run(context.WithoutCancel(t.Context()), c)
	if err != nil || res.Code != 0 {
		t.Fatalf("%s: exit %d, %v\n%s%s", c.Args[1], res.Code, err, res.Stdout, res.Stderr)
	}
	return string(res.Stdout)
}

const drive = "/dev/nvme0n1"

// table is the device-mapper table of a device: at is where on the drive it
// begins, both in MiB.
func table(at, size int) string { return fmt.Sprintf("0 %d linear %s %d", size*2048, drive, at*2048) }

// device makes a blank device of size MiB at that place on the drive.
func device(t *testing.T, h *Host, name string, at, size int) Device {
	t.Helper()
	sh(t, "blkdiscard -z -o %d -l %d %s", at*mib, size*mib, drive)
	sh(t, "dmsetup create --verifyudev %s --table '%s'", name, table(at, size))
	t.Cleanup(func() { sh(t, "dmsetup remove --retry %s", name) })
	return look(t, h, name)
}

func look(t *testing.T, h *Host, name string) Device {
	t.Helper()
	d, err := h.Device("/dev/mapper/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// resize gives the device another size.
func resize(t *testing.T, h *Host, name string, at, size int) Device {
	t.Helper()
	sh(t, "dmsetup suspend %s && dmsetup load %s --table '%s' && dmsetup resume %s", name, name, table(at, size), name)
	return look(t, h, name)
}

// mountAt mounts and, at the test's end, unmounts.
func mountAt(t *testing.T, h *Host, d Device, fsType, target string) {
	t.Helper()
	if err := h.Mount(t.Context(), Spec{Device: d, Target: target, FSType: fsType, Options: Options(fsType)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, h, target) })
}

func unmount(t *testing.T, h *Host, target string) {
	t.Helper()
	for range 2 {
		if err := h.Unmount(context.WithoutCancel(t.Context()), target); err != nil {
			t.Fatal(err)
		}
	}
}

func at(t *testing.T, h *Host, path string) (Point, bool) {
	t.Helper()
	mounts, err := h.Table()
	if err != nil {
		t.Fatal(err)
	}
	return mounts.At(path)
}

var mkfsOptions = map[string][]string{Ext4: {"-E", "nodiscard"}, XFS: {"-K"}, Btrfs: {"-K"}}

func TestBedLife(t *testing.T) {
	for _, fsType := range []string{Ext4, XFS, Btrfs} {
		t.Run(fsType, func(t *testing.T) { life(t, bed(t), fsType) })
	}
}

func life(t *testing.T, h *Host, fsType string) {
	ctx, name := t.Context(), "life-"+fsType
	d := device(t, h, name, 0, 512)
	if err := h.CheckBlank(ctx, d.Path); err != nil || d.Bytes != 512*mib {
		t.Fatalf("%+v: %v", d, err)
	}
	spec := FormatSpec{FSType: fsType, Options: mkfsOptions[fsType]}
	if err := h.Format(ctx, d.Path, spec); err != nil {
		t.Fatal(err)
	}
	if what, err := h.Probe(ctx, d.Path); err != nil || what != fsType {
		t.Fatalf("probe: %q %v", what, err)
	}
	if err := h.CheckBlank(ctx, d.Path); !errors.Is(err, ErrNotBlank) {
		t.Fatalf("blank: %v", err)
	}
	if fsType != Ext4 { // mkfs.ext4 -F does not look.
		if err := h.Format(ctx, d.Path, spec); err == nil {
			t.Error("formatted over a filesystem without being told to")
		}
	}
	spec.Again = true
	if err := h.Format(ctx, d.Path, spec); err != nil {
		t.Fatalf("formatted again: %v", err)
	}
	if err := h.Prepare(ctx, d, fsType, ""); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "staging dir")
	mountAt(t, h, d, fsType, dir)
	p, ok := at(t, h, dir)
	if !ok || p.Device != d.Number || p.FSType != fsType || p.ReadOnly {
		t.Fatalf("%+v %t, device %s", p, ok, d.Number)
	}
	if err := h.Format(ctx, d.Path, spec); !errors.Is(err, ErrBusy) {
		t.Fatalf("formatting a mounted device: %v", err)
	}
	options := sh(t, "findmnt -no OPTIONS '%s'", dir)
	for _, want := range []string{"nosuid", "nodev"} {
		if !strings.Contains(options, want) {
			t.Errorf("options %s", options)
		}
	}
	growOnline(t, h, name, fsType, dir)
	if err := h.Tune(d, fsType, 2048); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(sh(t, "cat /sys/dev/block/%s/queue/read_ahead_kb", d.Number)); got != "2048" {
		t.Errorf("read-ahead %s", got)
	}
	if fsType == XFS {
		dir := "/sys/fs/xfs/" + strings.TrimSpace(sh(t, "basename $(readlink -f %s)", d.Path)) + "/error"
		got := sh(t, "cd %s && for c in default EIO ENOSPC ENODEV; do cat metadata/$c/max_retries metadata/$c/retry_timeout_seconds; done; cat fail_at_unmount", dir)
		if want := "-1\n10\n-1\n10\n-1\n30\n0\n"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\n1\n") {
			t.Errorf("XFS error settings %q", got)
		}
	}
	if p, _ := at(t, h, dir); h.Check(d, p) != nil {
		t.Errorf("%+v: %v", p, h.Check(d, p))
	}
	busy(t, h, dir)
}

// growOnline grows the device and the filesystem that is mounted at dir, and
// once more offline, by remounting.
func growOnline(t *testing.T, h *Host, name, fsType, dir string) {
	t.Helper()
	before, err := h.Stats(dir)
	if err != nil || before.Bytes < 256*mib || before.BytesFree <= 0 || fsType != Btrfs && before.InodesFree <= 0 {
		t.Fatalf("%+v %v", before, err)
	}
	d := resize(t, h, name, 0, 768)
	for range 2 {
		if err := h.Grow(t.Context(), d, fsType, dir); err != nil {
			t.Fatal(err)
		}
	}
	after, err := h.Stats(dir)
	if err != nil || after.Bytes < before.Bytes+200*mib {
		t.Fatalf("%d bytes, before %d: %v", after.Bytes, before.Bytes, err)
	}
	unmount(t, h, dir)
	d = resize(t, h, name, 0, 1024)
	if err := h.Prepare(t.Context(), d, fsType, ""); err != nil {
		t.Fatal(err)
	}
	if err := h.Mount(t.Context(), Spec{Device: d, Target: dir, FSType: fsType, Options: Options(fsType)}); err != nil {
		t.Fatal(err)
	}
	if err := h.Grow(t.Context(), d, fsType, dir); err != nil {
		t.Fatal(err)
	}
	last, err := h.Stats(dir)
	if err != nil || last.Bytes < after.Bytes+200*mib {
		t.Fatalf("%d bytes, before %d: %v", last.Bytes, after.Bytes, err)
	}
	if s, err := readSuper(d.Path, fsType); err != nil || fsType != XFS && s.bytes < d.Bytes-slack {
		t.Errorf("superblock: %d bytes of %d, %v", s.bytes, d.Bytes, err)
	}
}

// busy unmounts what a process of another mount namespace keeps busy.
func busy(t *testing.T, h *Host, dir string) {
	t.Helper()
	f, err := os.Create(dir + "/open")
	if err != nil {
		t.Fatal(err)
	}
	err = h.Unmount(t.Context(), dir)
	f.Close()
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("unmounting with an open file: %v", err)
	}
}

// TestBedUnmountUnderLooks unmounts what others look at: those who pass it by
// are not noticed, and one who holds it for a moment is waited for.
func TestBedUnmountUnderLooks(t *testing.T) {
	h := bed(t)
	d := device(t, h, "looks", 0, 512)
	if err := h.Format(t.Context(), d.Path, FormatSpec{FSType: XFS}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	staging, target := dir+"/staging", dir+"/target"
	mountAt(t, h, d, XFS, staging)
	var passing sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		passing.Go(func() {
			for ctx.Err() == nil {
				if _, err := Resolve(dir, target); err != nil {
					t.Errorf("resolve while it is unmounted: %v", err)
				}
			}
		})
	}
	for range 200 {
		if err := h.Bind(t.Context(), staging, target, true, false); err != nil {
			t.Fatal(err)
		}
		if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
			t.Errorf("unmount while it is resolved: %v", err)
			unmount(t, h, target)
		}
	}
	cancel()
	passing.Wait()
	f, err := os.Create(staging + "/open")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(busyPauses[0], func() { f.Close() })
	if err := h.Unmount(t.Context(), staging); err != nil {
		t.Errorf("unmount of what is held for a moment: %v", err)
	}
}

func TestBedHolders(t *testing.T) {
	for _, fsType := range []string{XFS, Btrfs} { // btrfs shows another device number
		t.Run(fsType, func(t *testing.T) { held(t, bed(t), fsType) })
	}
}

// held unmounts what a container keeps a private copy of.
func held(t *testing.T, h *Host, fsType string) {
	d := device(t, h, "held-"+fsType, 0, 512)
	if err := h.Format(t.Context(), d.Path, FormatSpec{FSType: fsType}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "staging")
	mountAt(t, h, d, fsType, dir)
	fifo := filepath.Join(t.TempDir(), "fifo")
	sh(t, "mkfifo %s; unshare -m --propagation private sh -c 'echo held >%s; read x <%s' >/dev/null 2>&1 &", fifo, fifo, fifo)
	sh(t, "read x <%s", fifo)
	defer sh(t, "echo end >%s; while ! dmsetup info -c --noheadings -o open held-%s | grep -qw 0; do :; done", fifo, fsType)
	unmount(t, h, dir)
	holders := h.Holders(d.Number)
	if len(holders) != 1 || !strings.Contains(holders[0], dir) {
		t.Errorf("holders %q", holders)
	}
	if err := h.Format(t.Context(), d.Path, FormatSpec{FSType: fsType, Again: true}); !errors.Is(err, ErrBusy) {
		t.Errorf("formatting a device that another namespace has mounted: %v", err)
	}
}

func TestBedBind(t *testing.T) {
	h := bed(t)
	ctx := t.Context()
	d := device(t, h, "bind", 0, 512)
	if err := h.Format(ctx, d.Path, FormatSpec{FSType: XFS}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	staging := dir + "/staging"
	mountAt(t, h, d, XFS, staging)
	for _, tc := range []struct {
		target   string
		dir, ro  bool
		source   string
		writable bool
	}{
		{"rw", true, false, staging, true},
		{"ro", true, true, staging, false},
		{"block", false, false, d.Path, false},
		{"block-ro", false, true, d.Path, false},
	} {
		target := dir + "/" + tc.target
		if err := h.Bind(ctx, tc.source, target, tc.dir, tc.ro); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unmount(t, h, target) })
		p, ok := at(t, h, target)
		if !ok || p.Device != d.Number || p.ReadOnly != tc.ro {
			t.Errorf("%s: %+v", tc.target, p)
		}
		if tc.dir {
			if err := os.WriteFile(target+"/"+tc.target, nil, 0o600); (err == nil) != tc.writable {
				t.Errorf("%s: write: %v", tc.target, err)
			}
			if options := sh(t, "findmnt -no OPTIONS %s", target); !strings.Contains(options, "nosuid") || !strings.Contains(options, "nodev") {
				t.Errorf("%s: options %s", tc.target, options)
			}
		}
	}
	mounts, err := h.Table()
	if err != nil {
		t.Fatal(err)
	}
	if got := mounts.Of(d.Number); len(got) != 5 {
		t.Errorf("mounts of the device: %q", got)
	}
	if err := os.WriteFile(staging+"/still-writable", nil, 0o600); err != nil {
		t.Errorf("staging after a read-only bind: %v", err)
	}
	if err := os.Symlink(dir, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := h.Bind(ctx, staging, dir+"/link", true, false); err == nil {
		t.Error("bound over a symbolic link")
	}
	if err := h.Bind(ctx, staging, dir+"/link/x", true, false); err == nil {
		t.Error("bound through a symbolic link")
	}
}

// TestBedClone mounts copies, made while the source is in use, beside it.
func TestBedClone(t *testing.T) {
	for _, fsType := range []string{Ext4, XFS, Btrfs} {
		for _, frozen := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s frozen=%t", fsType, frozen), func(t *testing.T) { clone(t, bed(t), fsType, frozen) })
		}
	}
}

func clone(t *testing.T, h *Host, fsType string, frozen bool) {
	ctx, dir := t.Context(), t.TempDir()
	source := device(t, h, "source", 0, 512)
	if err := h.Format(ctx, source.Path, FormatSpec{FSType: fsType}); err != nil {
		t.Fatal(err)
	}
	mountAt(t, h, source, fsType, dir+"/source")
	data := bytes.Repeat([]byte("lvme"), 1<<18)
	if err := os.WriteFile(dir+"/source/file", data, 0o600); err != nil {
		t.Fatal(err)
	}
	// The log is not empty: the file is synced by itself, as after a power cut.
	sh(t, "sync %s/source/file", dir)
	if frozen {
		sh(t, "fsfreeze -f %s/source", dir)
	}
	sh(t, "blkdiscard -z -o %d -l %d %s; dd if=%s of=%s bs=1M seek=600 iflag=direct oflag=direct conv=notrunc status=none",
		600*mib, 1200*mib, drive, source.Path, drive)
	sh(t, "dd if=%s of=%s bs=1M seek=1400 iflag=direct oflag=direct conv=notrunc status=none", source.Path, drive)
	if frozen {
		sh(t, "fsfreeze -u %s/source", dir)
	}
	for i, size := range []int{512, 768} { // the second one larger
		name := fmt.Sprintf("clone%d", i)
		sh(t, "dmsetup create --verifyudev %s --table '%s'", name, table(600+800*i, size))
		t.Cleanup(func() { sh(t, "dmsetup remove --retry %s", name) })
		d := look(t, h, name)
		if s, err := readSuper(d.Path, fsType); err != nil || fsType == Btrfs && s.log == frozen {
			t.Fatalf("the copy: %+v, %v", s, err)
		}
		for range 2 { // A stage that was cut short after Prepare.
			if err := h.Prepare(ctx, d, fsType, "store001/vgvgvgv1/v-"+name); err != nil {
				t.Fatal(err)
			}
		}
		target := dir + "/" + name
		mountAt(t, h, d, fsType, target)
		if err := h.Grow(ctx, d, fsType, target); err != nil {
			t.Fatal(err)
		}
		if stats, err := h.Stats(target); err != nil || stats.Bytes < int64(size-100)*mib {
			t.Errorf("%s: %+v %v", name, stats, err)
		}
		if got, err := os.ReadFile(target + "/file"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: the file differs (%d bytes), %v", name, len(got), err)
		}
		if err := os.WriteFile(target+"/own", data, 0o600); err != nil {
			t.Error(err)
		}
		if p, ok := at(t, h, target); !ok || p.Device != d.Number {
			t.Errorf("%s: %+v", name, p)
		}
	}
	sh(t, "sync")
	for _, other := range []string{"source", "clone1"} {
		if _, err := os.Stat(dir + "/" + other + "/own"); (err == nil) != (other == "clone1") {
			t.Errorf("%s: a clone's file: %v", other, err)
		}
	}
	if p, ok := at(t, h, dir+"/source"); !ok || p.Device != source.Number {
		t.Errorf("the source is now %+v", p)
	}
}

func TestBedDamagedExt4(t *testing.T) {
	h := bed(t)
	ctx := t.Context()
	d := device(t, h, "damaged", 0, 256)
	if err := h.Format(ctx, d.Path, FormatSpec{FSType: Ext4}); err != nil {
		t.Fatal(err)
	}
	// Errors recorded, nothing broken: repaired without asking.
	sh(t, "debugfs -w -R 'ssv state 2' %s && debugfs -w -R 'ssv error_count 3' %s", d.Path, d.Path)
	if s, err := readSuper(d.Path, Ext4); err != nil || !s.damaged {
		t.Fatalf("%+v %v", s, err)
	}
	counted := func() string {
		return strings.TrimSpace(sh(t, "dumpe2fs -h %s 2>/dev/null | grep -c 'FS Error count' || true", d.Path))
	}
	if counted() != "1" {
		t.Error("no errors are counted before the repair")
	}
	if err := h.Prepare(ctx, d, Ext4, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := readSuper(d.Path, Ext4); err != nil || s.damaged {
		t.Fatalf("after the repair: %+v %v", s, err)
	}
	if counted() != "0" {
		t.Error("errors are counted after the repair")
	}
	// More than e2fsck -p dares: the root directory is gone.
	sh(t, "debugfs -w -R 'ssv state 2' %s && debugfs -w -R 'clri <2>' %s", d.Path, d.Path)
	if err := h.Prepare(ctx, d, Ext4, ""); !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v", err)
	}
}

// TestBedDeadDrive takes the blocks away from under mounted filesystems: what
// waits for them must fail, not hang.
func TestBedDeadDrive(t *testing.T) {
	h := bed(t)
	for _, fsType := range []string{Ext4, XFS, Btrfs} {
		t.Run(fsType, func(t *testing.T) {
			name := "dead-" + fsType
			d := device(t, h, name, 0, 512)
			if err := h.Format(t.Context(), d.Path, FormatSpec{FSType: fsType}); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "staging")
			if err := h.Mount(t.Context(), Spec{Device: d, Target: dir, FSType: fsType, Options: Options(fsType)}); err != nil {
				t.Fatal(err)
			}
			if err := h.Tune(d, fsType, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/file", bytes.Repeat([]byte("x"), 4*mib), 0o600); err != nil {
				t.Fatal(err)
			}
			sh(t, "dmsetup suspend --nolockfs %s && dmsetup load %s --table '0 %d error' && dmsetup resume %s", name, name, 512*2048, name)
			sh(t, "timeout 60 sync -f %s/file; test $? -ne 124", dir)
			_, err := h.Stats(dir)
			t.Logf("stats of a dead filesystem: %v", err)
			knownBroken(t, h, d, dir)
			if _, err := h.Resolve(dir); err != nil {
				t.Errorf("resolve: %v", err)
			}
			unmount(t, h, dir)
			if _, ok := at(t, h, dir); ok {
				t.Error("still mounted")
			}
		})
	}
}

// knownBroken wants the filesystem at dir to be known as one that has given up, by the
// time that XFS repeats its writes at the latest.
func knownBroken(t *testing.T, h *Host, d Device, dir string) {
	t.Helper()
	began := time.Now()
	for time.Since(began) < time.Minute {
		p, _ := at(t, h, dir)
		if err := h.Check(d, p); errors.Is(err, ErrBroken) {
			t.Logf("after %.1f s: %v", time.Since(began).Seconds(), err)
			return
		}
		// What makes ext4 and btrfs notice is the next write.
		sh(t, "timeout 60 touch %s/another; timeout 60 sync %s/another; sleep 1", dir, dir)
	}
	t.Error("nobody would know that it is broken")
}

func TestBedDevice(t *testing.T) {
	h := bed(t)
	if _, err := h.Device("/dev/mapper/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := h.Device("/dev/null"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a character device: %v", err)
	}
	if _, err := h.Stats("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	d, err := h.Device(drive)
	if err != nil || d.Bytes == 0 {
		t.Fatalf("%+v %v", d, err)
	}
	if err := h.Mount(t.Context(), Spec{Device: d, Target: t.TempDir(), FSType: XFS}); err == nil {
		t.Error("mounted a drive without a filesystem")
	}
}

func TestBedTrim(t *testing.T) {
	for _, fsType := range []string{Ext4, XFS, Btrfs} {
		t.Run(fsType, func(t *testing.T) { trimmed(t, bed(t), fsType) })
	}
}

// trimmed deletes a file and trims in steps: all of it comes back, and reaches the drive.
func trimmed(t *testing.T, h *Host, fsType string) {
	const step, file = 128 * mib, 64
	d := device(t, h, "trim-"+fsType, 0, 512)
	if err := h.Format(t.Context(), d.Path, FormatSpec{FSType: fsType, Options: mkfsOptions[fsType]}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	mountAt(t, h, d, fsType, dir)
	sh(t, "head -c %dM /dev/urandom >%s/file && sync -f %s && rm %s/file && sync -f %s", file, dir, dir, dir, dir)
	p, _ := at(t, h, dir)
	discarded := func() string { return strings.TrimSpace(sh(t, "awk '{print $14}' /sys/block/nvme0n1/stat")) }
	before := discarded()
	var total int64
	length := int64(step)
	if fsType == Btrfs {
		length = d.Bytes
	}
	for offset := int64(0); offset < d.Bytes; offset += length {
		n, err := h.Trim(d, p, offset, length)
		if err != nil || fsType != Btrfs && n > length {
			t.Fatalf("bytes %d to %d: %d, %v", offset, offset+length, n, err)
		}
		total += n
	}
	if total < file*mib || total > d.Bytes || discarded() == before {
		t.Errorf("%d bytes came back of %d, and the drive has had %s sectors after %s", total, d.Bytes, discarded(), before)
	}
	if n, err := h.Trim(d, p, d.Bytes, step); fsType != Btrfs && (err != nil || n != 0) {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	other := d
	other.Number.Minor++
	if _, err := h.Trim(other, p, 0, step); !errors.Is(err, ErrBusy) {
		t.Errorf("another device is mounted there: %v", err)
	}
}

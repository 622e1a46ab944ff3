package lvm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// TestReal is Suite on this machine's LVM. It wipes the drives that it is given.
func TestReal(t *testing.T) {
	if os.Getenv("LVME_BED") != "1" {
		t.Skip("needs the bed: a machine whose drives may be wiped says so with LVME_BED=1")
	}
	lvmtest.Suite(t, newReal)
}

// realDrives are the bed's: LVME_BED_DRIVES has their serial numbers, or paths.
func realDrives(t *testing.T) []string {
	var drives []string
	for serial := range strings.SplitSeq(os.Getenv("LVME_BED_DRIVES"), ",") {
		if strings.HasPrefix(serial, "/dev/") {
			drives = append(drives, serial)
			continue
		}
		files, err := filepath.Glob("/sys/block/nvme*/device/serial")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if is, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(is)) == serial {
				drives = append(drives, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(file))))
			}
		}
	}
	if len(drives) < 3 {
		t.Fatalf("found the drives %v of LVME_BED_DRIVES=%q: the suite needs three", drives, os.Getenv("LVME_BED_DRIVES"))
	}
	return drives[:3]
}

func newReal(t *testing.T) lvmtest.Env {
	drives := realDrives(t)
	wipe(t, drives)
	t.Cleanup(func() {
		nothingSuspended(t)
		wipe(t, realDrives(t)) // one that was pulled has another name now
	})
	return lvmtest.Env{Runner: run.Host{}, Kernel: dm.Open(), Drives: drives, Write: write, Open: open, Stale: stale, Pull: pull, Tear: tear, Freeze: freeze, Uncount: uncount, Leak: leak, Cut: cut,
		Sign: func(t *testing.T, path string) { must(t, "mkfs.ext4", "-q", path) }}
}

func wipe(t *testing.T, drives []string) {
	t.Helper()
	report, err := lvm.New(run.Host{}, dm.Open()).Scan(context.Background(), drives)
	if err != nil {
		t.Fatal(err)
	}
	// A drive at a time, since two VGs may have one name.
	for _, vg := range report.VGs {
		must(t, "lvm", "vgremove", "--devices", strings.Join(vg.VG().Devices, ","), "-ff", "--yes", vg.Name)
	}
	for _, drive := range drives {
		must(t, "wipefs", "-aq", drive)
	}
}

func nothingSuspended(t *testing.T) {
	k := dm.Open()
	names, err := k.Names(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := k.Info(context.Background(), name); err != nil || info.Suspended {
			t.Errorf("left behind: %+v, %v", info, err)
		}
	}
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	res, err := run.Host{}.Run(context.Background(), run.Cmd{Name: name, Args: args, Changes: true})
	if err != nil || res.Code != 0 {
		t.Fatalf("%s %s: %v, exit %d: %s", name, strings.Join(args, " "), err, res.Code, res.Stderr)
	}
	return string(res.Stdout)
}

// freeze is what a command does before it changes a device.
func freeze(t *testing.T, vg, lv string) {
	t.Helper()
	name := dm.DeviceName(vg, lv)
	if _, err := dm.Open().Info(context.Background(), name+"-tpool"); err == nil {
		name += "-tpool"
	}
	must(t, "dmsetup", "suspend", name)
}

func uncount(t *testing.T, vg lvm.VG, pool string) {
	t.Helper()
	l := lvm.New(run.Host{}, dm.Open())
	status, err := l.PoolStatus(context.Background(), vg.Name, pool)
	if err != nil {
		t.Fatal(err)
	}
	name, err := l.PoolTarget(context.Background(), vg.Name, pool)
	if err != nil {
		t.Fatal(err)
	}
	must(t, "dmsetup", "message", name, "0", fmt.Sprintf("set_transaction_id %d %d", status.TransactionID, status.TransactionID-1))
}

// cut kills the command after longer and longer times, until one ended in that moment.
func cut(t *testing.T, vg lvm.VG, origin, name string) {
	t.Helper()
	l, ctx := lvm.New(run.Host{}, dm.Open()), context.Background()
	for after := 10 * time.Millisecond; after < 2*time.Second; after += 10 * time.Millisecond {
		// To package run it is a command that changes nothing, for those are killed.
		moment, cancel := context.WithTimeout(ctx, after)
		_, _ = run.Host{}.Run(moment, run.Cmd{Name: "lvm", Args: []string{
			"lvcreate", "--devices", strings.Join(vg.Devices, ","), "-an", "-kn", "-n", name, "-s", vg.Name + "/" + origin,
		}})
		cancel()
		for _, device := range []string{dm.DeviceName(vg.Name, origin), dm.DeviceName(vg.Name, "pool", "tpool"), dm.DeviceName(vg.Name, "pool")} {
			must(t, "dmsetup", "resume", device)
		}
		report, err := l.Report(ctx, vg)
		if err != nil {
			t.Fatal(err)
		}
		status, err := l.PoolStatus(ctx, vg.Name, "pool")
		if err != nil {
			t.Fatal(err)
		}
		if _, found := report.LV(name); !found {
			continue
		}
		if pool, _ := report.LV("pool"); pool.TransactionID == status.TransactionID+1 {
			t.Logf("killed after %v", after)
			return
		}
		must(t, "lvm", "lvremove", "--devices", strings.Join(vg.Devices, ","), "--yes", vg.Name+"/"+name)
	}
	t.Fatal("the command is never killed between its two parts")
}

// leak has a write to a new chunk wait below the pool while it commits what it
// knows by then, and puts that in the place of what it knows at the end: so a power
// cut in that moment leaves it.
func leak(t *testing.T, vg lvm.VG, pool string) {
	t.Helper()
	data, meta, target := dm.DeviceName(vg.Name, pool+"_tdata"), dm.DeviceName(vg.Name, pool+"_tmeta"), dm.DeviceName(vg.Name, pool, "tpool")
	must(t, "modprobe", "dm-delay")
	table := strings.Fields(must(t, "dmsetup", "table", data)) // start, length, linear, device, offset
	on := table[3] + " " + table[4]
	place := strings.Fields(must(t, "dmsetup", "table", meta))
	must(t, "dmsetup", "suspend", target, data)
	must(t, "dmsetup", "load", data, "--table", fmt.Sprintf("0 %s delay %s 0 %s 3000 %s 0", table[1], on, on, on)) // reads, writes, flushes: ms
	must(t, "dmsetup", "resume", data, target)
	file := filepath.Join(t.TempDir(), "tmeta")
	must(t, "bash", "-ec", `
		dd if=/dev/zero of="$1" bs=64k seek=64 count=1 oflag=direct status=none &
		sleep 1
		dmsetup status "$2" >&2 # commits
		dd if="$3" of="$4" bs=1M iflag=direct status=none
		wait $!`, "bash", lvm.DevicePath(vg.Name, "v-a"), target, dm.Path(meta), file)
	must(t, "lvm", "vgchange", "--devices", strings.Join(vg.Devices, ","), "-an", vg.Name)
	must(t, "dd", "if="+file, "of="+vg.Devices[0], "bs=1M", "seek="+place[4]+"x512", "oflag=direct,seek_bytes", "conv=fsync", "status=none")
}

// tear overwrites the text that the header of the metadata area points to, which
// begins at 4096 (lvm2, lib/format_text/layout.h: struct mda_header).
func tear(t *testing.T, vg lvm.VG) {
	t.Helper()
	f, err := os.OpenFile(vg.Devices[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const area, locations = 4096, 40
	var text struct{ Offset, Size uint64 }
	if err := binary.Read(io.NewSectionReader(f, area+locations, 16), binary.LittleEndian, &text); err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(make([]byte, text.Size), area+int64(text.Offset))
	if err := errors.Join(err, f.Sync()); err != nil {
		t.Fatal(err)
	}
}

// write goes around the page cache, so that a full pool is seen at once. The pool
// has committed it when it returns: a drive that is pulled out takes nothing of it.
func write(t *testing.T, vg, lv string, size int64) {
	t.Helper()
	f, err := os.OpenFile(lvm.DevicePath(vg, lv), os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer func() {
		if err := f.Sync(); err != nil {
			t.Logf("sync %s/%s: %v", vg, lv, err)
		}
	}()
	const step = 1 << 20
	raw := bytes.Repeat([]byte{0xa5}, 2*step)
	// O_DIRECT wants memory that begins at a page.
	buf := raw[aligned(raw):][:step]
	for at := int64(0); at < size; at += step {
		if _, err := f.WriteAt(buf[:min(step, size-at)], at); err != nil {
			t.Logf("%s/%s takes %d of %d bytes: %v", vg, lv, at, size, err)
			return
		}
	}
}

func open(t *testing.T, vg, lv string) func() {
	t.Helper()
	f, err := os.Open(lvm.DevicePath(vg, lv))
	if err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// pull takes a drive off its bus, so that to the kernel it is gone.
func pull(t *testing.T, path string) func() string {
	t.Helper()
	dir := "/sys/block/" + filepath.Base(path) + "/device/"
	serial, err := os.ReadFile(dir + "serial")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"device/remove", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	replug := sync.OnceValue(func() string {
		if err := os.WriteFile("/sys/bus/pci/rescan", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			if found, err := filepath.Glob("/sys/block/nvme*/device/serial"); err == nil {
				for _, file := range found {
					is, err := os.ReadFile(file)
					device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
					if err == nil && string(is) == string(serial) && dm.Open().Present(device) == nil {
						must(t, "udevadm", "settle")
						return device
					}
				}
			}
			time.Sleep(100 * time.Millisecond) // the kernel tells when, by uevents that are another test's subject
		}
		t.Fatalf("drive %s does not come back", serial)
		return ""
	})
	t.Cleanup(func() { replug() })
	return replug
}

// stale makes the volume by the kernel's own messages, behind LVM's back.
func stale(t *testing.T, vg, pool string, number int64) {
	t.Helper()
	names, err := dm.Open().Names(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	dev := dm.DeviceName(vg, pool, "tpool")
	if !slices.Contains(names, dev) {
		dev = dm.DeviceName(vg, pool)
	}
	must(t, "dmsetup", "message", dev, "0", fmt.Sprintf("create_thin %d", number))
	must(t, "dmsetup", "create", "lvme-stale", "--table", fmt.Sprintf("0 32768 thin %s %d", dm.Path(dev), number))
	must(t, "udevadm", "settle")
	must(t, "dd", "if=/dev/urandom", "of="+dm.Path("lvme-stale"), "bs=1M", "count=1", "oflag=direct")
	must(t, "dmsetup", "remove", "--retry", "lvme-stale")
}

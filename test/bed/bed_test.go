package bed_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/test/bed"
)

// start starts a node that ends with the test.
func start(t *testing.T, opts bed.Options) *bed.Node {
	t.Helper()
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("starts a virtual machine: set LVME_TESTS=bed after `go run ./test/bed/cmd/bed build`")
	}
	began := time.Now()
	n, err := bed.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("started with %d drives in %.1fs", len(opts.Drives), time.Since(began).Seconds())
	return n
}

// sh runs a shell script that must succeed, and returns what it printed.
func sh(t *testing.T, n *bed.Node, script string) string {
	t.Helper()
	out, code := try(t, n, script)
	if code != 0 {
		t.Fatalf("%s: exit %d\n%s", script, code, out)
	}
	return out
}

// try runs a shell script, and returns what it printed and its exit code.
func try(t *testing.T, n *bed.Node, script string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	code, err := n.Run(ctx, bed.Cmd{Args: []string{"bash", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	return strings.TrimSpace(out.String()), code
}

// device returns a drive's node in the guest.
func device(t *testing.T, n *bed.Node, serial string) string {
	t.Helper()
	dev, err := n.Device(t.Context(), serial)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// must stops the test on an error, and logs how long the attempt took.
func must(t *testing.T, what string, do func() error) {
	t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s: %.1fs", what, time.Since(began).Seconds())
}

func TestRun(t *testing.T) {
	n := start(t, bed.Options{Name: "alpha"})
	t.Run("streams, environment, directory and exit code", func(t *testing.T) {
		var stdout, stderr strings.Builder
		code, err := n.Run(t.Context(), bed.Cmd{
			Args:  []string{"sh", "-c", `cat; pwd; echo $A >&2; hostname; exit 7`},
			Env:   []string{"A=b c"},
			Dir:   "/etc",
			Stdin: strings.NewReader("in\n"), Stdout: &stdout, Stderr: &stderr,
		})
		if code != 7 || err != nil || stdout.String() != "in\n/etc\nalpha\n" || stderr.String() != "b c\n" {
			t.Errorf("code %d, error %v, stdout %q, stderr %q", code, err, stdout.String(), stderr.String())
		}
	})
	t.Run("a command that is not there", func(t *testing.T) {
		if _, err := n.Run(t.Context(), bed.Cmd{Args: []string{"no-such-command"}}); err == nil || !strings.Contains(err.Error(), "no-such-command") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("killed by a signal", func(t *testing.T) {
		if _, code := try(t, n, "kill -9 $$"); code != 128+9 {
			t.Errorf("code %d", code)
		}
	})
	t.Run("the end of the context kills the group", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.Run(ctx, bed.Cmd{Args: []string{"sh", "-c", "sleep 4711 & sleep 4712"}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		sh(t, n, "for i in $(seq 50); do pgrep -f 'sleep 471[12]' || exit 0; sleep 0.1; done; exit 1")
	})
	t.Run("a daemon stays", func(t *testing.T) {
		sh(t, n, "sleep 4713 >/dev/null 2>&1 &")
		sh(t, n, "pgrep -f 'sleep 471[3]'")
	})
	t.Run("terminal", func(t *testing.T) {
		var out strings.Builder
		code, err := n.Run(t.Context(), bed.Cmd{Args: []string{"sh", "-c", "tty; stty size"}, TTY: true, Rows: 7, Cols: 9, Stdout: &out})
		if code != 0 || err != nil || out.String() != "/dev/pts/0\r\n7 9\r\n" {
			t.Errorf("code %d, error %v, output %q", code, err, out.String())
		}
	})
}

func TestEachNodeIsItsOwn(t *testing.T) {
	const look = "cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1"
	a, b := start(t, bed.Options{}), start(t, bed.Options{MachineID: strings.Repeat("0123", 8)})
	first, second := strings.Split(sh(t, a, look), "\n"), strings.Split(sh(t, b, look), "\n")
	if first[0] == second[0] || first[1] == second[1] || second[0] != strings.Repeat("0123", 8) {
		t.Errorf("%q and %q", first, second)
	}
	var sec int64
	if _, err := fmt.Sscan(sh(t, a, "date +%s"), &sec); err != nil {
		t.Fatal(err)
	}
	if late := time.Since(time.Unix(sec, 0)); late > 5*time.Second || late < -5*time.Second {
		t.Errorf("the guest's clock is late by %s", late)
	}
}

func TestPutGet(t *testing.T) {
	n := start(t, bed.Options{})
	dir := t.TempDir()
	content := make([]byte, 60<<20)
	_, _ = rand.Read(content)
	want := sha256.Sum256(content)
	if err := os.WriteFile(filepath.Join(dir, "in"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "put 60 MiB", func() error { return n.Put(t.Context(), filepath.Join(dir, "in"), "/root/a/b/file", 0o751) })
	if got := sh(t, n, "stat -c %a /root/a/b/file; sha256sum < /root/a/b/file"); got != "751\n"+hex.EncodeToString(want[:])+"  -" {
		t.Errorf("in the guest: %q", got)
	}
	must(t, "get 60 MiB", func() error { return n.Get(t.Context(), "/root/a/b/file", filepath.Join(dir, "out")) })
	back, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil || sha256.Sum256(back) != want {
		t.Errorf("error %v, %d bytes back", err, len(back))
	}
	if err := n.PutDir(t.Context(), "internal", "/root/tree"); err != nil {
		t.Fatal(err)
	}
	sh(t, n, "test -s /root/tree/wire/wire.go")
	if err := n.Get(t.Context(), "/no/such", filepath.Join(dir, "x")); err == nil {
		t.Error("got a file that is not there")
	}
}

func TestDial(t *testing.T) {
	n := start(t, bed.Options{})
	sh(t, n, "busybox nc -l -p 99 -e cat >/dev/null 2>&1 & sleep 0.5")
	conn, err := n.Dial(t.Context(), "tcp", "127.0.0.1:99")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := n.Dial(t.Context(), "unix", "/run/none.sock"); err == nil {
		t.Error("dialled a socket that is not there")
	}
}

func TestHotPlugUnderLoad(t *testing.T) {
	n := start(t, bed.Options{Drives: []bed.Drive{{Serial: "A"}}})
	must(t, "add", func() error {
		return n.AddDrive(t.Context(), bed.Drive{Serial: "B", Size: 1 << 30, LogicalBlockSize: 4096})
	})
	dev := device(t, n, "B")
	if got := sh(t, n, "blockdev --getsize64 --getss "+dev); got != "1073741824\n4096" {
		t.Errorf("size and block size: %q", got)
	}
	sh(t, n, "echo data > /root/data; dd if=/root/data bs=4096 conv=sync of="+dev+" oflag=direct")
	sh(t, n, "(while dd if=/dev/zero of="+dev+" seek=1 bs=64k count=1000 oflag=direct conv=nocreat; do :; done) >/dev/null 2>&1 &")
	must(t, "remove under load", func() error { return n.RemoveDrive(t.Context(), "B") })
	sh(t, n, "! test -b "+dev)
	must(t, "replug", func() error { return n.ReplugDrive(t.Context(), "B") })
	if got := sh(t, n, "head -c 4 "+device(t, n, "B")); got != "data" {
		t.Errorf("after replug: %q", got)
	}
}

func TestFaults(t *testing.T) {
	n := start(t, bed.Options{Drives: []bed.Drive{{Serial: "A"}}})
	dev := device(t, n, "A")
	read := "dd of=/dev/null bs=4k count=1 iflag=direct if=" + dev
	write := "dd if=/dev/urandom bs=4k count=1 oflag=direct of=" + dev
	works := func(what string, wantRead, wantWrite bool) {
		t.Helper()
		_, r := try(t, n, read)
		_, w := try(t, n, write)
		if (r == 0) != wantRead || (w == 0) != wantWrite {
			t.Errorf("%s: reads exit %d, writes exit %d", what, r, w)
		}
	}
	works("new drive", true, true)
	for _, f := range []bed.Fault{{Reads: true}, {Writes: true}, {Reads: true, Writes: true}} {
		must(t, "fail", func() error { return n.FailDrive(t.Context(), "A", f) })
		works(fmt.Sprintf("%+v", f), !f.Reads, !f.Writes)
	}
	must(t, "heal", func() error { return n.HealDrive(t.Context(), "A") })
	works("healed", true, true)

	must(t, "hang", func() error { return n.HangDrive(t.Context(), "A") })
	sh(t, n, "for i in 1 2 3; do ("+read+"; echo $? >> /root/done) >/dev/null 2>&1 & done")
	time.Sleep(3 * time.Second)
	if got := sh(t, n, "cat /root/done 2>/dev/null | wc -l"); got == "3" {
		t.Error("a hung drive answered everything")
	}
	must(t, "heal", func() error { return n.HealDrive(t.Context(), "A") })
	if got := sh(t, n, "sleep 1; cat /root/done"); got != "0\n0\n0" {
		t.Errorf("after healing: %q", got)
	}
	must(t, "hang", func() error { return n.HangDrive(t.Context(), "A") })
	sh(t, n, "(while "+read+"; do :; done) >/dev/null 2>&1 &")
	must(t, "remove while it hangs", func() error { return n.RemoveDrive(t.Context(), "A") })

	must(t, "fail while it is out", func() error { return n.FailDrive(t.Context(), "A", bed.Fault{Reads: true}) })
	must(t, "replug", func() error { return n.ReplugDrive(t.Context(), "A") })
	if _, code := try(t, n, "dd of=/dev/null bs=4k count=1 iflag=direct if="+device(t, n, "A")); code == 0 {
		t.Error("a drive that was made to fail while it was out does not")
	}
}

func TestLVM(t *testing.T) {
	n := start(t, bed.Options{Drives: []bed.Drive{{Serial: "A"}}})
	dev := device(t, n, "A")
	sh(t, n, "pvcreate "+dev+" && vgcreate vg "+dev)
	sh(t, n, "lvcreate -q -T -L 1G --chunksize 512k vg/pool && lvcreate -q -T -V 10G -n v vg/pool && test -b /dev/vg/v")
	sh(t, n, "mkfs.xfs -q /dev/vg/v && mount -o discard /dev/vg/v /mnt && echo kept > /mnt/f && sync -f /mnt/f")
	sh(t, n, "lvcreate -q -s -n s vg/v && lvchange -q -K -ay vg/s && test -b /dev/vg/s")
	sh(t, n, "mkdir /mnt2; mount -o nouuid /dev/vg/s /mnt2 && grep kept /mnt2/f")
	sh(t, n, "lvcreate -q -T -V 1G -n e vg/pool && mkfs.ext4 -q /dev/vg/e")
	sh(t, n, "lvcreate -q -T -V 1G -n b vg/pool && mkfs.btrfs -q /dev/vg/b && mkdir /mnt3 && mount /dev/vg/b /mnt3")
	sh(t, n, "modprobe -a dm-flakey dm-log-writes dm-raid loop && dmsetup targets | grep -c -e flakey -e log-writes -e raid")
	before := sh(t, n, "awk '{print $12}' /sys/block/"+filepath.Base(dev)+"/stat")
	sh(t, n, "fallocate -l 100M /mnt/big && dd if=/dev/urandom of=/mnt/big bs=1M count=64 conv=notrunc && sync && rm /mnt/big && sync && fstrim /mnt")
	if after := sh(t, n, "awk '{print $12}' /sys/block/"+filepath.Base(dev)+"/stat"); after == before {
		t.Error("no discard reached the drive")
	}
}

func TestPowerCutAndReboot(t *testing.T) {
	n := start(t, bed.Options{Drives: []bed.Drive{{Serial: "A"}, {Serial: "B"}}})
	sh(t, n, "mkfs.ext4 -q "+device(t, n, "A")+" && mount "+device(t, n, "A")+" /mnt")
	sh(t, n, "echo synced > /mnt/synced && echo root > /root/synced && sync && echo lost > /mnt/lost")
	must(t, "fail B", func() error { return n.FailDrive(t.Context(), "B", bed.Fault{Reads: true}) })
	id := sh(t, n, "cat /etc/machine-id")
	n.PowerCut()
	if _, err := n.Run(t.Context(), bed.Cmd{Args: []string{"true"}}); err == nil {
		t.Error("a command ran without power")
	}
	must(t, "boot", func() error { return n.Boot(t.Context()) })
	sh(t, n, "mount "+device(t, n, "A")+" /mnt")
	if got := sh(t, n, "cat /mnt/synced /root/synced /etc/machine-id; ls /mnt"); got != "synced\nroot\n"+id+"\nlost+found\nsynced" {
		t.Errorf("after the power cut: %q", got)
	}
	if _, code := try(t, n, "dd count=1 iflag=direct of=/dev/null if="+device(t, n, "B")); code == 0 {
		t.Error("the failing drive was healed by the boot")
	}
	sh(t, n, "echo unsynced > /mnt/clean; echo more > /root/clean")
	must(t, "reboot", func() error { return n.Reboot(t.Context()) })
	sh(t, n, "mount "+device(t, n, "A")+" /mnt && grep unsynced /mnt/clean && grep more /root/clean")
}

func TestPanicIsToldWithTheConsole(t *testing.T) {
	n := start(t, bed.Options{})
	_, err := n.Run(t.Context(), bed.Cmd{Args: []string{"sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"}})
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("error %v", err)
	}
}

// TestVolatileDrive: a power cut takes from a volatile drive what was not flushed, and nothing else.
func TestVolatileDrive(t *testing.T) {
	n := start(t, bed.Options{Seed: 1, Drives: []bed.Drive{{Serial: "V", Size: 1 << 30, Volatile: true}}})
	dev := device(t, n, "V")
	if cache := sh(t, n, "cat /sys/block/"+filepath.Base(dev)+"/queue/write_cache"); cache != "write back" {
		t.Errorf("the guest takes its cache for %q", cache)
	}
	write := func(text string, block int, sync string) {
		sh(t, n, fmt.Sprintf("yes %s | head -c 4096 | dd of=%s bs=4096 seek=%d oflag=direct,nonblock iflag=fullblock %s", text, dev, block, sync))
	}
	write("kept", 0, "conv=fsync")
	for block := 1; block <= 64; block++ {
		write("lost", block, "")
	}
	n.HardPowerCut()
	must(t, "boot", func() error { return n.Boot(t.Context()) })
	if f := n.Forgotten(); f.Written < 64 || f.Lost == 0 {
		t.Errorf("it forgot %+v", f)
	} else {
		t.Logf("it forgot %+v", f)
	}
	dev = device(t, n, "V")
	if got := sh(t, n, "head -c 4 "+dev); got != "kept" {
		t.Errorf("block 0 begins with %q", got)
	}
	if got := sh(t, n, fmt.Sprintf("dd if=%s bs=4096 skip=1 count=64 status=none | tr -d '\\0' | wc -c", dev)); got == fmt.Sprint(64*4096) {
		t.Error("nothing of what was not flushed is lost")
	}
}

package drive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/internal/run"
)

var blank = Content{Probed: true, Blank: true}

var good = Health{Status: HealthGood, SMART: &SMART{AvailableSpare: 100, SpareThreshold: 10, TemperatureC: 35}}

func TestDiscoverWholeDrive(t *testing.T) {
	h, _ := machine(t, "metal")
	want := Drive{
		Name: "nvme0n1", Path: "/dev/nvme0n1",
		ID:    "eui.36344730523123460025384500000001",
		Model: "SAMSUNG MZQL21T9HCJR-00A07", Serial: "S64GNE0R123456", Firmware: "GDC5602Q",
		WWID:  "eui.36344730523123460025384500000001",
		NGUID: "36344730523123460025384500000001", EUI64: "0025384121000001", NSID: 1,
		Bytes: 1920383410176, LogicalBlock: 512, PhysicalBlock: 4096,
		DiscardMax: 2199023255040, WriteZeroesMax: 2147483136,
		NUMANode: 1, Transport: "pcie", Address: "0000:81:00.0", Controllers: []string{"nvme0"}, State: "live",
		Paths: []string{
			"/dev/disk/by-id/nvme-SAMSUNG_MZQL21T9HCJR-00A07_S64GNE0R123456",
			"/dev/disk/by-id/nvme-eui.36344730523123460025384500000001",
			"/dev/disk/by-path/pci-0000:81:00.0-nvme-1",
		},
		Major: 259, Minor: 0, Content: blank, Health: good,
	}
	if got := discover(t, h)["nvme0n1"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Each row says what a fixture is there for, as text.
func TestDiscover(t *testing.T) {
	for _, tc := range []struct {
		machine, drive string
		what           func(Drive) any
		want           string
	}{
		{"metal", "nvme1n1", func(d Drive) any { return []any{d.ID, d.LogicalBlock, d.WriteZeroesMax, d.Bytes} }, "[eui.0025384121000002 4096 0 3840755982336]"},
		{"metal", "nvme2n1", func(d Drive) any { return []any{d.UUID, d.NUMANode, d.Partitions} },
			"[01234567-89ab-cdef-0123-456789abcdef 0 [{nvme2n1p1 536870912 259 3} {nvme2n1p2 8589934592 259 4} {nvme2n1p10 246932307968 259 5}]]"},
		{"metal", "nvme2n1", func(d Drive) any { return []any{d.Holders, d.Mounts, d.Swaps} },
			"[[{nvme2n1p10 dm-0 (vg0-root)}] [{nvme2n1p1 /boot/efi}] [nvme2n1p2]]"},
		{"metal", "nvme2n1", func(d Drive) any { return d.Paths }, "[/dev/disk/by-path/pci-0000:03:00.0-nvme-1]"},
		{"metal", "nvme3n1", func(d Drive) any { return []any{d.Holders, d.EUI64, d.ReadOnly} }, "[[{nvme3n1 md127}]  false]"},
		{"metal", "nvme4n1", func(d Drive) any { return []any{d.Mounts, d.ReadOnly, d.NUMANode, d.DiscardMax} },
			"[[{nvme4n1 /srv/old data} {nvme4n1 /mnt/bind}] true -1 0]"},
		{"metal", "nvme5n1", func(d Drive) any { return d.Mounts }, "[{nvme5n1 /srv/btrfs}]"},
		{"qemu", "nvme0n1", func(d Drive) any { return []any{d.ID, d.Model, d.Serial, d.Firmware, d.NUMANode, d.Paths} },
			"[nvme.8086-4130-51454d55204e564d65204374726c-00000001 QEMU NVMe Ctrl A0 10.0.2 -1 []]"},
		{"qemu", "nvme0n2", func(d Drive) any { return []any{d.ID, d.Zoned} }, "[nvme.QEMU_NVMe_Ctrl_A0_2 host-managed]"},
		{"fabric", "nvme0n1", func(d Drive) any { return []any{d.ID, d.Controllers, d.State, d.Address, d.NUMANode} },
			"[eui.000cca0b01234567 [nvme0 nvme1] live 0000:c1:00.0 1]"},
		{"fabric", "nvme2n1", func(d Drive) any { return []any{d.ID, d.Transport, d.Controllers, d.State} },
			"[uuid.7d6f2a1e-3b1c-4a5d-9e8f-001122334455 tcp [nvme2] live]"},
		{"broken", "nvme0n1", func(d Drive) any { return []any{d.State, d.Bytes, d.Content, d.Health} },
			"[dead 0 {false its controller is dead false [] false false} {critical [its controller is dead] <nil>}]"},
		{"broken", "nvme1n1", func(d Drive) any { return []any{d.State, d.Content.Error, d.Health} },
			"[resetting its controller is resetting {unknown [its controller is resetting] <nil>}]"},
		{"broken", "nvme2n1", func(d Drive) any { return []any{d.ID, d.Serial} }, "[ ]"},
	} {
		t.Run(tc.machine+" "+tc.drive, func(t *testing.T) {
			h, _ := machine(t, tc.machine)
			d, ok := discover(t, h)[tc.drive]
			if !ok {
				t.Fatal("not found")
			}
			if got := fmt.Sprint(tc.what(d)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// Hidden paths and what is not NVMe are no drives; the order is that of people.
func TestDiscoverNames(t *testing.T) {
	for name, want := range map[string]string{
		"metal":  "nvme0n1 nvme1n1 nvme2n1 nvme3n1 nvme4n1 nvme5n1",
		"qemu":   "nvme0n1 nvme0n2",
		"fabric": "nvme0n1 nvme2n1",
		"broken": "nvme0n1 nvme1n1 nvme2n1 nvme3n1 nvme10n1",
	} {
		h, fake := machine(t, name)
		drives, err := List(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range drives {
			names = append(names, d.Name)
			if d.Content.Probed || d.Health.Status != HealthUnknown {
				t.Errorf("%s: List says of %s: %+v %+v", name, d.Name, d.Content, d.Health)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		if fake.calls != 0 {
			t.Errorf("%s: List ran %d programs", name, fake.calls)
		}
	}
}

func TestDiscoverHostThatCannotBeSeen(t *testing.T) {
	if _, err := Discover(t.Context(), Host{Root: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "list block devices") {
		t.Errorf("no sysfs: got %v", err)
	}
	h, _ := machine(t, "qemu")
	if err := os.Remove(h.Root + "/proc/self/mountinfo"); err != nil {
		t.Fatal(err)
	}
	if _, err := Discover(t.Context(), h); err == nil || !strings.Contains(err.Error(), "read mounts") {
		t.Errorf("no mounts: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Discover(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v", err)
	}
}

func TestContent(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, h Host, b *blkid)
		want Content
	}{
		{"blank", func(*testing.T, Host, *blkid) {}, blank},
		{"ext4", func(_ *testing.T, _ Host, b *blkid) { b.found("nvme0n1", "TYPE=ext4", "USAGE=filesystem") },
			Content{Probed: true, Blank: true, Signatures: []string{"ext4"}}},
		{"table and file system", func(_ *testing.T, _ Host, b *blkid) { b.found("nvme0n1", "TYPE=zfs_member", "PTTYPE=gpt") },
			Content{Probed: true, Blank: true, Signatures: []string{"zfs_member", "gpt"}}},
		{"found without a type", func(_ *testing.T, _ Host, b *blkid) { b.found("nvme0n1", "USAGE=other") },
			Content{Probed: true, Blank: true, Signatures: []string{"unknown"}}},
		{"ambivalent", func(_ *testing.T, _ Host, b *blkid) { b.answers["nvme0n1"] = run.Result{Code: 8} },
			Content{Error: "blkid finds signatures of several kinds and cannot tell which is true"}},
		{"nothing found, but complains", func(_ *testing.T, _ Host, b *blkid) {
			b.answers["nvme0n1"] = run.Result{Code: 2, Stderr: []byte("blkid: error: /dev/nvme0n1: Input/output error\n")}
		}, Content{Error: "look for signatures: blkid: exit 2: blkid: error: /dev/nvme0n1: Input/output error"}},
		{"fails", func(_ *testing.T, _ Host, b *blkid) {
			b.answers["nvme0n1"] = run.Result{Code: 4, Stderr: []byte("usage")}
		}, Content{Error: "look for signatures: blkid: exit 4: usage"}},
		{"no blkid", func(_ *testing.T, _ Host, b *blkid) { b.errs["nvme0n1"] = run.ErrNotInstalled },
			Content{Error: "look for signatures: program not installed: install the package util-linux"}},
		{"data at the front", func(t *testing.T, h Host, _ *blkid) { poke(t, h, 4096) }, Content{Probed: true}},
		{"data in the last byte", func(t *testing.T, h Host, _ *blkid) { poke(t, h, 2<<30-1) }, Content{Probed: true}},
		{"data in the middle is not seen", func(t *testing.T, h Host, _ *blkid) { poke(t, h, 1<<30) }, blank},
		{"end not readable", func(t *testing.T, h Host, _ *blkid) { device(t, h, "nvme0n1", 1<<30) },
			Content{Error: "read 1048576 bytes at 2146435072: EOF"}},
		{"no device node", func(t *testing.T, h Host, _ *blkid) {
			if err := os.Remove(h.Root + "/dev/nvme0n1"); err != nil {
				t.Fatal(err)
			}
		}, Content{Error: "open: open ROOT/dev/nvme0n1: no such file or directory"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, b := machine(t, "qemu")
			tc.make(t, h, b)
			got := discover(t, h)["nvme0n1"].Content
			got.Error = strings.ReplaceAll(got.Error, h.Root, "ROOT")
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// poke writes one byte on nvme0n1.
func poke(t *testing.T, h Host, off int64) {
	t.Helper()
	f, err := os.OpenFile(h.Root+"/dev/nvme0n1", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A drive that hangs is reported, the others are still read, and looks at it
// do not pile up.
func TestDiscoverHangingDrive(t *testing.T) {
	h, _ := machine(t, "metal")
	h.Patience = 100 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	h.SMART = func(_ context.Context, dev string) (SMART, error) {
		if strings.HasSuffix(dev, "/nvme0") {
			<-release
		}
		return *good.SMART, nil
	}
	for i := range maxPending + 1 {
		drives := discover(t, h)
		got := drives["nvme0n1"].Health
		says := "did not answer"
		if i == maxPending {
			says = "still has not answered"
		}
		if got.Status != HealthUnknown || !strings.Contains(strings.Join(got.Reasons, ""), says) {
			t.Errorf("look %d: hanging drive: %+v, want %q", i+1, got, says)
		}
		if !reflect.DeepEqual(drives["nvme1n1"].Health, good) {
			t.Errorf("look %d: its neighbour: %+v", i+1, drives["nvme1n1"].Health)
		}
	}
}

// A drive whose content cannot be read in time may hang whoever touches it.
func TestDiscoverSilentDrive(t *testing.T) {
	h, _ := machine(t, "metal")
	h.Patience = 2 * time.Second // its neighbour answers within it on a busy machine too
	release := make(chan struct{})
	defer close(release)
	h.Runner = hanging{next: h.Runner, on: "nvme0n1", until: release}
	drives := discover(t, h)
	if got := drives["nvme0n1"].Content; !got.Silent || got.Probed || !strings.Contains(got.Error, "did not answer") {
		t.Errorf("the drive that hangs: %+v", got)
	}
	if got := drives["nvme1n1"].Content; got.Silent || !got.Probed {
		t.Errorf("its neighbour: %+v", got)
	}
}

// hanging holds up the programs that look at one device.
type hanging struct {
	next  run.Runner
	on    string
	until chan struct{}
}

func (r hanging) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if strings.HasSuffix(c.Args[len(c.Args)-1], r.on) {
		<-r.until
	}
	return r.next.Run(ctx, c)
}

func TestHealthUnreadable(t *testing.T) {
	h, _ := machine(t, "fabric")
	var asked []string
	h.SMART = func(_ context.Context, dev string) (SMART, error) {
		asked = append(asked, strings.TrimPrefix(dev, h.Root))
		return SMART{}, os.ErrPermission
	}
	drives, err := List(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	got := ReadHealth(t.Context(), h, drives[0])
	if got.Status != HealthUnknown || !slices.Equal(got.Reasons, []string{"permission denied"}) {
		t.Errorf("got %+v", got)
	}
	if !slices.Equal(asked, []string{"/dev/nvme1"}) {
		t.Errorf("asked %q, want the live controller", asked)
	}
	// This machine has no such controller: the real ioctl's way of failing.
	h.SMART = nil
	if got := ReadHealth(t.Context(), h, drives[0]); got.Status != HealthUnknown || !strings.Contains(got.Reasons[0], "open controller") {
		t.Errorf("no character device: got %+v", got)
	}
	device(t, h, "nvme1", 0)
	if got := ReadHealth(t.Context(), h, drives[0]); got.Status != HealthUnknown || !strings.Contains(got.Reasons[0], "inappropriate ioctl") {
		t.Errorf("not a controller: got %+v", got)
	}
}

func TestIs(t *testing.T) {
	h, _ := machine(t, "metal")
	d := discover(t, h)["nvme0n1"]
	for _, id := range []string{"eui.36344730523123460025384500000001", "eui.0025384121000001", "nvme.SAMSUNG_MZQL21T9HCJR-00A07_S64GNE0R123456_1"} {
		if !d.Is(id) {
			t.Errorf("is not %s", id)
		}
	}
	for _, id := range []string{"", "eui.", "eui.0025384121000002", "nvme0n1"} {
		if d.Is(id) {
			t.Errorf("is %q", id)
		}
	}
}

package speed

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/lvme/lvme/internal/run"
)

// programs answers commands by their beginning.
type programs struct {
	answers map[string]string
	ran     []string
}

func (p *programs) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	p.ran = append(p.ran, c.String())
	for begin, answer := range p.answers {
		if strings.HasPrefix(c.String(), begin) {
			return run.Result{Stdout: []byte(answer)}, nil
		}
	}
	return run.Result{Code: 1, Stderr: []byte("no such device")}, nil
}

// testSys is a machine with a thick volume dm-5, a thin one dm-4 and a loop device below dm-9.
func testSys() fstest.MapFS {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }
	sys := fstest.MapFS{
		"block/nvme0n1/queue/write_cache": file("write back"), "block/nvme0n1/queue/scheduler": file("[none] mq-deadline"),
		"block/nvme0n1/device/model": file("QEMU NVMe Ctrl   "), "block/loop0/size": file("1"),
		"dev/block/259:0/uevent": file("MAJOR=259\nMINOR=0\nDEVNAME=nvme0n1\nDEVTYPE=disk"), "dev/block/7:0/uevent": file("DEVNAME=loop0"),
		"dev/block/253:5/uevent": file("DEVNAME=dm-5"),
	}
	for dm, made := range map[string]struct{ name, slaves string }{
		"dm-0": {"lvme--x-pool_tmeta", "nvme0n1"}, "dm-1": {"lvme--x-pool_tdata", "nvme0n1"}, "dm-2": {"lvme--x-pool-tpool", "dm-0 dm-1"},
		"dm-4": {"lvme--x-v--thin", "dm-2"}, "dm-5": {"lvme--x-v--thick", "nvme0n1"},
	} {
		sys["block/"+dm+"/dm/name"] = file(made.name)
		for slave := range strings.FieldsSeq(made.slaves) {
			sys["block/"+dm+"/slaves/"+slave+"/x"] = file("")
		}
	}
	return sys
}

func TestRegion(t *testing.T) {
	thick := device{"dm-5", "lvme--x-v--thick"}
	for name, tc := range map[string]struct {
		table string
		ok    bool
	}{
		"one part":         {"0 1048576 linear 259:0 206848\n", true},
		"two parts":        {"0 1024 linear 259:0 2048\n1024 1024 linear 259:0 8192\n", false},
		"striped":          {"0 1048576 striped 2 512 259:0 2048 259:1 2048\n", false},
		"mirrored":         {"0 1048576 raid raid1 3 0 region_size 4096 2 253:1 253:2 253:3 253:4\n", false},
		"on device-mapper": {"0 1048576 linear 253:5 2048\n", false},
		"no NVMe drive":    {"0 1048576 linear 7:0 2048\n", false},
		"unknown drive":    {"0 1048576 linear 259:9 2048\n", false},
		"at the drive's start, where its own metadata are": {"0 1048576 linear 259:0 0\n", false},
		"nothing":            {"", false},
		"not from the start": {"8 1048576 linear 259:0 2048\n", false},
		"error":              {"0 1048576 error \n", false},
	} {
		k := kernel{testSys(), &programs{answers: map[string]string{"dmsetup table lvme--x-v--thick": tc.table}}}
		r, err := k.region(t.Context(), thick)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if want := (region{device{name: "nvme0n1"}, "259:0", 206848 * 512, 1048576 * 512}); tc.ok && r != want {
			t.Errorf("%s: %+v, want %+v", name, r, want)
		}
	}
	if _, err := (kernel{testSys(), &programs{}}).region(t.Context(), thick); err == nil {
		t.Error("a table that cannot be read is no error")
	}
}

// memory is a device.
type memory []byte

func (m memory) ReadAt(p []byte, at int64) (int, error)  { return copy(p, m[at:]), nil }
func (m memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }

func TestProof(t *testing.T) {
	const length = 16 * page
	drive := make(memory, 64*page)
	r := region{drive: device{name: "nvme0n1"}, offset: 8 * page, length: length}
	volume := drive[r.offset : r.offset+length] // the very same bytes
	if err := prove(volume, drive, r); err != nil {
		t.Error(err)
	}
	before := bytes.Clone(drive)
	for name, other := range map[string]region{"before": {offset: 7 * page, length: length}, "behind": {offset: 9 * page, length: length}} {
		if err := prove(volume, drive, other); err == nil {
			t.Errorf("a region that begins %s the volume is proven", name)
		}
	}
	if err := prove(make(memory, length), drive, r); err == nil {
		t.Error("another volume's region is proven")
	}
	if !bytes.Equal(before[:r.offset], drive[:r.offset]) || !bytes.Equal(before[r.offset+length:], drive[r.offset+length:]) {
		t.Error("the proof has written outside the volume")
	}
}

func TestStill(t *testing.T) {
	p := &programs{answers: map[string]string{"dmsetup table": "0 1048576 linear 259:0 206848\n"}}
	b := &bench{kernel: kernel{testSys(), p}, host: Host{Runner: p}}
	v := &made{device: device{"dm-5", "lvme--x-v--thick"}}
	r, err := b.kernel.region(t.Context(), v.device)
	if err != nil || b.still(t.Context(), v, r) != nil {
		t.Fatal(err)
	}
	p.answers["dmsetup table"] = "0 1048576 linear 259:0 999424\n"
	if err := b.still(t.Context(), v, r); err == nil {
		t.Error("the volume has moved, and its old sectors are still taken for its own")
	}
}

// TestLinear: only a device that a run has made is taken away.
func TestLinear(t *testing.T) {
	for list, removes := range map[string]bool{
		"lvme-bench-linear LVME-BENCH\n":                           true,
		"lvme--x-v--thick LVM-abc\nlvme-bench-linear LVME-BENCH\n": true,
		"lvme-bench-linear LVM-somebody\n":                         false,
		"lvme-bench-linear \n":                                     false,
		"No devices found\n":                                       false,
	} {
		p := &programs{answers: map[string]string{"dmsetup info": list, "dmsetup remove": ""}}
		if err := (&bench{host: Host{Runner: p}}).removeLinear(t.Context()); err != nil {
			t.Errorf("%q: %v", list, err)
		}
		if removed := strings.Contains(strings.Join(p.ran, "\n"), "remove --retry lvme-bench-linear"); removed != removes {
			t.Errorf("%q: %q", list, p.ran)
		}
	}
	if err := (&bench{host: Host{Runner: &programs{}}}).removeLinear(t.Context()); err == nil {
		t.Error("devices cannot be listed, and none is said to be there")
	}
	p := &programs{answers: map[string]string{"dmsetup create": ""}}
	r := region{number: "259:0", offset: 4096 * 512, length: 1 << 30}
	if err := (&bench{host: Host{Runner: p}}).makeLinear(t.Context(), r); err != nil || !strings.Contains(p.ran[0], "--table 0 2097152 linear 259:0 4096") {
		t.Errorf("%q, %v", p.ran, err)
	}
}

func TestPool(t *testing.T) {
	tables := func(features string) *programs {
		return &programs{answers: map[string]string{
			"dmsetup table lvme--x-pool-tpool": "0 2097152 thin-pool 253:0 253:1 1024 0 " + features + "\n",
			"dmsetup table lvme--x-pool_tdata": "0 2097152 linear 259:0 2048\n",
		}}
	}
	k := kernel{testSys(), tables("1 error_if_no_space")}
	p, err := k.pool(t.Context(), device{"dm-4", "lvme--x-v--thin"})
	if err != nil || p.chunk != 512*kib || !p.zeroing || p.layout != "linear" || p.data.name != "dm-1" || p.metadata.name != "dm-0" || len(p.drives) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	k.runner = tables("2 skip_block_zeroing error_if_no_space")
	if p, err := k.pool(t.Context(), device{"dm-4", "lvme--x-v--thin"}); err != nil || p.zeroing {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := k.pool(t.Context(), device{"dm-5", "lvme--x-v--thick"}); err == nil {
		t.Error("a thick volume is on a thin pool")
	}
	if d := k.drive(device{name: "nvme0n1"}); d.Scheduler != "none" || d.Model != "QEMU NVMe Ctrl" || d.WriteCache != "write back" {
		t.Errorf("%+v", d)
	}
	if _, err := parseTable("x y z\n"); err == nil || errors.Is(err, errNotOne) {
		t.Error("a line of something else is read as a table")
	}
}

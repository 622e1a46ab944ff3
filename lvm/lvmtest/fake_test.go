package lvmtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

const gib = 1 << 30

// newHost is a host with a VG over two drives and a pool in it.
func newHost(t *testing.T) (*lvmtest.Fake, *lvm.LVM, lvm.VG) {
	t.Helper()
	f := lvmtest.New()
	vg := lvm.VG{Name: "lvme-x", Devices: []string{"/dev/nvme0n1", "/dev/nvme1n1"}}
	for _, d := range vg.Devices {
		f.AddDrive(d, gib)
	}
	l := lvm.New(f, f)
	ctx := context.Background()
	if err := l.CreateVG(ctx, lvm.VGSpec{Name: vg.Name, Devices: vg.Devices, Tags: []string{"store"}}); err != nil {
		t.Fatal(err)
	}
	if err := l.CreatePool(ctx, vg, lvm.PoolSpec{Name: "pool", Size: 256 << 20, MetadataSize: 8 << 20, ChunkSize: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	return f, l, vg
}

func thin(name string) lvm.ThinSpec {
	return lvm.ThinSpec{Name: name, Pool: "pool", Size: 16 << 20, Tags: []string{"fresh"}}
}

func TestString(t *testing.T) {
	f, l, vg := newHost(t)
	ctx := context.Background()
	f.AddDrive("/dev/nvme2n1", gib)
	f.Sign("/dev/nvme2n1", "ext4")
	err := errors.Join(
		l.CreateThin(ctx, vg, thin("v-a")),
		l.Activate(ctx, vg, "v-a"),
		l.CreateThick(ctx, vg, lvm.ThickSpec{Name: "t-a", Size: 8 << 20, Layout: lvm.Mirrored}))
	if err != nil {
		t.Fatal(err)
	}
	f.Map(vg.Name, "v-a", 1<<20)
	defer f.Open(vg.Name, "v-a")()
	if err := l.Snapshot(ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-a", ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	const want = `drive /dev/nvme0n1 1G: PV of lvme-x
drive /dev/nvme1n1 1G: PV of lvme-x
drive /dev/nvme2n1 1G: ext4
VG lvme-x 1744M free [store]
  pool thin-pool 256M active used 16/4096
  s-a thin 16M in pool mapped 1M of v-a read-only
  t-a raid1 8M
  v-a thin 16M active in pool mapped 1M open [fresh]
`
	if got := f.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	f.Check(t)
}

// TestMessages: every failure of the Fake is in words that real LVM has used.
func TestMessages(t *testing.T) {
	spoken := realWords(t)
	for name, stderr := range failures(t) {
		for line := range strings.Lines(stderr) {
			if line = normal(line); line != "" && !spoken[line] {
				t.Errorf("%s: LVM never said %q", name, line)
			}
		}
	}
}

// realWords are the captured messages without their names and numbers.
func realWords(t *testing.T) map[string]bool {
	files, err := filepath.Glob("../testdata/" + lvmtest.Version + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captured messages, %v", len(files), err)
	}
	spoken := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			spoken[normal(line)] = true
		}
	}
	return spoken
}

var variable = regexp.MustCompile(`/dev/[a-z0-9-]+|["'][^"']*["']|\S*lvm[a-z-]*-\S+|\b[vst]-[a-z0-9]+|\b(volume|LV|lv|Pool|Volume|VG|to|by) ([a-z0-9.-]+)|\b[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-\S{6}|\d+`)

func normal(line string) string {
	line = variable.ReplaceAllString(strings.TrimSpace(line), "$1~")
	return strings.ReplaceAll(line, "~.", "~")
}

// failures has the Fake fail in as many ways as it can.
func failures(t *testing.T) map[string]string {
	said := map[string]string{}
	try := func(name string, prepare func(*lvmtest.Fake), act func(context.Context, *lvm.LVM, lvm.VG) error) {
		f, l, vg := newHost(t)
		if err := l.CreateThin(context.Background(), vg, thin("v-a")); err != nil {
			t.Fatal(err)
		}
		if prepare != nil {
			prepare(f)
		}
		err := act(context.Background(), l, vg)
		var e *lvm.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v, want an error of LVM", name, err)
			return
		}
		said[name] = e.Stderr
	}
	create := func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error { return l.CreateThin(ctx, vg, thin("v-b")) }
	snapshot := func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.Snapshot(ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-a"})
	}
	remove := func(name string) func(context.Context, *lvm.LVM, lvm.VG) error {
		return func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error { return l.Remove(ctx, vg, name) }
	}
	off := func(broken func(f *lvmtest.Fake)) func(f *lvmtest.Fake) {
		return func(f *lvmtest.Fake) { broken(f); f.Reboot() }
	}
	damaged := func(f *lvmtest.Fake) { f.Damage("lvme-x", "pool") }
	foreign := func(f *lvmtest.Fake) { f.ForeignTransaction("lvme-x", "pool") }
	try("not found", nil, remove("v-no"))
	try("pool in use", nil, remove("pool"))
	try("exists", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error { return l.CreateThin(ctx, vg, thin("v-a")) })
	try("no pool", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.CreateThin(ctx, vg, lvm.ThinSpec{Name: "v-b", Pool: "no", Size: 4 << 20})
	})
	try("no origin", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.Snapshot(ctx, vg, lvm.SnapshotSpec{Name: "s-a", Origin: "v-no"})
	})
	try("stale", func(f *lvmtest.Fake) { f.StaleThin("lvme-x", "pool", 1<<20) }, snapshot)
	try("damaged", off(damaged), create)
	try("damaged, remove", off(damaged), remove("v-a"))
	try("foreign, up", foreign, create)
	try("foreign, remove", off(foreign), remove("v-a"))
	try("foreign, activate", off(foreign), func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error { return l.Activate(ctx, vg, "pool") })
	try("no target", func(f *lvmtest.Fake) { f.WithoutTarget("snapshot") }, snapshot)
	try("no space", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.CreateThick(ctx, vg, lvm.ThickSpec{Name: "t", Size: 4 * gib})
	})
	try("stripes", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.CreateThick(ctx, vg, lvm.ThickSpec{Name: "t", Size: 4 << 20, Layout: lvm.Striped, Stripes: 3, StripeSize: 65536})
	})
	try("no VG", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.Remove(ctx, lvm.VG{Name: "lvme-no", Devices: vg.Devices}, "v-a")
	})
	try("VG not empty", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error { return l.RemoveVG(ctx, vg) })
	try("VG exists", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		return l.CreateVG(ctx, lvm.VGSpec{Name: vg.Name, Devices: vg.Devices})
	})
	try("metadata full", nil, func(ctx context.Context, l *lvm.LVM, vg lvm.VG) error {
		var tags []string
		for i := range 600 {
			tags = append(tags, strings.Repeat("x", 1000)+string(rune('a'+i%26))+string(rune('a'+i/26)))
		}
		return l.ChangeTags(ctx, vg, "v-a", tags, nil)
	})
	return said
}

func TestMetadataFullLeavesNothing(t *testing.T) {
	f, l, vg := newHost(t)
	before := f.String()
	long := strings.Repeat("x", 1000)
	var err error
	n := 0
	for ; err == nil && n < 2000; n++ {
		spec := thin("v-" + string(rune('a'+n%26)) + string(rune('a'+n/26)))
		spec.Tags = []string{long}
		err = l.CreateThin(context.Background(), vg, spec)
	}
	if !errors.Is(err, lvm.ErrMetadataFull) || n < 100 {
		t.Fatalf("after %d thins: %v, want %v", n, err, lvm.ErrMetadataFull)
	}
	if strings.Count(f.String(), "\n")-strings.Count(before, "\n") != n-1 {
		t.Errorf("the one that did not fit is there")
	}
	f.Check(t)
}

// TestMirroredPoolAfterACrash crashes at each command, before and after it.
func TestMirroredPoolAfterACrash(t *testing.T) {
	ctx := context.Background()
	spec := lvm.PoolSpec{Name: "mirror", Size: 64 << 20, MetadataSize: 8 << 20, ChunkSize: 64 << 10}
	want := ""
	for n := range 5 {
		for _, after := range []bool{false, true} {
			f, l, vg := newHost(t)
			if n > 0 {
				f.CrashNth(n, after)
				if err := l.CreateMirroredPool(ctx, vg, spec); !errors.Is(err, lvmtest.ErrCrash) {
					t.Fatalf("crash at command %d: %v", n, err)
				}
				f.Reboot()
				if err := l.Activate(ctx, vg, "pool"); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.CreateMirroredPool(ctx, vg, spec); err != nil {
				t.Fatalf("after a crash at command %d: %v", n, err)
			}
			if want == "" {
				want = f.String()
			}
			if got := f.String(); got != want {
				t.Errorf("after a crash at command %d:\n%s\nwant\n%s", n, got, want)
			}
			f.Check(t)
		}
	}
}

func TestFaults(t *testing.T) {
	ctx := context.Background()
	f, l, vg := newHost(t)
	before := f.String()
	f.FailNth(2)
	if err := l.CreateThin(ctx, vg, thin("v-a")); err != nil {
		t.Fatal(err)
	}
	if err := l.CreateThin(ctx, vg, thin("v-b")); err == nil || errors.Is(err, lvmtest.ErrCrash) {
		t.Errorf("the second command: %v, want a failure of LVM", err)
	}
	if err := l.Remove(ctx, vg, "v-a"); err != nil || f.String() != before {
		t.Errorf("%v, and the failed command left\n%s", err, f)
	}
	f.Inject(lvmtest.Fault{Verb: "lvcreate", After: true, Stderr: "  Volume group \"lvme-x\" not found\n"})
	if err := l.CreateThin(ctx, vg, thin("v-c")); !errors.Is(err, lvm.ErrNoVG) {
		t.Errorf("got %v, want %v", err, lvm.ErrNoVG)
	}
	if err := l.CreateThin(ctx, vg, thin("v-c")); !errors.Is(err, lvm.ErrExists) {
		t.Errorf("the command had no effect: %v", err)
	}
	f.Uninstall(true)
	if _, err := l.Report(ctx, vg); !errors.Is(err, lvm.ErrNotInstalled) {
		t.Errorf("without LVM: %v, want %v", err, lvm.ErrNotInstalled)
	}
}

// TestHold: a change goes on without its caller, a reading does not.
func TestHold(t *testing.T) {
	f, l, vg := newHost(t)
	for verb, act := range map[string]func(context.Context) error{
		"lvcreate":   func(ctx context.Context) error { return l.CreateThin(ctx, vg, thin("v-a")) },
		"fullreport": func(ctx context.Context) error { _, err := l.Report(ctx, vg); return err },
	} {
		h := f.Hold(verb)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- act(ctx) }()
		<-h.Waiting
		cancel()
		if verb == "fullreport" {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want %v", verb, err, context.Canceled)
			}
			continue
		}
		h.Release()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func TestMoveDrives(t *testing.T) {
	ctx := context.Background()
	old, l, vg := newHost(t)
	if err := errors.Join(l.CreateThin(ctx, vg, thin("v-a")), l.Activate(ctx, vg, "v-a")); err != nil {
		t.Fatal(err)
	}
	chassis := lvmtest.New()
	old.Unplug("/dev/nvme0n1")
	if err := l.CreateThin(ctx, vg, thin("v-b")); !errors.Is(err, lvm.ErrMissingDevice) {
		t.Errorf("with a drive away: %v, want %v", err, lvm.ErrMissingDevice)
	}
	old.Plug("/dev/nvme0n1", "/dev/nvme7n1")
	old.MoveDrive("/dev/nvme7n1", chassis)
	old.MoveDrive("/dev/nvme1n1", chassis)
	report, err := lvm.New(chassis, chassis).Scan(ctx, []string{"/dev/nvme7n1", "/dev/nvme1n1"})
	if err != nil || len(report.VGs) != 1 || report.VGs[0].MissingPVs != 0 {
		t.Fatalf("the new chassis sees %+v, %v", report, err)
	}
	if v, found := report.VGs[0].LV("v-a"); !found || v.Active {
		t.Errorf("moved thin: %t %+v", found, v)
	}
	chassis.Check(t)
}

func TestOtherPrograms(t *testing.T) {
	f := lvmtest.New()
	if _, err := f.Run(context.Background(), run.Cmd{Name: "blkid"}); !errors.Is(err, run.ErrNotInstalled) {
		t.Errorf("got %v, want %v", err, run.ErrNotInstalled)
	}
	rec := &lvmtest.Recorder{Next: f}
	f.Else = answering{}
	if res, err := rec.Run(context.Background(), run.Cmd{Name: "blkid"}); err != nil || res.Code != 2 {
		t.Errorf("got %+v, %v", res, err)
	}
	if cmds := rec.Take(); len(cmds) != 1 || cmds.Changes() != 0 || cmds.Reads() != 0 || len(rec.Take()) != 0 {
		t.Errorf("recorded %v", cmds)
	}
}

type answering struct{}

func (answering) Run(context.Context, run.Cmd) (run.Result, error) { return run.Result{Code: 2}, nil }

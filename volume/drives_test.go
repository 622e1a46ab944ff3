package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// pull takes the drives that hold a pool out, or with one index that one; the
// store is told by nobody. replug brings them back.
func (r *rig) pull(t *testing.T, p Pool, which ...int) (replug func()) {
	t.Helper()
	var backs []func()
	for i, d := range p.Drives {
		if len(which) == 0 || which[0] == i {
			backs = append(backs, r.pullOne(t, d))
		}
	}
	return func() {
		for _, back := range backs {
			back()
		}
	}
}

func (r *rig) pullOne(t *testing.T, d PoolDrive) (replug func()) {
	t.Helper()
	if !r.real {
		fake, all, away := r.runner.(*lvmtest.Fake), r.drives, true
		fake.Unplug(d.Path)
		r.drives = func(ctx context.Context) ([]drive.Drive, error) {
			drives, err := all(ctx)
			var here []drive.Drive
			for _, o := range drives {
				if !away || o.Path != d.Path {
					here = append(here, o)
				}
			}
			return here, err
		}
		return func() {
			fake.Plug(d.Path, d.Path)
			away = false
		}
	}
	must(t, os.WriteFile("/sys/block/"+filepath.Base(d.Path)+"/device/device/remove", []byte("1"), 0))
	replug = sync.OnceFunc(func() {
		must(t, os.WriteFile("/sys/bus/pci/rescan", []byte("1"), 0))
		eventually(t, "drive "+d.Serial+" is back", func() bool {
			drives, err := r.drives(context.WithoutCancel(t.Context()))
			must(t, err)
			for _, o := range drives {
				if o.Serial == d.Serial {
					return dm.Open().Present(o.Path) == nil && o.Content.Probed
				}
			}
			return false
		})
		r.tool(t, "udevadm", "settle")
	})
	t.Cleanup(replug)
	return replug
}

// look has the store look at its drives, as the agent does when they come or go.
func (r *rig) look(t *testing.T, s *Store) {
	t.Helper()
	s.Drives = r.drives
	must(t, s.Refresh(t.Context()))
}

// poolOf is the pool that holds the volume.
func poolOf(t *testing.T, s *Store, k Key) Pool {
	t.Helper()
	for _, p := range s.Pools(t.Context()) {
		if p.ID == k.VG {
			return p
		}
	}
	t.Fatalf("no pool for %s", k)
	return Pool{}
}

// staged makes a block volume, hands it out and has something safely in it.
func (r *rig) staged(t *testing.T, s *Store, spec CreateSpec) (Volume, []byte) {
	t.Helper()
	spec.Mode = Block
	v := mustCreate(t, s, spec)
	d, err := s.Activate(t.Context(), v.Key)
	must(t, err)
	_, err = s.SetState(t.Context(), v.Key, Raw, "")
	must(t, err)
	text := bytes.Repeat([]byte("of "+spec.Name+" "), 1000)
	r.write(t, d.Path, 0, text)
	return v, text
}

// holds wants the volume to be handed out and to hold the text.
func (r *rig) holds(t *testing.T, s *Store, v Volume, text []byte) {
	t.Helper()
	d, err := s.Activate(t.Context(), v.Key)
	if err != nil {
		t.Fatalf("hand out %s: %v", v.Name, err)
	}
	if r.real {
		if got := readDevice(t, d.Path, 0, len(text)); !bytes.Equal(got, text) {
			t.Errorf("%s does not hold what was written", v.Name)
		}
	}
	lost, err := s.LVM.Lost(t.Context(), lvm.VG{Name: VGName(v.Key.VG), UUID: s.pools[v.Key.VG].vg.UUID})
	if err != nil || len(lost.Dead) > 0 {
		t.Errorf("dead devices: %v, %v", lost, err)
	}
}

// testDriveBack: a drive is pulled out under volumes that are staged. They can
// be unstaged without it, and are there when it is back.
func testDriveBack(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 10))
	ctx := t.Context()
	thin, thinText := r.staged(t, s, CreateSpec{Name: "thin", Size: size(64 * mib)})
	thick, thickText := r.staged(t, s, CreateSpec{Name: "thick", Type: Thick, Size: size(32 * mib)})
	early, _ := r.staged(t, s, CreateSpec{Name: "early", Size: size(64 * mib)})
	for _, v := range []Volume{thin, early} {
		if v.Key.VG != thick.Key.VG {
			t.Logf("%s is on the other drive", v.Name)
		}
	}
	replugA := r.pull(t, poolOf(t, s, thin.Key))
	var replugB func()
	if thick.Key.VG != thin.Key.VG {
		replugB = r.pull(t, poolOf(t, s, thick.Key))
	}
	// Before anybody noticed: the volume's drive is dead, and so it is unstaged.
	r.look(t, s)
	for _, v := range []Volume{thin, thick} {
		_, err := s.Activate(ctx, v.Key)
		wantErr(t, "activate "+v.Name, err, ErrAway)
		must(t, s.Deactivate(ctx, v.Key))
		must(t, s.Deactivate(ctx, v.Key))
	}
	wantErr(t, "delete", s.Delete(ctx, thin.Key), ErrAway)
	replugA()
	if replugB != nil {
		replugB()
	}
	r.look(t, s)
	r.holds(t, s, thin, thinText)
	r.holds(t, s, thick, thickText)
	for _, v := range []Volume{thin, thick, early} {
		must(t, s.Deactivate(ctx, v.Key))
		must(t, s.Delete(ctx, v.Key))
	}
	waitWiped(t, s)
	matchesLVM(t, s)
}

// testDriveBackInUse: the drive is back before its volumes' pods are gone, and
// perhaps before anybody looked. Nothing of it is handed out until they are.
func testDriveBackInUse(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	ctx := t.Context()
	v, text := r.staged(t, s, CreateSpec{Name: "used", Size: size(64 * mib)})
	other := mustCreate(t, s, CreateSpec{Name: "idle", Mode: Block, Size: size(64 * mib)})
	for other.Key.VG != v.Key.VG {
		other = mustCreate(t, s, CreateSpec{Name: other.Name + "+", Mode: Block, Size: size(64 * mib)})
	}
	release := r.holdOpen(t, s, v)
	r.pull(t, poolOf(t, s, v.Key))()
	r.look(t, s)
	if p := poolOf(t, s, v.Key); !strings.Contains(p.Problem, "v-used") {
		t.Errorf("problem %q names no volume", p.Problem)
	}
	for _, k := range []Key{v.Key, other.Key} {
		_, err := s.Activate(ctx, k)
		wantErr(t, "activate while the pool is stuck", err, ErrUnavailable)
	}
	wantErr(t, "deactivate while it is open", s.Deactivate(ctx, v.Key), ErrInUse)
	release()
	must(t, s.Deactivate(ctx, v.Key)) // and with it the pool is put to work again
	if p := poolOf(t, s, v.Key); p.Problem != "" || !s.pools[v.Key.VG].thinActive {
		t.Errorf("after the last pod has gone: %+v", p)
	}
	r.holds(t, s, v, text)
	_, err := s.Activate(ctx, other.Key)
	must(t, err)
	matchesLVM(t, s)
}

// holdOpen opens the device of an active volume, as a pod does.
func (r *rig) holdOpen(t *testing.T, s *Store, v Volume) (release func()) {
	t.Helper()
	if fake, ok := r.runner.(*lvmtest.Fake); ok {
		return fake.Open(VGName(v.Key.VG), v.Key.LV)
	}
	f, err := os.Open(s.DevicePath(v.Key))
	must(t, err)
	return func() { must(t, f.Close()) }
}

// testLegBack: a mirror loses a drive in use and has it again. What was written
// meanwhile is copied by itself.
func testLegBack(t *testing.T, r *rig) {
	s := r.furnished(t, fastClass(drive.Mirrored, 30, 20))
	ctx := t.Context()
	thin, thinText := r.staged(t, s, CreateSpec{Name: "thin", Size: size(64 * mib)})
	thick, thickText := r.staged(t, s, CreateSpec{Name: "thick", Type: Thick, Size: size(32 * mib)})
	before := poolOf(t, s, thin.Key)
	replug := r.pull(t, before, 1)
	r.look(t, s)
	if p := poolOf(t, s, thin.Key); !strings.Contains(p.Problem, "missing "+before.Drives[1].Model+" "+before.Drives[1].Serial) {
		t.Errorf("problem %q", p.Problem)
	}
	for _, v := range []Volume{thin, thick} {
		r.write(t, s.DevicePath(v.Key), 8*mib, thinText) // the kernel notices the loss
	}
	eventually(t, "the mirrors are degraded", func() bool { return poolOf(t, s, thin.Key).Mirror.Failed >= 2 })
	replug()
	r.look(t, s)
	eventually(t, "the mirrors are whole", func() bool {
		m := poolOf(t, s, thin.Key).Mirror
		return m.Failed == 0 && m.Synced == m.Bytes && m.Bytes > 0
	})
	if p := poolOf(t, s, thin.Key); p.Problem != "" {
		t.Errorf("problem %q", p.Problem)
	}
	// The other leg alone has it all now.
	r.pull(t, poolOf(t, s, thin.Key), 0)
	r.look(t, s)
	r.holds(t, s, thin, thinText)
	r.holds(t, s, thick, thickText)
	if r.real {
		if got := readDevice(t, s.DevicePath(thick.Key), 8*mib, len(thinText)); !bytes.Equal(got, thinText) {
			t.Error("what was written while a leg was away is not on it")
		}
	}
	must(t, s.Deactivate(ctx, thin.Key))
}

// testDegradedStart: a node starts with one drive of a mirror. Its volumes work.
func testDegradedStart(t *testing.T, r *rig) {
	cfg := fastClass(drive.Mirrored, 30, 20)
	s := r.furnished(t, cfg)
	thin, thinText := r.staged(t, s, CreateSpec{Name: "thin", Size: size(64 * mib)})
	thick, thickText := r.staged(t, s, CreateSpec{Name: "thick", Type: Thick, Size: size(32 * mib)})
	eventually(t, "the mirrors are whole", func() bool { m := poolOf(t, s, thin.Key).Mirror; return m.Synced == m.Bytes })
	for _, v := range []Volume{thin, thick} {
		must(t, s.Deactivate(t.Context(), v.Key))
	}
	before := poolOf(t, s, thin.Key)
	s.Close()
	must(t, s.LVM.Deactivate(t.Context(), s.pools[before.ID].vg, poolLV))
	replug := r.pull(t, before, 0)
	s = r.open(t, cfg)
	r.holds(t, s, thin, thinText)
	r.holds(t, s, thick, thickText)
	if p := poolOf(t, s, thin.Key); !strings.Contains(p.Problem, "missing "+before.Drives[0].Model) {
		t.Errorf("problem %q", p.Problem)
	}
	wantErr(t, "delete", s.Delete(t.Context(), thick.Key), ErrAway)
	replug()
	r.look(t, s)
	eventually(t, "the mirrors are whole again", func() bool {
		m := poolOf(t, s, thin.Key).Mirror
		return m.Failed == 0 && m.Synced == m.Bytes && m.Bytes > 0
	})
	_, err := s.CreateSnapshot(t.Context(), SnapshotSpec{Name: "s", Source: thin.Key})
	must(t, err)
	matchesLVM(t, s)
}

// hangRig is a host in memory on which one drive can hang, and a store that
// waits a short time only.
func hangRig(t *testing.T) (*Store, func(path string) (heal func())) {
	r := fakeRig(t)
	fake := r.runner.(*lvmtest.Fake)
	var mu sync.Mutex
	silent := map[string]bool{}
	all := r.drives
	r.drives = func(ctx context.Context) ([]drive.Drive, error) {
		mu.Lock()
		defer mu.Unlock()
		drives, err := all(ctx)
		for i, d := range drives {
			if silent[d.Path] {
				drives[i].Content = drive.Content{Silent: true, Error: d.Path + " did not answer"}
			}
		}
		return drives, err
	}
	o := r.options(fastClass(drive.PerDrive, 60, 10))
	o.Patience = 100 * time.Millisecond
	o.LVM = lvm.New(fake, fake, lvm.WithPatience(50*time.Millisecond, 20*time.Millisecond))
	s, err := Open(t.Context(), o)
	must(t, err)
	t.Cleanup(s.Close)
	must(t, s.Init(t.Context(), s.Plan(nil), func(string) {}))
	waitWiped(t, s)
	set := func(path string, is bool) {
		mu.Lock()
		defer mu.Unlock()
		silent[path] = is
	}
	return s, func(path string) func() {
		heal := fake.Hang(path)
		set(path, true)
		return func() {
			set(path, false)
			heal()
		}
	}
}

// inTime runs what must not wait for a drive that hangs.
func inTime(t *testing.T, what string, do func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("%s waits for a drive that hangs", what)
		return nil
	}
}

// TestHungCommandHoldsUpItsPoolAlone: a drive begins to hang under a command.
// All that has nothing to do with it goes on, and it is given nothing more.
func TestHungCommandHoldsUpItsPoolAlone(t *testing.T) {
	s, hang := hangRig(t)
	ctx := t.Context()
	one := mustCreate(t, s, CreateSpec{Name: "one", Mode: Block, Size: size(64 * mib)})
	two := mustCreate(t, s, CreateSpec{Name: "two", Mode: Block, Size: size(64 * mib)})
	if one.Key.VG == two.Key.VG {
		t.Fatal("both are on one drive")
	}
	path := poolOf(t, s, one.Key).Drives[0].Path

	mend := hang(path)
	stuck := make(chan error, 1)
	go func() {
		_, err := s.Activate(ctx, one.Key)
		stuck <- err
	}()
	eventually(t, "the command hangs", func() bool { return !s.pools[one.Key.VG].slow().IsZero() })
	for what, do := range map[string]func() error{
		"a look":     func() error { return s.Refresh(ctx) },
		"look again": func() error { return s.Refresh(ctx) },
		"the volume": func() error { _, err := s.Volume(ctx, one.Key); return err },
		"the list":   func() error { _, err := s.Volumes(ctx); return err },
		"capacity":   func() error { _, err := s.Capacity(ctx, "", Thin); return err },
		"activation": func() error { _, err := s.Activate(ctx, two.Key); return err },
		"snapshot":   func() error { _, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "s", Source: two.Key}); return err },
		"expansion":  func() error { _, err := s.Expand(ctx, two.Key, size(128*mib)); return err },
		"a new thick": func() error {
			_, err := s.Create(ctx, CreateSpec{Name: "t", Mode: Block, Type: Thick, Size: size(16 * mib)})
			return err
		},
	} {
		if err := inTime(t, what, do); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A creation that was to wait for the drive goes elsewhere.
	must(t, inTime(t, "a creation", func() error {
		s.mu.RLock()
		p := s.pools[one.Key.VG]
		s.mu.RUnlock()
		w, err := s.decide(CreateSpec{Name: "elsewhere", Mode: Block, Size: size(16 * mib)})
		must(t, err)
		if err := s.makeIn(ctx, w, p, 16*mib); !s.refused(p, w.lv, err) {
			t.Errorf("a pool whose drive hangs: %v", err)
		}
		return nil
	}))
	var problem string
	must(t, inTime(t, "pools", func() error { problem = poolOf(t, s, one.Key).Problem; return nil }))
	if !strings.Contains(problem, "does not answer") && !strings.Contains(problem, "may hang") {
		t.Errorf("problem %q", problem)
	}
	for i := range 3 {
		v, err := s.Create(ctx, CreateSpec{Name: fmt.Sprintf("more-%d", i), Mode: Block, Size: size(16 * mib)})
		must(t, err)
		if v.Key.VG == one.Key.VG {
			t.Errorf("%s was made on the drive that hangs", v.Name)
		}
	}
	mend()
	must(t, <-stuck)
	must(t, s.Refresh(ctx))
	eventually(t, "the pool works again", func() bool { return poolOf(t, s, one.Key).Problem == "" })
	must(t, s.Deactivate(ctx, one.Key))
	matchesLVM(t, s)
}

// TestUnwritablePoolIsCheckedAgain: the kernel could not write a pool's
// metadata. Once its volumes are unstaged it is switched off and on.
func TestUnwritablePoolIsCheckedAgain(t *testing.T) {
	r := fakeRig(t)
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	v, _ := r.staged(t, s, CreateSpec{Name: "one", Size: size(64 * mib)})
	fake := r.runner.(*lvmtest.Fake)
	fake.Unwritable(VGName(v.Key.VG), poolLV)
	r.look(t, s)
	if p := poolOf(t, s, v.Key); !strings.Contains(p.Problem, "ro") {
		t.Errorf("problem %q", p.Problem)
	}
	must(t, s.Deactivate(t.Context(), v.Key))
	if p := poolOf(t, s, v.Key); p.Problem != "" {
		t.Errorf("after the last volume is unstaged: %q", p.Problem)
	}
	fake.Unwritable(VGName(v.Key.VG), poolLV)
	fake.Damage(VGName(v.Key.VG), poolLV)
	r.look(t, s)
	if p := poolOf(t, s, v.Key); !strings.Contains(p.Problem, "could not be switched on") {
		t.Errorf("a damaged pool: %q", p.Problem)
	}
	if w := mustCreate(t, s, CreateSpec{Name: "two", Mode: Block}); w.Key.VG == v.Key.VG {
		t.Error("a volume was made in a damaged pool")
	}
}

// TestSilentDriveIsLeftAlone: no command is shown a drive that does not answer,
// its pool is told of as it was known, and refuses changes at once.
func TestSilentDriveIsLeftAlone(t *testing.T) {
	s, hang := hangRig(t)
	ctx := t.Context()
	one := mustCreate(t, s, CreateSpec{Name: "one", Mode: Block, Size: size(64 * mib)})
	two := mustCreate(t, s, CreateSpec{Name: "two", Mode: Block, Size: size(64 * mib)})
	p := poolOf(t, s, one.Key)
	mend := hang(p.Drives[0].Path)
	must(t, inTime(t, "a look", func() error { return s.Refresh(ctx) }))
	if now := poolOf(t, s, one.Key); now.Away || !strings.Contains(now.Problem, "BED") || !strings.Contains(now.Problem, "does not answer") {
		t.Errorf("pool %+v", now)
	}
	if v, err := s.Volume(ctx, one.Key); err != nil || v.Name != "one" {
		t.Errorf("what is known of the volume: %+v, %v", v, err)
	}
	if all, err := s.Volumes(ctx); err != nil || len(all) != 2 {
		t.Errorf("list: %d, %v", len(all), err)
	}
	for what, do := range map[string]func() error{
		"activate": func() error { _, err := s.Activate(ctx, one.Key); return err },
		"expand":   func() error { _, err := s.Expand(ctx, one.Key, size(128*mib)); return err },
		"delete":   func() error { return s.Delete(ctx, one.Key) },
		"snapshot": func() error { _, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "s", Source: one.Key}); return err },
	} {
		wantErr(t, what, inTime(t, what, do), ErrUnavailable)
	}
	_, err := s.Activate(ctx, two.Key)
	must(t, err)

	// An agent that starts now serves the other drive, and says of this one that
	// it does not know.
	s.Close()
	var again *Store
	o := s.Options
	must(t, inTime(t, "start", func() (err error) { again, err = Open(ctx, o); return err }))
	defer again.Close()
	_, err = again.Volume(ctx, one.Key)
	wantErr(t, "unknown volume", err, ErrUnavailable)
	_, err = again.Volumes(ctx)
	wantErr(t, "list", err, ErrUnavailable)
	must(t, again.Deactivate(ctx, two.Key))
	must(t, again.Delete(ctx, two.Key))
	mend()
	must(t, again.Refresh(ctx))
	if v, err := again.Volume(ctx, one.Key); err != nil || v.Name != "one" {
		t.Errorf("after it answers: %+v, %v", v, err)
	}
	_, err = again.Activate(ctx, one.Key)
	must(t, err)
	must(t, again.Deactivate(ctx, one.Key))
	must(t, again.Delete(ctx, one.Key))
	matchesLVM(t, again)

}

// TestNoKeyOutOfSilence: on a host without a record a drive that does not
// answer may carry a store; no other is begun.
func TestNoKeyOutOfSilence(t *testing.T) {
	r := fakeRig(t)
	o := r.options(fastClass(drive.PerDrive, 60, 0))
	drives := o.Drives
	o.Drives = func(ctx context.Context) ([]drive.Drive, error) {
		all, err := drives(ctx)
		all[1].Content = drive.Content{Silent: true, Error: "no answer"}
		return all, err
	}
	_, err := Open(t.Context(), o)
	wantErr(t, "open", err, ErrUnavailable)
	if _, err := hostrecord.Load(o.Dir, o.Machine); !errors.Is(err, hostrecord.ErrNone) {
		t.Errorf("a record was made: %v", err)
	}
}

// TestUnreadableDrive: a drive that answers with errors only costs its own
// volumes, whose devices can be taken away.
func TestUnreadableDrive(t *testing.T) {
	r := fakeRig(t)
	s := r.furnished(t, fastClass(drive.PerDrive, 60, 0))
	ctx := t.Context()
	v, _ := r.staged(t, s, CreateSpec{Name: "one", Size: size(64 * mib)})
	p := poolOf(t, s, v.Key)
	fake, all := r.runner.(*lvmtest.Fake), r.drives
	fake.Unplug(p.Drives[0].Path) // LVM finds no label on it
	r.drives = func(ctx context.Context) ([]drive.Drive, error) {
		drives, err := all(ctx)
		for i, d := range drives {
			if d.Path == p.Drives[0].Path {
				drives[i].Content = drive.Content{Error: "read 1048576 bytes at 0: input/output error"}
			}
		}
		return drives, err
	}
	r.look(t, s)
	if now := poolOf(t, s, v.Key); now.Away || !strings.Contains(now.Problem, "cannot be read") || !strings.Contains(now.Problem, p.Drives[0].Serial) {
		t.Errorf("pool %+v", now)
	}
	_, err := s.Activate(ctx, v.Key)
	wantErr(t, "activate", err, ErrUnavailable)
	wantErr(t, "delete", s.Delete(ctx, v.Key), ErrUnavailable)
	must(t, s.Deactivate(ctx, v.Key))
	if _, err := fake.Info(ctx, dm.DeviceName(p.VG, v.Key.LV)); !errors.Is(err, dm.ErrNotFound) {
		t.Errorf("its device is still there: %v", err)
	}
	fake.Plug(p.Drives[0].Path, p.Drives[0].Path)
	r.drives = all
	r.look(t, s)
	_, err = s.Activate(ctx, v.Key)
	must(t, err)
	must(t, s.Deactivate(ctx, v.Key))
	must(t, s.Delete(ctx, v.Key))
	matchesLVM(t, s)
}

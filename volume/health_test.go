package volume

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

func TestVolumeHealth(t *testing.T) {
	thin, thick := entry{lv: "v-thin", bytes: gib}, entry{lv: "v-thick", bytes: gib, thick: true}
	quarantined := entry{lv: "v-q", bytes: gib, record: record{state: Quarantined}}
	for name, tc := range map[string]struct {
		layout drive.Layout
		change func(*pool)
		entry  entry
		want   []string
	}{
		"well":                       {drive.PerDrive, func(*pool) {}, thin, nil},
		"its pool fills up":          {drive.PerDrive, func(p *pool) { p.watched.conditions = []condition{{filling, "PoolFilling", "m"}} }, thin, nil},
		"its pool is nearly full":    {drive.PerDrive, func(p *pool) { p.watched.conditions = []condition{{stopped, "PoolNearlyFull", "m"}} }, thin, []string{"degraded PoolNearlyFull"}},
		"its pool is full":           {drive.PerDrive, func(p *pool) { p.watched.conditions = []condition{{full, "PoolFull", "m"}} }, thin, []string{"degraded PoolFull"}},
		"its pool has failed":        {drive.PerDrive, func(p *pool) { p.watched.conditions = []condition{{broken, "PoolFailed", "m"}} }, thin, []string{"inaccessible PoolFailed"}},
		"a thick one does not mind":  {drive.PerDrive, func(p *pool) { p.watched.conditions = []condition{{broken, "PoolFailed", "m"}} }, thick, nil},
		"its drive hangs":            {drive.Mirrored, func(p *pool) { p.hush(&silence{hung: true, why: "m"}) }, thick, []string{"inaccessible DriveDoesNotAnswer"}},
		"its drive has errors":       {drive.PerDrive, func(p *pool) { p.hush(&silence{why: "m"}) }, thin, []string{"inaccessible DriveNotReadable"}},
		"one of two has errors":      {drive.Mirrored, func(p *pool) { p.hush(&silence{why: "m"}) }, thin, []string{"degraded DriveNotReadable"}},
		"it was pulled out in use":   {drive.PerDrive, func(p *pool) { p.stuck = "m" }, thin, []string{"inaccessible PoolStuck"}},
		"its drive fails":            {drive.PerDrive, func(p *pool) { p.failing = "m" }, thick, []string{"degraded DriveFailing"}},
		"half of its mirror is gone": {drive.Mirrored, func(p *pool) { p.missing = 1 }, thin, []string{"degraded DriveMissing"}},
		"half of its stripes":        {drive.Striped, func(p *pool) { p.missing = 1 }, thin, []string{"inaccessible DriveMissing"}},
		"its drive is away":          {drive.PerDrive, func(p *pool) { p.leave() }, thin, []string{"inaccessible DriveAway"}},
		"quarantined":                {drive.PerDrive, func(*pool) {}, quarantined, []string{"inaccessible Quarantined"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPool(tc.layout, 2)
			p.entries.put(tc.entry)
			tc.change(p)
			s := &Store{key: "store001", pools: map[string]*pool{p.id: p}}
			all, err := s.VolumeHealth(t.Context(), Key{"store001", p.id, tc.entry.lv})
			var got []string
			for _, a := range all {
				got = append(got, string(a.Effect)+" "+string(a.Reason))
			}
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestHealthOfWhatCannotBeLookedAt(t *testing.T) {
	p := testPool(drive.PerDrive, 1)
	s := &Store{key: "store001", pools: map[string]*pool{p.id: p}}
	_, err := s.VolumeHealth(t.Context(), Key{"store001", p.id, "v-none"})
	wantErr(t, "a volume that does not exist", err, ErrNotFound)
	p.entries.put(entry{lv: "s-a", record: record{snapshot: true}})
	_, err = s.VolumeHealth(t.Context(), Key{"store001", p.id, "s-a"})
	wantErr(t, "a snapshot", err, ErrNotFound)
	_, err = s.VolumeHealth(t.Context(), Key{"store002", p.id, "v-a"})
	wantErr(t, "another store's", err, ErrForeign)
	p.stale = "m"
	_, err = s.VolumeHealth(t.Context(), Key{"store001", p.id, "v-none"})
	wantErr(t, "a pool that cannot be looked at", err, ErrUnavailable)
}

// hungKernel does not answer for one pool, as when its drive hangs.
type hungKernel struct {
	dm.Kernel
	mu    sync.Mutex
	pool  string
	leave chan struct{}
	asked int
}

func (k *hungKernel) Status(ctx context.Context, name string) ([]dm.Target, error) {
	k.mu.Lock()
	hangs := k.pool != "" && strings.HasPrefix(name, dm.DeviceName(k.pool, poolLV))
	if hangs {
		k.asked++
	}
	leave := k.leave
	k.mu.Unlock()
	if hangs {
		<-leave
	}
	return k.Kernel.Status(ctx, name)
}

func (k *hungKernel) hang(pool string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pool != "" {
		close(k.leave)
	}
	k.pool, k.leave = pool, make(chan struct{})
}

// TestHungPool: a pool that does not answer gets nothing new, holds one goroutine,
// and keeps nobody from looking after the others.
func TestHungPool(t *testing.T) {
	cfg := fastClass(drive.PerDrive, 60, 0)
	cfg.Classes[0].Reserve, cfg.Classes[0].Thin.Overcommit = 20, 4
	r := fakeRig(t)
	fake := r.kernel.(*lvmtest.Fake)
	kernel := &hungKernel{Kernel: fake}
	r.kernel, r.patience = kernel, 50*time.Millisecond
	s := r.furnished(t, cfg)
	ctx := t.Context()
	pools := s.Pools(ctx)
	kernel.hang(pools[0].VG)
	defer kernel.hang("")
	severity := func(reason Reason) Effect {
		all, _ := s.StorageHealth(ctx)
		for _, h := range all {
			if h.VG == pools[0].VG && h.Ailment.Reason == reason {
				return h.Ailment.Effect
			}
		}
		return ""
	}
	eventually(t, "it is known not to answer", func() bool { return severity("PoolDoesNotAnswer") == Inaccessible })
	for range 3 {
		v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(2 * pools[1].ThinBytes)})
		if v.Key.VG != pools[1].ID {
			t.Fatalf("made in the pool that hangs: %s", v.Key)
		}
		must(t, s.Delete(ctx, v.Key))
	}
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(2 * pools[1].ThinBytes)})
	_, err := s.Activate(ctx, v.Key)
	must(t, err)
	fake.Map(pools[1].VG, v.Key.LV, pools[1].ThinBytes/100*97)
	eventually(t, "the other pool is extended", func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.pools[pools[1].ID].lent() > 0
	})
	kernel.mu.Lock()
	if kernel.asked != 1 {
		t.Errorf("%d questions hang, want 1", kernel.asked)
	}
	kernel.mu.Unlock()
	kernel.hang("")
	eventually(t, "it answers again", func() bool { return severity("PoolDoesNotAnswer") == "" })
}

// TestStorageHealthTellsEarly of what is to come, of each pool with its drives.
func TestStorageHealthTellsEarly(t *testing.T) {
	p, q := testPool(drive.PerDrive, 1), testPool(drive.PerDrive, 1)
	q.id = "other001"
	p.watched.conditions = []condition{{stopped, MetadataNearlyFull, "m"}, {filling, PoolFilling, "m"}}
	p.drives = []PoolDrive{{Model: "M", Serial: "S1"}}
	q.failing, q.missing = "m", 1
	s := &Store{key: "store001", pools: map[string]*pool{p.id: p, q.id: q}}
	all, pools := s.StorageHealth(t.Context())
	var got []string
	for _, h := range all {
		got = append(got, strings.Join([]string{h.VG, string(h.Ailment.Effect), string(h.Ailment.Reason), h.Drives}, " "))
	}
	want := []string{
		VGName(p.id) + " degraded MetadataNearlyFull M S1", VGName(p.id) + " early PoolFilling M S1",
		VGName(q.id) + " inaccessible DriveMissing " + q.driveNames(), VGName(q.id) + " degraded DriveFailing " + q.driveNames(),
	}
	if pools != 2 || !slices.Equal(got, want) {
		t.Errorf("%q of %d pools, want %q", got, pools, want)
	}
}

func TestReasons(t *testing.T) {
	order := []Effect{Early, Degraded, Inaccessible}
	for i, e := range order {
		for j, o := range order {
			if e.Exceeds(o) != (i > j) {
				t.Errorf("%s exceeds %s: %t", e, o, e.Exceeds(o))
			}
		}
		if !e.Exceeds("") {
			t.Errorf("%s is no worse than nothing", e)
		}
	}
	var early, thin []Reason
	for _, r := range Reasons {
		if r.IsEarly() {
			early = append(early, r)
		}
		if r.ThinOnly() {
			thin = append(thin, r)
		}
	}
	if !slices.Equal(early, []Reason{PoolFilling, MetadataFilling}) || len(thin) != len(Reasons)-8 || DriveFailing.ThinOnly() || Reason("Unheard").ThinOnly() {
		t.Errorf("early %q, of thin volumes only %q", early, thin)
	}
}

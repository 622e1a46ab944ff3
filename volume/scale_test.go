package volume

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// many is how many volumes a node may be expected to have.
const many = 5000

// crowd is a host in memory whose first drive has so many volumes.
func crowd(tb testing.TB, volumes int) *rig {
	tb.Helper()
	fake := lvmtest.New()
	fake.AddDrive("/dev/nvme0n1", 1<<40)
	r := &rig{runner: fake, kernel: fake, blocks: &fakeHost{Fake: fake}, dir: tb.TempDir()}
	one := fakeHost{}.drives()[:1]
	one[0].Bytes = 1 << 40
	r.drives = func(context.Context) ([]drive.Drive, error) { return slices.Clone(one), nil }
	s := r.start(tb)
	defer s.Close()
	if err := s.Init(tb.Context(), s.Plan(nil), func(string) {}); err != nil {
		tb.Fatal(err)
	}
	first := "pvc-00000000-0000-4000-8000-000000000000"
	v, err := s.Create(tb.Context(), CreateSpec{Name: first, Mode: Filesystem, Size: Range{Required: 32 << 20}})
	if err != nil {
		tb.Fatal(err)
	}
	fake.Multiply(VGName(v.Key.VG), v.Key.LV, volumes-1, func(i int, text string) string {
		return strings.ReplaceAll(text, first, fmt.Sprintf("pvc-00000000-0000-4000-8000-%012d", i+1))
	})
	return r
}

// start is a store on the rig as it is.
func (r *rig) start(tb testing.TB) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), r.options(fastClass(drive.PerDrive, 90, 0)))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// instant has each change succeed at once without being made, so that what is left
// of a verb is its own cost.
type instant struct{ run.Runner }

func (i instant) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if c.Changes {
		return run.Result{}, nil
	}
	return i.Runner.Run(ctx, c)
}

// still is a kernel of which nothing changes: to look costs the fake more than the
// kernel.
type still struct {
	dm.Kernel
	said map[string][]dm.Target
}

func (k still) Status(ctx context.Context, name string) ([]dm.Target, error) {
	if targets, ok := k.said[name]; ok {
		return targets, nil
	}
	targets, err := k.Kernel.Status(ctx, name)
	if err == nil {
		k.said[name] = targets
	}
	return targets, err
}

// instantly is a store that does nothing in the background, whose changes succeed at
// once, on a kernel that is still.
func (r *rig) instantly(tb testing.TB) *Store {
	tb.Helper()
	o := r.options(fastClass(drive.PerDrive, 90, 0))
	o.Background = false
	s, err := Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	s.LVM = lvm.New(instant{r.runner}, still{r.kernel, map[string][]dm.Target{}})
	return s
}

// crowds are the sizes that a verb's own cost is compared at.
var crowds = []int{10, many}

func BenchmarkStart(b *testing.B) {
	for _, n := range crowds {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := crowd(b, n)
			r.runner = recorded(b, r.runner)
			b.ReportAllocs()
			for b.Loop() {
				r.start(b).Close()
			}
		})
	}
}

// recorded answers each report with what it was the first time: to write it costs
// the fake more than to read it.
func recorded(tb testing.TB, next run.Runner) run.Runner {
	tb.Helper()
	return &memory{Runner: next, said: map[string]run.Result{}}
}

type memory struct {
	run.Runner
	said map[string]run.Result
}

func (m *memory) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if res, ok := m.said[c.String()]; ok && !c.Changes {
		return res, nil
	}
	res, err := m.Runner.Run(ctx, c)
	m.said[c.String()] = res
	return res, err
}

// verbs are what is asked of a store all the time. Each leaves it as it was.
var verbs = []struct {
	name string
	do   func(ctx context.Context, s *Store) error
}{
	{"create and delete", func(ctx context.Context, s *Store) error {
		v, err := s.Create(ctx, CreateSpec{Name: "pvc-new", Mode: Filesystem, Size: Range{Required: 32 << 20}})
		if err != nil {
			return err
		}
		return s.Delete(ctx, v.Key)
	}},
	{"snapshot and delete", func(ctx context.Context, s *Store) error {
		of := s.someVolume()
		snap, err := s.CreateSnapshot(ctx, SnapshotSpec{Name: "snap-new", Source: of})
		if err != nil {
			return err
		}
		return s.DeleteSnapshot(ctx, snap.Key)
	}},
	{"expand", func(ctx context.Context, s *Store) error {
		k := s.someVolume()
		v, err := s.Volume(ctx, k)
		if err == nil {
			_, err = s.Expand(ctx, k, Range{Required: v.Bytes + 4<<20})
		}
		return err
	}},
	{"capacity", func(ctx context.Context, s *Store) error {
		_, err := s.Capacity(ctx, "", Thin)
		return err
	}},
	{"look up", func(ctx context.Context, s *Store) error {
		_, err := s.Volume(ctx, s.someVolume())
		return err
	}},
	{"metrics", func(ctx context.Context, s *Store) error {
		s.Pools(ctx)
		return nil
	}},
}

// someVolume is one that every crowd has.
func (s *Store) someVolume() Key {
	for id := range s.pools {
		return Key{Store: s.key, VG: id, LV: VolumeLV("pvc-00000000-0000-4000-8000-000000000003")}
	}
	return Key{}
}

func BenchmarkVerbs(b *testing.B) {
	for _, n := range crowds {
		r := crowd(b, n)
		s := r.instantly(b)
		for _, verb := range verbs {
			b.Run(fmt.Sprintf("%s/%d", verb.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := verb.do(b.Context(), s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("list/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if all, err := s.Volumes(b.Context()); err != nil || len(all) != n {
					b.Fatalf("%d volumes, %v", len(all), err)
				}
			}
		})
		s.Close()
	}
}

// TestVerbsDoNotGrow: what a verb costs beside LVM's commands is the same with 10
// volumes and with thousands. The quickest of many rounds counts, since a busy
// machine only ever makes one slower.
func TestVerbsDoNotGrow(t *testing.T) {
	const rounds, atOnce, bound = 60, 20, 3
	quickest := map[string][]time.Duration{}
	for _, n := range crowds {
		r := crowd(t, n)
		s := r.instantly(t)
		for _, verb := range verbs {
			best := time.Hour
			for range rounds {
				began := time.Now()
				for range atOnce {
					if err := verb.do(t.Context(), s); err != nil {
						t.Fatalf("%s with %d volumes: %v", verb.name, n, err)
					}
				}
				best = min(best, time.Since(began)/atOnce)
			}
			quickest[verb.name] = append(quickest[verb.name], best)
		}
		s.Close()
	}
	for _, verb := range verbs {
		few, lots := quickest[verb.name][0], quickest[verb.name][1]
		t.Logf("%-20s %8s with %d volumes, %8s with %d", verb.name, few, crowds[0], lots, crowds[1])
		if lots > bound*few+5*time.Microsecond {
			t.Errorf("%s takes %s with %d volumes and %s with %d", verb.name, few, crowds[0], lots, crowds[1])
		}
	}
}

// TestMemoryOfManyVolumes bounds what an agent keeps for each volume, and what it
// needs for a moment to take a report in.
func TestMemoryOfManyVolumes(t *testing.T) {
	const kept, needed = 1500, 5000 // bytes for each volume
	r := crowd(t, many)
	r.runner = recorded(t, r.runner)
	r.start(t).Close() // so that the reports are there before it is looked
	before := heap()
	s := r.start(t)
	defer s.Close()
	after := heap()
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / many
	all := int64(after.TotalAlloc-before.TotalAlloc) / many
	t.Logf("%d bytes a volume are kept, %d were allocated", each, all)
	if each > kept {
		t.Errorf("%d bytes are kept of each volume, at most %d are wanted", each, kept)
	}
	if all > needed {
		t.Errorf("%d bytes of each volume are allocated to take it in, at most %d are wanted", all, needed)
	}
	runtime.KeepAlive(r)
}

func heap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // what the first has found finished is gone after the second
	runtime.ReadMemStats(&m)
	return m
}

// slowly has each lvcreate take its time.
type slowly struct {
	run.Runner
	takes time.Duration
}

func (w slowly) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if c.Args[0] == "lvcreate" {
		time.Sleep(w.takes)
	}
	return w.Runner.Run(ctx, c)
}

// TestManyAtOnce: whoever waits in a long queue that moves waits for its turn, and
// those who came first go first.
func TestManyAtOnce(t *testing.T) {
	const at, takes = 60, 20 * time.Millisecond
	r := crowd(t, 1)
	r.runner = slowly{r.runner, takes}
	o := r.options(fastClass(drive.PerDrive, 90, 0))
	o.Patience = at * takes / 4
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var work sync.WaitGroup
	errs, ended := make([]error, at), make([]time.Time, at)
	for i := range at {
		work.Go(func() {
			_, errs[i] = s.Create(t.Context(), CreateSpec{Name: fmt.Sprintf("pvc-%d", i), Mode: Filesystem, Size: Range{Required: 32 << 20}})
			ended[i] = time.Now()
		})
		time.Sleep(takes / 10) // so that it is known who came first
	}
	work.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("creation %d of %d at once: %v", i, at, err)
		}
	}
	// Each may be overtaken by its neighbours on a busy machine, not by half of them.
	for i := at / 2; i < at; i++ {
		if ended[i].Before(ended[i-at/2]) {
			t.Errorf("creation %d was done before %d, which came long before it", i, i-at/2)
		}
	}
}

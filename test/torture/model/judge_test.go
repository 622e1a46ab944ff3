package model

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/test/demo/rig"
)

const (
	vg    = "lvme-aaaaaaaa"
	mib   = int64(1) << 20
	store = "kkkkkkkk/aaaaaaaa/"
)

// scene is a node with a published filesystem volume, a snapshot of it, a block
// volume at rest, and a volume of somebody else, where all is well.
type scene struct {
	m       *Model
	sight   Sight
	answers Answers
}

func newScene() *scene {
	m := New(map[string]string{vg + "/v-theirs": "sum"})
	fs := &Object{Volume: rig.Volume{Spec: rig.Spec{Name: "a", FS: "ext4"}, ID: store + "v-a", Size: 8 * mib}, There: Yes, UUID: "A", Staged: Yes, Published: Yes}
	snapshot := &Object{Volume: rig.Volume{Spec: rig.Spec{Name: "b"}, ID: store + "s-b", Size: 8 * mib}, Snapshot: true, There: Yes}
	block := &Object{Volume: rig.Volume{Spec: rig.Spec{Name: "c"}, ID: store + "v-c", Size: 4 * mib}, There: Yes}
	for _, o := range []*Object{fs, snapshot, block} {
		m.Add(o)
	}
	return &scene{m, Sight{
		VGs: []lvm.VGReport{{Name: vg, LVs: []lvm.LV{
			{Name: "pool", SegType: "thin-pool", TransactionID: 7}, {Name: "pool_tdata", Hidden: true},
			{Name: "v-a", UUID: "A", Size: 8 * mib}, {Name: "s-b", UUID: "B", Size: 8 * mib}, {Name: "v-c", UUID: "C", Size: 4 * mib}, {Name: "v-theirs", Size: 4 * mib},
		}}, {Name: "theirs", LVs: []lvm.LV{{Name: "v-a"}}}},
		Pools:   map[string]lvm.PoolStatus{vg: {Mode: lvm.PoolWritable, TransactionID: 7}},
		Devices: []dm.Info{{Name: dm.DeviceName(vg, "v-a")}, {Name: dm.DeviceName(vg, "pool", "tpool")}, {Name: "theirs-v--a"}},
		Mounts:  mount.Table{{Path: fs.Staging()}, {Path: fs.Target()}},
		Foreign: map[string]string{vg + "/v-theirs": "sum"},
	}, Answers{store + "v-a": 8 * mib, store + "s-b": 8 * mib, store + "v-c": 4 * mib}}
}

func (s *scene) lv(name string) *lvm.LV {
	lvs := s.sight.VGs[0].LVs
	return &lvs[slices.IndexFunc(lvs, func(lv lvm.LV) bool { return lv.Name == name })]
}

func (s *scene) without(name string) {
	s.sight.VGs[0].LVs = slices.DeleteFunc(s.sight.VGs[0].LVs, func(lv lvm.LV) bool { return lv.Name == name })
}

func (s *scene) status(change func(*lvm.PoolStatus)) {
	p := s.sight.Pools[vg]
	change(&p)
	s.sight.Pools[vg] = p
}

// TestJudge: whatever is not as it must be is found, as what it is.
func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*scene)
		want  []Kind
	}{
		"all is well":              {func(*scene) {}, nil},
		"volume gone":              {func(s *scene) { s.without("v-c"); delete(s.answers, store+"v-c") }, []Kind{Lost}},
		"volume not listed":        {func(s *scene) { delete(s.answers, store+"v-c") }, []Kind{Lost}},
		"listed and not there":     {func(s *scene) { s.answers[store+"v-x"] = 1 }, []Kind{Wrong}},
		"listed with a wrong size": {func(s *scene) { s.answers[store+"v-c"]++ }, []Kind{Wrong}},
		"deleted and still there":  {func(s *scene) { s.m.Remove(s.m.Objects["v-c"]); delete(s.answers, store+"v-c") }, []Kind{Leaked}},
		"made anew":                {func(s *scene) { s.lv("v-a").UUID = "X" }, []Kind{Damaged}},
		"smaller":                  {func(s *scene) { s.lv("v-c").Size, s.answers[store+"v-c"] = mib, mib }, []Kind{Damaged, Wrong}},
		"another VG":               {func(s *scene) { s.m.Objects["v-c"].ID = "kkkkkkkk/bbbbbbbb/v-c" }, []Kind{Lost}},
		"twice": {func(s *scene) {
			s.sight.VGs[1] = lvm.VGReport{Name: "lvme-bbbbbbbb", LVs: []lvm.LV{*s.lv("v-c")}}
			s.sight.Devices = s.sight.Devices[:2]
			s.m.Objects["v-c"].ID = ""
			s.answers["kkkkkkkk/bbbbbbbb/v-c"], s.answers[store+"v-c"] = 4*mib, 4*mib
		}, []Kind{Leaked, Wrong}},
		"foreign bytes changed":  {func(s *scene) { s.sight.Foreign[vg+"/v-theirs"] = "other" }, []Kind{Foreign}},
		"foreign volume gone":    {func(s *scene) { s.sight.Foreign = nil; s.without("v-theirs") }, []Kind{Foreign}},
		"device suspended":       {func(s *scene) { s.sight.Devices[0].Suspended = true }, []Kind{Stuck}},
		"device left":            {func(s *scene) { s.sight.Devices = append(s.sight.Devices, dm.Info{Name: dm.DeviceName(vg, "v-old")}) }, []Kind{Leaked}},
		"active and not staged":  {func(s *scene) { s.sight.Devices = append(s.sight.Devices, dm.Info{Name: dm.DeviceName(vg, "v-c")}) }, []Kind{Leaked}},
		"snapshot active":        {func(s *scene) { s.sight.Devices = append(s.sight.Devices, dm.Info{Name: dm.DeviceName(vg, "s-b")}) }, []Kind{Leaked}},
		"staged and not active":  {func(s *scene) { s.sight.Devices = s.sight.Devices[1:] }, []Kind{Lost}},
		"staged and not mounted": {func(s *scene) { s.sight.Mounts = s.sight.Mounts[1:] }, []Kind{Lost}},
		"published, not mounted": {func(s *scene) { s.sight.Mounts = s.sight.Mounts[:1] }, []Kind{Lost}},
		"mount left":             {func(s *scene) { s.m.Objects["v-a"].Published = No }, []Kind{Leaked}},
		"pool off":               {func(s *scene) { s.sight.Pools = nil }, []Kind{Stuck}},
		"pool read-only":         {func(s *scene) { s.status(func(p *lvm.PoolStatus) { p.Mode = lvm.PoolReadOnly }) }, []Kind{Stuck}},
		"pool to be repaired":    {func(s *scene) { s.status(func(p *lvm.PoolStatus) { p.NeedsCheck = true }) }, []Kind{Stuck}},
		"metadata snapshot left": {func(s *scene) { s.status(func(p *lvm.PoolStatus) { p.HeldRoot = true }) }, []Kind{Leaked}},
		"transaction one off":    {func(s *scene) { s.status(func(p *lvm.PoolStatus) { p.TransactionID++ }) }, []Kind{Stuck}},
		"impossible host":        {func(s *scene) { s.sight.Faults = []string{"x"} }, []Kind{Damaged}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			tc.spoil(s)
			found := map[Kind]bool{}
			findings := s.m.Judge(s.sight, s.answers)
			for _, f := range findings {
				found[f.Kind] = true
			}
			want := map[Kind]bool{}
			for _, k := range tc.want {
				want[k] = true
			}
			if !maps.Equal(found, want) {
				t.Errorf("found %v, must find %v", findings, tc.want)
			}
		})
	}
}

// TestDoubts: what a call that was not answered may have done is settled by what
// is there, and is then as certain as all else.
func TestDoubts(t *testing.T) {
	s := newScene()
	never := &Object{Volume: rig.Volume{Spec: rig.Spec{Name: "never"}, Size: mib}, There: Maybe}
	half := &Object{Volume: rig.Volume{Spec: rig.Spec{Name: "c"}, Size: 12 * mib}, There: Maybe, Half: 4 * mib}
	s.m.Add(never)
	s.m.Add(half)
	s.m.Objects["v-a"].Grown, s.lv("v-a").Size, s.answers[store+"v-a"] = 16*mib, 16*mib, 16*mib
	s.m.Objects["s-b"].Doomed = true
	s.without("s-b")
	delete(s.answers, store+"s-b")
	if found := s.m.Judge(s.sight, s.answers); len(found) > 0 {
		t.Fatal(found)
	}
	if got, want := fmt.Sprint(slices.Sorted(maps.Keys(s.m.Objects))), "[v-a v-c]"; got != want {
		t.Errorf("there are %s, want %s", got, want)
	}
	if a := s.m.Objects["v-a"]; a.Size != 16*mib || a.Grown != 0 {
		t.Errorf("grown: %+v", a)
	}
	if !half.Unfinished || half.There != Yes || half.ID != store+"v-c" || half.Size != 4*mib || half.Usable() {
		t.Errorf("half made: %+v", half)
	}
	s.without("v-c")
	delete(s.answers, store+"v-c")
	if found := s.m.Judge(s.sight, s.answers); len(found) != 1 || found[0].Kind != Lost {
		t.Errorf("once settled it may not vanish: %v", found)
	}
}

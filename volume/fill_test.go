package volume

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// fillPool is a pool of 100 GiB as a class with a thin share of 50 % and a reserve
// of 10 % makes it, with so much promised.
func fillPool(layout drive.Layout, drives int, committed int64) *pool {
	p := testPool(layout, drives)
	p.tags.chunk = 512 << 10
	p.thinBytes, p.thinMeta = p.planned()
	p.entries.put(entry{lv: "v-a", bytes: committed})
	return p
}

// at is what the kernel says of a pool of these bounds that is used so far, in per
// cent.
func (b bounds) at(data, meta int64) lvm.PoolStatus {
	s := lvm.PoolStatus{Mode: lvm.PoolWritable, NoSpaceError: true, DataTotal: b.data / b.chunk, MetaTotal: b.meta / metaBlock}
	s.DataUsed, s.MetaUsed = s.DataTotal*data/100, s.MetaTotal*meta/100
	if data == 100 {
		s.DataUsed = s.DataTotal
	}
	return s
}

func reasons(all []condition) []string {
	var of []string
	for _, c := range all {
		of = append(of, string(c.reason))
	}
	return of
}

func TestConditions(t *testing.T) {
	mode := func(s lvm.PoolStatus, m lvm.PoolMode, needsCheck bool) lvm.PoolStatus {
		s.Mode, s.NeedsCheck = m, needsCheck
		return s
	}
	safe, over := fillPool(drive.PerDrive, 1, 40*gib).bounds(), fillPool(drive.PerDrive, 1, 90*gib).bounds()
	for name, tc := range map[string]struct {
		b    bounds
		s    lvm.PoolStatus
		had  []string
		want []string
	}{
		"half full":                             {over, over.at(50, 20), nil, nil},
		"full, and no more was promised":        {safe, safe.at(100, 20), nil, nil},
		"a fifth left":                          {over, over.at(81, 20), nil, []string{"PoolFilling"}},
		"a tenth left":                          {over, over.at(91, 20), nil, []string{"PoolNearlyFull"}},
		"a little more than a tenth left":       {over, over.at(89, 20), nil, []string{"PoolFilling"}},
		"and it was less before":                {over, over.at(89, 20), []string{"PoolNearlyFull"}, []string{"PoolNearlyFull"}},
		"and now it is enough":                  {over, over.at(87, 20), []string{"PoolNearlyFull"}, []string{"PoolFilling"}},
		"nothing left":                          {over, mode(over.at(100, 20), lvm.PoolOutOfData, false), nil, []string{"PoolFull", "PoolNearlyFull"}},
		"half of the metadata used":             {safe, safe.at(10, 51), nil, []string{"MetadataFilling"}},
		"three quarters":                        {safe, safe.at(10, 76), nil, []string{"MetadataNearlyFull"}},
		"all":                                   {safe, mode(safe.at(10, 100), lvm.PoolReadOnly, false), nil, []string{"PoolReadOnly", "MetadataNearlyFull"}},
		"metadata wants a check, data are full": {over, mode(over.at(100, 10), lvm.PoolReadOnly, true), nil, []string{"PoolNeedsCheck", "PoolNearlyFull"}},
		"failed":                                {over, lvm.PoolStatus{Mode: lvm.PoolFailed}, nil, []string{"PoolFailed"}},
	} {
		t.Run(name, func(t *testing.T) {
			var had []condition
			for _, r := range tc.had {
				had = append(had, condition{reason: Reason(r)})
			}
			got := tc.b.conditions(tc.s, had)
			if !slices.Equal(reasons(got), tc.want) {
				t.Errorf("got %q, want %q", reasons(got), tc.want)
			}
			if !slices.IsSortedFunc(got, func(a, b condition) int { return int(b.stage - a.stage) }) {
				t.Errorf("the worst is not first: %+v", got)
			}
		})
	}
}

// TestExtendedInSteps fills pools up and extends them as often as they want it:
// each step is whole units, none takes more than the reserve has, and the last of
// it is kept for metadata.
func TestExtendedInSteps(t *testing.T) {
	for layout, drives := range map[drive.Layout]int{drive.PerDrive: 1, drive.Striped: 3, drive.Mirrored: 2} {
		p := fillPool(layout, drives, 500*gib)
		if layout == drive.Mirrored {
			p.thinBytes, p.thinMeta = p.planned()
		}
		p.free = p.size / 2
		own, room := p.thinBytes, p.thinRoom(20)
		steps := 0
		for ; ; steps++ {
			b := p.bounds()
			data, meta, wanted := b.more(b.at(96, 20))
			if !wanted || meta != 0 {
				t.Fatalf("%s: step %d: wanted %t, metadata %d", layout, steps, wanted, meta)
			}
			if data == 0 {
				break
			}
			if steps > dataSteps || data%b.unit != 0 || data <= b.data {
				t.Fatalf("%s: step %d from %d to %d", layout, steps, b.data, data)
			}
			p.free -= p.legs() * (data - p.thinBytes)
			p.thinBytes = data
		}
		b := p.bounds()
		if steps < dataSteps || b.left < percent(b.reserve, metaKept) || p.lent()+b.left != b.reserve {
			t.Errorf("%s: %d steps, %d lent and %d left of %d", layout, steps, p.lent(), b.left, b.reserve)
		}
		if got, _ := p.asMade(); got != own || p.thinRoom(20) != room {
			t.Errorf("%s: what was lent is sold: %d for sale, were %d; room %d, was %d", layout, got, own, p.thinRoom(20), room)
		}
		if thick := p.thickRoom(); thick < 39*gib/p.legs() {
			t.Errorf("%s: the thick share has %d left: what was lent was not its", layout, thick)
		}
		_, meta, _ := b.more(b.at(96, 71))
		if meta <= b.meta || (b.legs+1)*(meta-b.meta) > b.left {
			t.Errorf("%s: metadata from %d to %d with %d left", layout, b.meta, meta, b.left)
		}
	}
}

func TestNotExtended(t *testing.T) {
	b := fillPool(drive.PerDrive, 1, 90*gib).bounds()
	none := b
	none.left = 0
	broken := b.at(100, 90)
	broken.NeedsCheck = true
	largest := b
	largest.meta = maxPoolMetadata
	safe := fillPool(drive.PerDrive, 1, 40*gib).bounds()
	for name, tc := range map[string]struct {
		b      bounds
		s      lvm.PoolStatus
		wanted bool
	}{
		"far from the edge":           {b, b.at(94, 69), false},
		"full, and no more promised":  {safe, safe.at(100, 10), false},
		"no reserve":                  {none, none.at(99, 80), true},
		"wants a check":               {b, broken, false},
		"failed":                      {b, lvm.PoolStatus{Mode: lvm.PoolFailed}, false},
		"metadata as large as can be": {largest, largest.at(10, 99), false},
	} {
		if data, meta, wanted := tc.b.more(tc.s); data != 0 || meta != 0 || wanted != tc.wanted {
			t.Errorf("%s: data %d, metadata %d, wanted %t", name, data, meta, wanted)
		}
	}
	// Though nobody knows how: it is full.
	s := safe.at(100, 10)
	s.Mode = lvm.PoolOutOfData
	if data, _, _ := safe.more(s); data <= safe.data {
		t.Errorf("a full pool stays at %d", data)
	}
}

// TestNextLook: no drive reaches the edge before the next look, unless that would
// be all too soon.
func TestNextLook(t *testing.T) {
	const tib = 1 << 40
	b := bounds{data: 3 * tib, own: 3 * tib, committed: 6 * tib, meta: 1 * gib, legs: 1, unit: extentBytes, extent: extentBytes, chunk: 512 << 10, drives: 1}
	for _, tc := range []struct {
		data, meta int64
		changed    bool
		most       time.Duration
		least      time.Duration
	}{
		{10, 10, false, restLook, 4 * time.Second},
		{91, 10, true, 8 * time.Second, 4 * time.Second},
		{94, 10, true, 2 * time.Second, time.Second},
		{95, 10, true, soonLook, soonLook},
		{95, 10, false, idleLook, idleLook},
		{10, 69, true, soonLook, soonLook},
	} {
		s := b.at(tc.data, tc.meta)
		got := b.nextLook(s, tc.changed)
		if got > tc.most || got < tc.least {
			t.Errorf("at %d %% and %d %%: %s, want %s to %s", tc.data, tc.meta, got, tc.least, tc.most)
		}
		if left := percent(b.data, dataEdge) - b.used(s); got > soonLook && got > idleLook && int64(got.Seconds()*topSpeed) > left {
			t.Errorf("at %d %% a drive can write %d in %s, and %d are left", tc.data, int64(got.Seconds()*topSpeed), got, left)
		}
	}
	b.committed = b.data
	if got := b.nextLook(b.at(100, 10), false); got < 4*time.Second {
		t.Errorf("a pool that cannot fill up is looked at every %s", got)
	}
}

func TestFailingDriveGetsNothingNew(t *testing.T) {
	p := testPool(drive.PerDrive, 1)
	p.vg.Devices = []string{"/dev/a"}
	critical := drive.Drive{Path: "/dev/a", Model: "M", Serial: "S1", Health: drive.Health{Status: drive.HealthCritical, Reasons: []string{"spare blocks"}}}
	s := &Store{pools: map[string]*pool{"abcd1234": p}}
	s.noteDrives(t.Context(), map[string]drive.Drive{"/dev/a": critical})
	if p.thinRoom(1) != 0 || p.thickRoom() != 0 || !strings.Contains(p.problem(), "spare blocks") {
		t.Errorf("room %d and %d, problem %q", p.thinRoom(1), p.thickRoom(), p.problem())
	}
	if all, pools := s.StorageHealth(t.Context()); pools != 1 || len(all) != 1 || all[0].Ailment.Reason != "DriveFailing" || all[0].Ailment.Effect != Degraded {
		t.Errorf("%+v of %d", all, pools)
	}
	critical.Health.Status = drive.HealthWarning
	s.noteDrives(t.Context(), map[string]drive.Drive{"/dev/a": critical})
	if p.thinRoom(1) == 0 || p.problem() != "" {
		t.Errorf("room %d, problem %q of a drive that is only worn", p.thinRoom(1), p.problem())
	}
}

package volume

import (
	"errors"
	"math"
	"testing"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

const gib = 1 << 30

func TestChooseSize(t *testing.T) {
	for name, tc := range map[string]struct {
		r     Range
		least int64
		want  int64
		err   error
	}{
		"nothing said":            {want: defaultBytes},
		"small limit":             {r: Range{Limit: 100 << 20}, want: 100 << 20},
		"required":                {r: Range{Required: 5 * gib}, want: 5 * gib},
		"raised for mkfs":         {r: Range{Required: 1}, least: 300 << 20, want: 300 << 20},
		"too small for mkfs":      {r: Range{Required: 1, Limit: 100 << 20}, least: 300 << 20, err: ErrRange},
		"negative required":       {r: Range{Required: -1}, err: ErrInvalid},
		"negative limit":          {r: Range{Limit: -1}, err: ErrInvalid},
		"limit below required":    {r: Range{Required: 2, Limit: 1}, err: ErrInvalid},
		"more than there ever is": {r: Range{Required: math.MaxInt64}, err: ErrRange},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseSize(tc.r, tc.least)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %d, %v; want %d, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestLayOutFits(t *testing.T) {
	cfg := drive.DefaultConfig().Default()
	cfg.Thin.Share, cfg.Thick.Share = 60, 30
	for _, bytes := range []int64{gib, 4 * gib, 7 * gib, 960 * gib, 15360 * gib, 61440 * gib} {
		for layout, n := range map[drive.Layout]int{drive.PerDrive: 1, drive.Striped: 4, drive.Mirrored: 2} {
			cfg.Layout = layout
			drives := make([]drive.Drive, n)
			for i := range drives {
				drives[i].Bytes = bytes
			}
			g := layOut(cfg, 0, drives)
			legs := int64(1)
			if layout == drive.Mirrored {
				legs = 2
			}
			thin := legs*(g.ThinBytes+g.MetadataBytes) + g.MetadataBytes
			if thin > percent(g.Bytes, 60) {
				t.Errorf("%s of %d: thin pool takes %d of a share of %d", layout, bytes, thin, percent(g.Bytes, 60))
			}
			if thin+legs*g.ThickBytes+g.ReserveBytes > g.Bytes || g.Bytes > bytes*int64(n) {
				t.Errorf("%s of %d: parts are more than the whole: %+v", layout, bytes, g)
			}
			if g.ThinBytes < percent(g.Bytes, 40)/legs {
				t.Errorf("%s of %d: metadata leaves %d of %d for data", layout, bytes, g.ThinBytes, g.Bytes)
			}
			chunks := g.ThinBytes / cfg.Thin.ChunkSize
			if need := min(chunks*64, maxPoolMetadata); g.MetadataBytes < need {
				t.Errorf("%s of %d: metadata %d for %d chunks", layout, bytes, g.MetadataBytes, chunks)
			}
			if g.ThinBytes%(extentBytes*int64(stripesOf(layout, n))) != 0 {
				t.Errorf("%s of %d: thin pool of %d is not whole extents a drive", layout, bytes, g.ThinBytes)
			}
		}
	}
}

func TestGroupDrives(t *testing.T) {
	three := []drive.Drive{{Path: "/dev/a"}, {Path: "/dev/b"}, {Path: "/dev/c"}}
	for name, tc := range map[string]struct {
		layout drive.Layout
		drives []drive.Drive
		groups []int
		note   bool
	}{
		"a VG each":             {drive.PerDrive, three, []int{1, 1, 1}, false},
		"one VG over all":       {drive.Striped, three, []int{3}, false},
		"one drive, no stripes": {drive.Striped, three[:1], nil, true},
		"pairs":                 {drive.Mirrored, three, []int{2}, true},
		"none":                  {drive.Mirrored, nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			groups, note := group(drive.Class{Name: "c", Layout: tc.layout}, tc.drives)
			var sizes []int
			for _, g := range groups {
				sizes = append(sizes, len(g))
			}
			if len(sizes) != len(tc.groups) || (note != "") != tc.note {
				t.Fatalf("got %v, %q", sizes, note)
			}
			for i := range sizes {
				if sizes[i] != tc.groups[i] {
					t.Errorf("got %v, want %v", sizes, tc.groups)
				}
			}
		})
	}
}

// testPool is a pool of 100 GiB with half of it thin and 40 % thick.
func testPool(layout drive.Layout, drives int) *pool {
	p := newPool("abcd1234")
	p.extent, p.size, p.thinBytes = extentBytes, 100*gib, 50*gib
	p.free = 50 * gib
	p.tags = vgRecord{thin: 50, thick: 40, reserve: 10, layout: string(layout), clean: true}
	p.vg = lvm.VG{Devices: make([]string, drives)}
	return p
}

func TestThinRoomCountsWhatMayCome(t *testing.T) {
	p := testPool(drive.PerDrive, 1)
	for _, e := range []entry{
		{lv: "v-a", bytes: 10 * gib},
		{lv: "v-b", bytes: 5 * gib, record: record{target: 8 * gib}},
		{lv: "v-t", bytes: 20 * gib, thick: true},
		{lv: "s-a", bytes: 10 * gib, record: record{snapshot: true, reserved: 3 * gib}},
	} {
		p.entries.put(e)
	}
	p.pendingThin = 2 * gib
	if got, want := p.thinRoom(1), int64(50-10-8-3-2)*gib; got != want {
		t.Errorf("room %d, want %d", got, want)
	}
	if got, want := p.thinRoom(2), int64(100-10-8-3-2)*gib; got != want {
		t.Errorf("overcommitted twice: room %d, want %d", got, want)
	}
	p.entries.put(entry{lv: "v-c", bytes: 200 * gib})
	if got := p.thinRoom(1); got != 0 {
		t.Errorf("more promised than there is: room %d", got)
	}
}

func TestThickRoom(t *testing.T) {
	p := testPool(drive.PerDrive, 1)
	if got, want := p.thickRoom(), int64(40*gib); got > want || got < want-gib {
		t.Errorf("room %d, want the share of %d", got, want)
	}
	p.wiping["w-x"] = 15 * gib
	p.entries.put(entry{lv: "v-a", bytes: 5 * gib, thick: true})
	if got, want := p.thickRoom(), int64(20*gib); got > want || got < want-gib {
		t.Errorf("room %d, want %d: what is being wiped is not room yet", got, want)
	}
	p.free = 15 * gib
	if got, want := p.thickRoom(), int64(5*gib); got > want || got < want-gib {
		t.Errorf("room %d, want %d: the reserve is never handed out", got, want)
	}
	p.tags.clean = false
	if got := p.thickRoom(); got != 0 {
		t.Errorf("room %d in a VG whose free extents were not wiped", got)
	}
}

func TestThickRoomOfMirrors(t *testing.T) {
	p := testPool(drive.Mirrored, 2)
	room := p.thickRoom()
	if room > 20*gib || room < 19*gib {
		t.Errorf("room %d, want half of the share", room)
	}
	if p.raw(room) > p.free-percent(p.size, 10) {
		t.Errorf("a volume of %d takes %d, more than is free", room, p.raw(room))
	}
}

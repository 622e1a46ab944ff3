package router

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/volume"
)

func TestQuantise(t *testing.T) {
	for in, want := range map[int64]int64{
		-1: 0, 0: 0, 1: 1, 127: 127, 128: 128, 129: 128, 130: 130, 255: 254, 256: 256, 1000: 1000, 1007: 1000,
		math.MaxInt64: 127 << 56,
	} {
		if got := quantise(in); got != want {
			t.Errorf("quantise(%d) = %d, want %d", in, got, want)
		}
	}
	for x := int64(1); x > 0 && x < 1<<60; x += x/7 + 1 {
		q := quantise(x)
		if q > x || quantise(q) != q || float64(x-q) > float64(x)/64 {
			t.Errorf("quantise(%d) = %d", x, q)
		}
	}
}

// TestDraw: stores are chosen by their weight, always the same for one name, and
// a change of one store's weight moves few names.
func TestDraw(t *testing.T) {
	const names = 4000
	weights := map[string]float64{"a": 1, "b": 1, "c": 0.5, "d": 0}
	chosen := func(weights map[string]float64) (by []string) {
		for i := range names {
			best, most := "", math.Inf(-1)
			for store, w := range weights {
				if x := draw(fmt.Sprintf("pvc-%d", i), store, w); x > most {
					best, most = store, x
				}
			}
			by = append(by, best)
		}
		return by
	}
	count := map[string]int{}
	first := chosen(weights)
	for _, store := range first {
		count[store]++
	}
	for store, w := range weights {
		if want := names * w / 2.5; math.Abs(float64(count[store])-want) > names/20 {
			t.Errorf("%s was chosen %d times, want about %.0f", store, count[store], want)
		}
	}
	weights["a"] *= 0.96 // one percent less room
	moved := 0
	for i, store := range chosen(weights) {
		if store != first[i] {
			moved++
		}
	}
	if moved == 0 || moved > names/40 {
		t.Errorf("%d of %d names moved", moved, names)
	}
}

func TestCreationRemembers(t *testing.T) {
	for code, remembered := range map[codes.Code]struct{ once, twice bool }{
		codes.OK: {}, codes.ResourceExhausted: {}, codes.AlreadyExists: {}, // it was looked for
		codes.InvalidArgument: {twice: true}, codes.NotFound: {twice: true}, codes.FailedPrecondition: {twice: true}, // it was not
		codes.Unavailable: {true, true}, codes.DeadlineExceeded: {true, true}, codes.Canceled: {true, true},
		codes.Aborted: {true, true}, codes.Internal: {true, true}, codes.Unknown: {true, true},
	} {
		c := newRecent().creation("v")
		c.try("s")(code)
		if _, ok := c.tried["s"]; ok != remembered.once {
			t.Errorf("%s: remembered %t", code, ok)
		}
		c = newRecent().creation("v")
		c.try("s")(codes.Unavailable)
		c.try("s")(code)
		if _, ok := c.tried["s"]; ok != remembered.twice {
			t.Errorf("%s after an Unavailable: remembered %t", code, ok)
		}
	}
}

func TestRecentForgets(t *testing.T) {
	m := newRecent()
	m.creation("old").store = "s"
	m.setSnapshot("old", "id")
	m.forget(time.Now().Add(time.Second))
	m.creation("new").store = "s"
	m.forget(time.Now().Add(-time.Second))
	if m.creation("new").store != "s" || m.creation("old").store != "" || m.snapshot("old") != "" {
		t.Error("the wrong one was forgotten")
	}
}

// TestLearn: what of an answer is news.
func TestLearn(t *testing.T) {
	const early, degraded, inaccessible = volume.Early, volume.Degraded, volume.Inaccessible
	h := func(vg string, e volume.Effect, r volume.Reason) volume.PoolHealth {
		return volume.PoolHealth{VG: vg, Ailment: volume.Ailment{Effect: e, Reason: r}}
	}
	type answers [][]volume.PoolHealth
	filling, nearly := h("a", early, volume.PoolFilling), h("a", degraded, volume.PoolNearlyFull)
	missing, worse := h("a", degraded, volume.DriveMissing), h("a", inaccessible, volume.DriveMissing)
	for name, tc := range map[string]struct {
		answers answers
		want    string // of the last answer
	}{
		"nothing":                           {answers{{}}, ""},
		"something":                         {answers{{filling}}, "+a PoolFilling"},
		"the same in two pools":             {answers{{filling, h("b", early, volume.PoolFilling)}}, "+a PoolFilling +b PoolFilling"},
		"twice in one answer":               {answers{{filling, filling}}, "+a PoolFilling"},
		"as before":                         {answers{{filling}, {filling}}, ""},
		"more severe":                       {answers{{missing}, {worse}}, "+a DriveMissing"},
		"less severe":                       {answers{{worse}, {missing}}, "+a DriveMissing"},
		"not in one answer":                 {answers{{filling}, {}}, ""},
		"back after one":                    {answers{{filling}, {}, {filling}}, ""},
		"not in one, twice":                 {answers{{filling}, {}, {filling}, {}}, ""},
		"ended":                             {answers{{filling}, {}, {}}, "-a PoolFilling"},
		"ended, and told":                   {answers{{filling}, {}, {}, {}}, ""},
		"back after it has ended":           {answers{{filling}, {}, {}, {filling}}, "+a PoolFilling"},
		"worse":                             {answers{{filling}, {nearly}}, "+a PoolNearlyFull"},
		"hidden by what is worse":           {answers{{filling}, {nearly}, {nearly}, {nearly}}, ""},
		"half recovered":                    {answers{{filling}, {nearly}, {nearly}, {filling}, {filling}}, "-a PoolNearlyFull"},
		"recovered":                         {answers{{filling}, {nearly}, {nearly}, {}, {}}, "-a PoolFilling -a PoolNearlyFull"},
		"not hidden by what another has":    {answers{{filling}, {h("b", inaccessible, volume.DriveAway)}, {}}, "-a PoolFilling"},
		"not hidden by what is as bad":      {answers{{nearly}, {missing}, {missing}}, "-a PoolNearlyFull"},
		"ended in one pool and come in one": {answers{{filling}, {}, {h("b", early, volume.PoolFilling)}}, "+b PoolFilling -a PoolFilling"},
	} {
		k, got := ailments{}, []string(nil)
		for _, a := range tc.answers {
			came, ended := k.learn(a)
			got = nil
			for _, h := range came {
				got = append(got, "+"+h.VG+" "+string(h.Ailment.Reason))
			}
			for _, h := range ended {
				got = append(got, "-"+h.VG+" "+string(h.Ailment.Reason))
			}
		}
		if text := strings.Join(got, " "); text != tc.want {
			t.Errorf("%s: %q, want %q", name, text, tc.want)
		}
	}
}

func TestReasonsOfAreBounded(t *testing.T) {
	got := reasonsOf(map[volume.Reason]int{"One": 1, "Two": 2, volume.PoolFull: 3})
	if len(got) != len(volume.Reasons)+1 || got["Other"] != 3 || got[volume.PoolFull] != 3 {
		t.Errorf("%v", got)
	}
}

package figure

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	hundred := make(Times, 100)
	for i := range hundred {
		hundred[i] = Milliseconds(100 - i) // in no order
	}
	for _, tc := range []struct {
		times         Times
		p50, p99, max Milliseconds
		median        Milliseconds
	}{
		{nil, 0, 0, 0, 0},
		{Times{7}, 7, 7, 7, 7},
		{Times{3, 1}, 1, 3, 3, 2},
		{Times{3, 1, 2}, 2, 3, 3, 2},
		{hundred, 50, 99, 100, 50.5},
	} {
		if p50, p99, most, median := tc.times.Percentile(50), tc.times.Percentile(99), tc.times.Percentile(100), tc.times.Median(); p50 != tc.p50 || p99 != tc.p99 || most != tc.max || median != tc.median {
			t.Errorf("%v: p50 %v, p99 %v, most %v, median %v", tc.times, p50, p99, most, median)
		}
	}
	if hundred[0] != 100 {
		t.Error("the times were put in another order")
	}
}

func TestRatio(t *testing.T) {
	if got := (Times{3, 2, 100}).Ratio(Times{2, 1, 2}); got != 1.5 {
		t.Errorf("ratio %v", got)
	}
	if got := (Times{1}).Ratio(nil); got != 0 {
		t.Errorf("by nothing: %v", got)
	}
	if Of(1500*time.Microsecond) != 1.5 {
		t.Error("milliseconds")
	}
}

// atLimits is a report at all its limits.
func atLimits() Report {
	verb := func(name string) Verb {
		return Verb{Name: name, Sides: []Side{{Name: Lvme, Commands: 1, Changes: 1, Times: Times{115}}, {Name: Bare, Times: Times{100}}}}
	}
	return Report{Nodes: []Node{{Groups: 1, Sizes: []Size{{
		Volumes: startVolumes, Verbs: []Verb{verb("CreateVolume"), verb("CreateSnapshot")},
		AtOnce: []AtOnce{{Calls: 100, Lvme: Times{110}, Bare: Times{100}, Each: Times{1, 2}}, {Calls: 10, Lvme: Times{200}, Bare: Times{100}}},
		Start:  Start{Times: Times{300}, Report: Times{100}}, Rest: Rest{StartKiB: maxResidentKiB, ResidentKiB: 1, Window: time.Second, CPU: time.Millisecond},
	}}, Large: &Large{GiB: 100, Bare: 1, Kept: 2, GivenBack: 3}}}}
}

func TestJudge(t *testing.T) {
	if err := atLimits().Judge(); err != nil {
		t.Errorf("at its limits: %v", err)
	}
	few := atLimits()
	few.Nodes[0].Sizes[0].Volumes, few.Nodes[0].Sizes[0].Start.Times = 10, Times{3000}
	if err := few.Judge(); err != nil {
		t.Errorf("a start with few volumes: %v", err)
	}
	for name, spoil := range map[string]func(*Report){
		"nothing measured":      func(r *Report) { r.Nodes = nil },
		"a slow creation":       func(r *Report) { r.Nodes[0].Sizes[0].Verbs[0].Sides[0].Times = Times{116} },
		"a slow snapshot":       func(r *Report) { r.Nodes[0].Sizes[0].Verbs[1].Sides[0].Times = Times{116} },
		"no snapshot":           func(r *Report) { r.Nodes[0].Sizes[0].Verbs = r.Nodes[0].Sizes[0].Verbs[:1] },
		"nothing undisturbed":   func(r *Report) { r.Nodes[0].Sizes[0].Verbs[0].Sides[1].Times = nil },
		"a slow crowd":          func(r *Report) { r.Nodes[0].Sizes[0].AtOnce[0].Lvme = Times{111} },
		"no bare crowd":         func(r *Report) { r.Nodes[0].Sizes[0].AtOnce[0].Bare = nil },
		"one of ten that fails": func(r *Report) { r.Nodes[0].Sizes[0].AtOnce[1].Failed = 1 },
		"a slow start":          func(r *Report) { r.Nodes[0].Sizes[0].Start.Times = Times{301} },
		"no start":              func(r *Report) { r.Nodes[0].Sizes[0].Start = Start{} },
		"memory after a start":  func(r *Report) { r.Nodes[0].Sizes[0].Rest.StartKiB++ },
		"memory at rest":        func(r *Report) { r.Nodes[0].Sizes[0].Rest.ResidentKiB = maxResidentKiB + 1 },
		"memory not looked at":  func(r *Report) { r.Nodes[0].Sizes[0].Rest = Rest{} },
	} {
		bad := atLimits()
		spoil(&bad)
		if bad.Judge() == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

func TestWrite(t *testing.T) {
	var text, doc strings.Builder
	if err := atLimits().Write(&text, "table"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one volume group", "5000 volumes on the node", "CreateSnapshot", "1.150", "1.100", "3.000", "60.0", "0.10 %", "GIVE BACK"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, text.String())
		}
	}
	if err := atLimits().Write(&doc, "json"); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal([]byte(doc.String()), &again); err != nil || again.Judge() != nil || len(again.Nodes) != 1 {
		t.Errorf("read back: %v, %v", err, again.Judge())
	}
	if atLimits().Write(&doc, "html") == nil {
		t.Error("a format that is none was written")
	}
}

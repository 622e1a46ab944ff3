package check

import (
	"slices"
	"strings"
	"testing"
)

// good is a state without a fault: two nodes, two volumes, a snapshot, and what may be beside them.
func good() State {
	return State{
		Nodes: []Node{{"node1", "saaaaaaa"}, {"node2", "sbbbbbbb"}},
		Volumes: []Volume{
			{Object: "pv/pvc-1", ID: "saaaaaaa/vaaaaaaa/v-pvc-1", Bytes: 1 << 30, Store: "saaaaaaa"},
			{Object: "pv/pvc-2", ID: "sbbbbbbb/vbbbbbbb/v-pvc-2", Bytes: 1 << 30, Store: "sbbbbbbb"},
			{Object: "volumesnapshotcontent/c-1", ID: "saaaaaaa/vaaaaaaa/s-snapshot-1"},
		},
		LVs: []LV{
			{"node1", "saaaaaaa", "lvme-vaaaaaaa", "pool", 8 << 30},
			{"node1", "saaaaaaa", "lvme-vaaaaaaa", "v-pvc-1", 1 << 30},
			{"node1", "saaaaaaa", "lvme-vaaaaaaa", "s-snapshot-1", 1 << 30},
			{"node1", "saaaaaaa", "lvme-vaaaaaaa", "w-abcdefgh", 1 << 30},
			{"node2", "sbbbbbbb", "lvme-vbbbbbbb", "v-pvc-2", 2 << 30},
		},
		Data: []Datum{{"pod/db-0:/data", "1234", "1234"}},
	}
}

func TestGood(t *testing.T) {
	v := Judge(good())
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	want := "2 volumes, 1 snapshots, 2 nodes, 1 checksums: " +
		"lost 0, leaked 0, double 0, misplaced 0, foreign 0, short 0, damaged 0, owed 0, in the making 0"
	if have := v.String(); have != want {
		t.Errorf("says %q, want %q", have, want)
	}
	if !v.Settled() {
		t.Error("is not settled")
	}
}

// TestFindings breaks the good state in one way each, and wants that finding and no other.
func TestFindings(t *testing.T) {
	stray := LV{"node2", "sbbbbbbb", "lvme-vbbbbbbb", "v-pvc-9", 1 << 30}
	for _, tc := range []struct {
		name string
		harm func(*State)
		want map[string]int
		text string
	}{
		{"lost volume", func(s *State) { s.LVs = slices.Delete(s.LVs, 1, 2) }, map[string]int{"lost": 1}, "pv/pvc-1 has no logical volume"},
		{"lost snapshot", func(s *State) { s.LVs = slices.Delete(s.LVs, 2, 3) }, map[string]int{"lost": 1}, "volumesnapshotcontent/c-1"},
		{"leak", func(s *State) { s.LVs = append(s.LVs, stray) }, map[string]int{"leaked": 1}, "node2:lvme-vbbbbbbb/v-pvc-9"},
		{"leaked snapshot", func(s *State) { s.Volumes = s.Volumes[:2] }, map[string]int{"leaked": 1}, "s-snapshot-1"},
		{"leak of another store's debt", func(s *State) {
			s.LVs = append(s.LVs, stray)
			s.Debts = []Debt{{"saaaaaaa", "saaaaaaa/vbbbbbbb/v-pvc-9", ""}}
		}, map[string]int{"leaked": 1}, "v-pvc-9"},
		{"double on another node", func(s *State) {
			s.LVs = append(s.LVs, LV{"node2", "sbbbbbbb", "lvme-vbbbbbbb", "v-pvc-1", 1 << 30})
		}, map[string]int{"double": 1}, "has the name of pv/pvc-1"},
		{"double on another drive", func(s *State) {
			s.LVs = append(s.LVs, LV{"node1", "saaaaaaa", "lvme-vcccccccc", "v-pvc-1", 1 << 30})
		}, map[string]int{"double": 1}, "node1:lvme-vcccccccc/v-pvc-1"},
		{"one volume group on two nodes", func(s *State) {
			s.Nodes[1].Store = ""
			s.LVs = append(s.LVs, LV{"node2", "saaaaaaa", "lvme-vaaaaaaa", "v-pvc-1", 1 << 30})
		}, map[string]int{"double": 1}, "pv/pvc-1 is node1"},
		{"wrong node: elsewhere than its id says", func(s *State) {
			s.LVs[1] = LV{"node2", "sbbbbbbb", "lvme-vbbbbbbb", "v-pvc-1", 1 << 30}
		}, map[string]int{"misplaced": 1}, "and is node2:"},
		{"wrong node: pods are sent elsewhere", func(s *State) { s.Volumes[0].Store = "sbbbbbbb" }, map[string]int{"misplaced": 1}, "sent to store sbbbbbbb"},
		{"wrong node: the label says another store", func(s *State) { s.Nodes[1].Store = "szzzzzzz" }, map[string]int{"misplaced": 1}, "labelled szzzzzzz"},
		{"foreign", func(s *State) {
			s.LVs = append(s.LVs, LV{"node1", "saaaaaaa", "lvme-vaaaaaaa", "swap", 1 << 30})
		}, map[string]int{"foreign": 1}, "swap"},
		{"short", func(s *State) { s.Volumes[1].Bytes = 4 << 30 }, map[string]int{"short": 1}, "pv/pvc-2"},
		{"damaged", func(s *State) { s.Data[0].Have = "" }, map[string]int{"damaged": 1}, "pod/db-0"},
		{"owed by id", func(s *State) {
			s.LVs = append(s.LVs, stray)
			s.Debts = []Debt{{"sbbbbbbb", "sbbbbbbb/vbbbbbbb/v-pvc-9", ""}}
		}, map[string]int{"owed": 1}, ""},
		{"owed by name", func(s *State) {
			s.LVs = append(s.LVs, stray)
			s.Debts = []Debt{{"sbbbbbbb", "", "pvc-9"}}
		}, map[string]int{"owed": 1}, ""},
		{"in the making", func(s *State) {
			s.LVs = append(s.LVs, stray)
			s.Making = []string{"pvc-9"}
		}, map[string]int{"in the making": 1}, ""},
		{"everything", func(s *State) { s.LVs = nil }, map[string]int{"lost": 3}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := good()
			tc.harm(&s)
			v := Judge(s)
			for _, f := range v.findings() {
				if len(f.list) != tc.want[f.name] {
					t.Errorf("%s: %q, want %d of them", f.name, f.list, tc.want[f.name])
				}
			}
			explained := tc.want["owed"]+tc.want["in the making"] > 0
			if err := v.Err(); (err == nil) != explained {
				t.Errorf("the error is %v", err)
			} else if err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("the error %q does not say %q", err, tc.text)
			}
			if v.Settled() == explained {
				t.Errorf("settled is %t", v.Settled())
			}
		})
	}
}

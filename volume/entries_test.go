package volume

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestSums: after any changes the sums are what counting gives.
func TestSums(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var es entries
	for range 2000 {
		lv := fmt.Sprintf("v-%d", dice.IntN(20))
		switch dice.IntN(4) {
		case 0:
			es.remove(lv)
		case 1:
			es.change(lv, func(e *entry) { e.bytes, e.active = e.bytes+4, !e.active })
		default:
			e := entry{lv: lv, bytes: dice.Int64N(100), thick: dice.IntN(3) == 0}
			e.snapshot, e.reserved, e.target = !e.thick && dice.IntN(3) == 0, dice.Int64N(100), dice.Int64N(100)
			es.put(e)
		}
		var counted sums
		for e := range es.all() {
			counted.count(e, 1)
		}
		if counted != es.sums || es.sums.volumes+es.sums.snapshots != es.len() {
			t.Fatalf("the sums are %+v, of %d entries that come to %+v", es.sums, es.len(), counted)
		}
	}
}

func TestChangeOfWhatIsGone(t *testing.T) {
	var es entries
	es.change("v-a", func(e *entry) { e.active = true })
	if es.len() != 0 {
		t.Error("an entry that is gone came back")
	}
}

// TestKeysAreOrderedAsIDs: pages of a list are cut by ids.
func TestKeysAreOrderedAsIDs(t *testing.T) {
	keys := []Key{
		{"store001", "vg000002", "v-a"}, {"store001", "vg000001", "v-b"}, {"store001", "vg000001", "v-a-b"},
		{"store001", "vg000001", "s-z"}, {"store001", "vg000001", "v-a"}, {"store001", "vg000001", "v-a.b"},
	}
	slices.SortFunc(keys, Key.Compare)
	if !slices.IsSortedFunc(keys, func(a, b Key) int { return cmp.Compare(a.String(), b.String()) }) {
		t.Errorf("ordered as %s", strings.Trim(fmt.Sprint(keys), "[]"))
	}
}

package agent

import (
	"fmt"
	"testing"
	"time"
)

// TestNextTrim: each store has its moment in each period, whenever it is asked.
func TestNextTrim(t *testing.T) {
	const week = 7 * 24 * time.Hour
	start := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	moments := map[time.Time]bool{}
	for i := range 100 {
		store := fmt.Sprintf("store%03d", i)
		first := nextTrim(start, week, store)
		moments[first] = true
		if !first.After(start) || first.Sub(start) > week {
			t.Errorf("%s: %s after %s", store, first, start)
		}
		if again := nextTrim(first.Add(-time.Second), week, store); !again.Equal(first) {
			t.Errorf("%s: a restart moves it from %s to %s", store, first, again)
		}
		if next := nextTrim(first, week, store); next.Sub(first) != week {
			t.Errorf("%s: from %s to %s", store, first, next)
		}
	}
	if len(moments) < 100 {
		t.Errorf("100 nodes have %d moments", len(moments))
	}
}

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/test/e2e/fault"
)

func TestStageList(t *testing.T) {
	var l stageList
	if err := l.Set("walk,faults"); err != nil || l.String() != "walk,faults" || !l.has("walk") || l.has("specs") {
		t.Errorf("%v, %v", l, err)
	}
	if err := l.Set("walk,run"); err == nil {
		t.Error("no error for a stage that is not there")
	}
}

// TestDeadline: what the first process took counts, and something is left for what runs at the end.
func TestDeadline(t *testing.T) {
	c := config{budget: 30 * time.Minute}
	tab := &table{began: time.Now()}
	tab.before("1m0s,4m0s")
	if have, want := c.deadline(tab), tab.began.Add(21*time.Minute); !have.Equal(want) {
		t.Errorf("the deadline is %s after the begin, want 21m", have.Sub(tab.began))
	}
	if len(tab.rows) != 2 {
		t.Errorf("rows are %v", tab.rows)
	}
}

func TestFilter(t *testing.T) {
	name := func(p fault.Play) string { return p.Name }
	some, err := filter(fault.Plays, "API", name)
	if err != nil || len(some) != 1 || !strings.Contains(some[0].Name, "API") {
		t.Errorf("%v, %v", some, err)
	}
	if all, err := filter(fault.Plays, "", name); err != nil || len(all) != len(fault.Plays) {
		t.Errorf("%d of %d, %v", len(all), len(fault.Plays), err)
	}
	if _, err := filter(fault.Plays, "(", name); err == nil {
		t.Error("no error for what is no expression")
	}
}

package main

import (
	"fmt"
	"strings"
	"time"
)

// table is what the stages took.
type table struct {
	began   time.Time
	earlier time.Duration // before this process
	rows    []row
}

type row struct {
	name    string
	took    time.Duration
	verdict string
	failed  bool
}

// before takes note of what the first process did.
func (t *table) before(took string) {
	built, up, _ := strings.Cut(took, ",")
	for _, r := range []struct{ name, took string }{{"e2e.test built", built}, {"cluster up", up}} {
		d, err := time.ParseDuration(r.took)
		if err != nil {
			continue // a cluster that somebody else brought up
		}
		t.earlier += d
		t.rows = append(t.rows, row{name: r.name, took: d})
	}
}

func (t *table) add(name string, took time.Duration, verdict string, err error) {
	t.rows = append(t.rows, row{name, took, verdict, err != nil})
}

// print shows the budget and what was spent of it.
func (t *table) print(budget time.Duration) {
	fmt.Println("\n=== budget")
	var sum time.Duration
	for _, r := range t.rows {
		sum += r.took
		word := ""
		if r.failed {
			word = "FAILED "
		}
		fmt.Printf("%7.0f s  %-15s %s%s\n", r.took.Seconds(), r.name, word, r.verdict)
	}
	fmt.Printf("%7.0f s  of %.0f s\n", sum.Seconds(), budget.Seconds())
}

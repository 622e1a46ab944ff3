package walk_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/test/torture/mortal"
	"github.com/lvme/lvme/test/torture/walk"
)

// seeds are those of every run; LVME_SEED and LVME_STEPS ask for others.
var seeds = []uint64{1, 2, 3}

const steps = 300

func number(t testing.TB, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return n
}

// TestWalk torments a host in memory.
func TestWalk(t *testing.T) {
	if seed := number(t, "LVME_SEED", 0); seed > 0 {
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			o := walk.Options{
				Name: fmt.Sprint("LVME_SEED=", seed), Dice: walk.Seeded(seed), Steps: int(number(t, "LVME_STEPS", steps)), FaultEvery: 3, Audit: true,
			}
			judge(t, newMemory(t), o)
		})
	}
}

// judge walks and fails the test for whatever was found. What was done is
// logged then.
func judge(t *testing.T, m *memory, o walk.Options) *walk.Report {
	t.Helper()
	var done []string
	began := time.Now()
	o.Log = func(format string, args ...any) {
		done = append(done, fmt.Sprintf("%.2f ", time.Since(began).Seconds())+fmt.Sprintf(format, args...))
	}
	r, err := walk.Run(t.Context(), m, o)
	if err == nil && len(r.Findings) == 0 {
		if r.Chunks > 0 {
			t.Errorf("%d chunks are lost, and in memory none is on its way when the power is cut", r.Chunks)
		}
		t.Log(r)
		return r
	}
	for _, line := range done[max(0, len(done)-60):] {
		t.Log(line)
	}
	t.Fatalf("%v %v\n%s", r.Findings, err, m.host.LVM)
	return nil
}

// TestDeaths goes through the deaths on a host in memory. There is nothing between a change's beginning and its effect:
// an agent that dies during it is one that dies after it. LVME_DEATHS=all goes
// through all, else through some of each verb.
func TestDeaths(t *testing.T) {
	m, every := newMemory(t), 7
	if os.Getenv("LVME_DEATHS") == "all" {
		every = 1
	}
	var done []string
	rows, err := walk.Table(t.Context(), m, walk.TableOptions{
		Ways: []mortal.How{mortal.Before, mortal.After, mortal.Cut, mortal.CutLate, mortal.Half}, Every: every,
		Log: func(format string, args ...any) { done = append(done, fmt.Sprintf(format, args...)) },
		Done: func(r walk.Row) {
			if !r.Came || len(r.Findings) > 0 {
				t.Error(r)
			}
			if len(r.Findings) == 0 {
				done = nil
			}
		},
	})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, strings.Join(done, "\n"), m.host.LVM)
	}
	summary := walk.Summary(rows)
	t.Logf("\n%s", summary)
	documented(t, summary, every == 1)
}

const document = "../../../docs/reliability.md"

var update = flag.Bool("update", false, "write the table of all deaths into "+document)

// documented holds the document to a table: to all of it, or to the verbs and
// their changes.
func documented(t *testing.T, table string, whole bool) {
	t.Helper()
	const begin, end = "<!-- deaths in memory -->\n", "<!-- end -->"
	text, err := os.ReadFile(document)
	must(t, err)
	before, rest, _ := strings.Cut(string(text), begin)
	have, after, found := strings.Cut(rest, end)
	switch {
	case !found:
		t.Fatalf("%s has no %s", document, begin)
	case *update && whole:
		must(t, os.WriteFile(document, []byte(before+begin+table+end+after), 0o644))
		return
	case whole && have != table:
		t.Errorf("%s has another table; write it anew with LVME_DEATHS=all and -update", document)
	}
	for line := range strings.Lines(table) {
		columns := strings.SplitAfterN(line, "|", 4)
		if begins := strings.Join(columns[:3], ""); !strings.Contains(have, begins) && !strings.HasPrefix(line, "| all") {
			t.Errorf("%s does not have the row %s", document, begins)
		}
	}
}

// FuzzWalk lets a fuzzer choose the calls and the faults.
func FuzzWalk(f *testing.F) {
	for seed := range byte(8) {
		script := make([]byte, 120)
		for i := range script {
			script[i] = byte(i*i)*(seed+3) + seed
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1000 {
			t.Skip("long ones find no more than short ones")
		}
		judge(t, newMemory(t), walk.Options{Name: "fuzz", Dice: walk.Bytes(script), FaultEvery: 4})
	})
}

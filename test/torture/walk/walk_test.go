package walk_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

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
		t.Log(r)
		return r
	}
	for _, line := range done[max(0, len(done)-60):] {
		t.Log(line)
	}
	t.Fatalf("%v %v\n%s", r.Findings, err, m.host.LVM)
	return nil
}

package suite

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Outcome is what became of a spec.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
	NotRun  Outcome = "not run"
)

// Result is a spec that was run, or not.
type Result struct {
	Spec    string
	FS      string
	Outcome Outcome
	Took    time.Duration
	// Why is the reason of one that failed or skipped itself.
	Why string
	// Log is the file with what it said.
	Log string
}

var (
	counts  = regexp.MustCompile(`(\d+) Passed.*?(\d+) Failed.*?(\d+) Pending.*?(\d+) Skipped`)
	skipped = regexp.MustCompile(`\[SKIPPED\] (.*)`)
	failed  = regexp.MustCompile(`\[FAILED\] (.*)`)
)

// judge reads what one spec said.
func judge(said string) (Outcome, string) {
	found := counts.FindStringSubmatch(said)
	if found == nil {
		return Failed, "e2e.test ended without a result"
	}
	passed, bad := atoi(found[1]), atoi(found[2])
	switch {
	case bad > 0:
		return Failed, firstOf(failed, said)
	case passed == 1:
		return Passed, ""
	case passed > 1:
		return Failed, fmt.Sprintf("the name stands for %d specs", passed)
	}
	if why := firstOf(skipped, said); why != "" {
		return Skipped, why
	}
	return Failed, "no spec of that name was run"
}

func atoi(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1 // more digits than a number has
	}
	return n
}

func firstOf(form *regexp.Regexp, said string) string {
	found := form.FindStringSubmatch(said)
	if found == nil {
		return ""
	}
	return strings.TrimSpace(found[1])
}

// Count is how many results have each outcome.
func Count(results []Result) map[Outcome]int {
	n := map[Outcome]int{}
	for _, r := range results {
		n[r.Outcome]++
	}
	return n
}

// Summary is a line with the counts.
func Summary(results []Result) string {
	n := Count(results)
	return fmt.Sprintf("%d specs: %d passed, %d failed, %d skipped themselves, %d not run",
		len(results), n[Passed], n[Failed], n[Skipped], n[NotRun])
}

// short is a spec's name without what all have in common.
func short(spec string) string {
	_, name, ok := strings.Cut(spec, "[Testpattern: ")
	if !ok {
		return spec
	}
	return strings.Replace(name, "]", ":", 1)
}

// Line is one result for people.
func (r Result) Line() string {
	text := fmt.Sprintf("%-7s %6.1f s  %-4s  %s", r.Outcome, r.Took.Seconds(), r.FS, short(r.Spec))
	if r.Why != "" {
		text += "\n                     " + r.Why
	}
	return text
}

// Table is Markdown with the counts for each filesystem, and what did not pass.
func Table(results []Result) string {
	var text strings.Builder
	text.WriteString("| filesystem | run | passed | failed | skipped themselves | not run |\n|---|---|---|---|---|---|\n")
	for _, fs := range []string{"ext4", "xfs"} {
		var of []Result
		for _, r := range results {
			if r.FS == fs {
				of = append(of, r)
			}
		}
		if n := Count(of); len(of) > 0 {
			fmt.Fprintf(&text, "| %s | %d | %d | %d | %d | %d |\n", fs, len(of)-n[NotRun], n[Passed], n[Failed], n[Skipped], n[NotRun])
		}
	}
	for _, outcome := range []Outcome{Failed, Skipped, NotRun} {
		if Count(results)[outcome] == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n%s:\n\n", strings.ToUpper(string(outcome[:1]))+string(outcome[1:]))
		for _, r := range results {
			if r.Outcome == outcome {
				fmt.Fprintf(&text, "* %s: %s%s\n", r.FS, short(r.Spec), because(r.Why))
			}
		}
	}
	return text.String()
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

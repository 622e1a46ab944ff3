package walk

import (
	"strings"
)

// wildcard stands for anything in a line, and alone for any lines.
const wildcard = "..."

// Matches says that what was printed is what must be.
func Matches(want, have string) bool {
	return matchLines(lines(want), lines(have))
}

// lines are the lines of a text without the blanks that only align it.
func lines(text string) []string {
	var all []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		all = append(all, strings.Join(strings.Fields(line), " "))
	}
	return all
}

func matchLines(want, have []string) bool {
	for i, w := range want {
		if w == wildcard {
			for skipped := 0; skipped <= len(have)-i; skipped++ {
				if matchLines(want[i+1:], have[i+skipped:]) {
					return true
				}
			}
			return false
		}
		if i >= len(have) || !matchLine(w, have[i]) {
			return false
		}
	}
	return len(want) == len(have)
}

func matchLine(want, have string) bool {
	first, rest, more := strings.Cut(want, wildcard)
	if !more {
		return want == have
	}
	have, ok := strings.CutPrefix(have, first)
	if !ok {
		return false
	}
	for i := range len(have) + 1 {
		if matchLine(rest, have[i:]) {
			return true
		}
	}
	return false
}

package driver

import (
	"regexp"
	"strings"
	"sync"
)

// allowList is a list of options, each written as a manual would write it:
// "noatime", "data=ordered|journal", "commit=<number>". The same text decides
// and is what a refused caller gets to read.
type allowList struct {
	forms []string
	// match compiles the expression at its first use: most processes never
	// look at an option, and all of them would wait for it at their start.
	match func() *regexp.Regexp
}

// kinds are the placeholders in a form.
var kinds = strings.NewReplacer(
	`<number>`, `[1-9][0-9]{0,8}`,
	`<size>`, `[1-9][0-9]{0,8}[kKmMgG]?`,
	`<percent>`, `(?:[0-9]|[1-4][0-9]|50)`,
	// A label holds commas (categories), so that it stands in quotes: without
	// them mount would read each part as an option of its own. Its length is
	// bounded with that of all flags: a bound here would be counted out in the
	// compiled expression.
	`<label>`, `(?:"[A-Za-z0-9_.:,-]+"|[A-Za-z0-9_.:-]+)`,
)

func allow(forms ...string) allowList {
	parts := make([]string, len(forms))
	for i, form := range forms {
		name, values, ok := strings.Cut(form, "=")
		parts[i] = alternatives(name)
		if ok {
			parts[i] += "=" + alternatives(values)
		}
	}
	return allowList{forms: forms, match: sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\A(?:` + strings.Join(parts, "|") + `)\z`)
	})}
}

func alternatives(form string) string {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(form), `\|`, `|`)
	return "(?:" + kinds.Replace(quoted) + ")"
}

func (l allowList) has(option string) bool { return l.match != nil && l.match().MatchString(option) }

func (l allowList) String() string { return strings.Join(l.forms, ", ") }

package drive

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// faults collects what is wrong with a configuration.
type faults struct{ errs []error }

func (f *faults) add(where, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (f *faults) err() error { return errors.Join(f.errs...) }

// node is a value somewhere in a configuration. Its readers return the default
// where nothing is given or what is given is wrong; the latter is a fault.
type node struct {
	faults *faults
	where  string // classes[1].thin.chunkSize
	value  any    // as encoding/json decodes it with UseNumber; nil = not given
}

func (n node) given() bool { return n.value != nil }

// refuse records that the value is not what it must be.
func (n node) refuse(allowed string) {
	text, err := json.Marshal(n.value)
	if err != nil {
		text = []byte(fmt.Sprint(n.value))
	}
	const longest = 80
	if len(text) > longest {
		text = append(text[:longest:longest], "..."...)
	}
	n.faults.add(n.where, "is %s, must be %s", text, allowed)
}

// fields opens a mapping. Each field that is not among the known is a fault.
func (n node) fields(known ...string) map[string]node {
	given, ok := n.value.(map[string]any)
	if !ok && n.given() {
		n.refuse("a mapping with the fields " + strings.Join(known, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(known, name) {
			n.faults.add(n.child(name), "unknown field, allowed are %s", strings.Join(known, ", "))
		}
	}
	found := map[string]node{}
	for _, name := range known {
		found[name] = node{faults: n.faults, where: n.child(name), value: given[name]}
	}
	return found
}

func (n node) child(name string) string {
	if n.where == "" {
		return name
	}
	return n.where + "." + name
}

func (n node) list() []node {
	given, ok := n.value.([]any)
	if !ok && n.given() {
		n.refuse("a list")
	}
	nodes := make([]node, 0, len(given))
	for i, v := range given {
		nodes = append(nodes, node{faults: n.faults, where: n.where + "[" + strconv.Itoa(i) + "]", value: v})
	}
	return nodes
}

// text reads a string that is right in the eyes of check.
func (n node) text(otherwise, allowed string, check func(string) bool) string {
	if !n.given() {
		return otherwise
	}
	s, ok := n.value.(string)
	if !ok || !check(s) {
		n.refuse(allowed)
		return otherwise
	}
	return s
}

func (n node) oneOf(otherwise string, words ...string) string {
	return n.text(otherwise, "one of "+strings.Join(words, ", "), func(s string) bool { return slices.Contains(words, s) })
}

// texts reads a list of strings; null in a list is no string.
func (n node) texts(allowed string, check func(string) bool) []string {
	var all []string
	for _, e := range n.list() {
		if s, ok := e.value.(string); ok && check(s) {
			all = append(all, s)
		} else {
			e.refuse(allowed)
		}
	}
	return all
}

func (n node) globs() []string {
	return n.texts("a shell glob in quotes", isGlob)
}

func isGlob(s string) bool {
	_, err := path.Match(s, "")
	return s != "" && err == nil
}

func (n node) boolean(otherwise bool) bool {
	if !n.given() {
		return otherwise
	}
	b, ok := n.value.(bool)
	if !ok {
		n.refuse("true or false")
		return otherwise
	}
	return b
}

func (n node) integer(otherwise, low, high int64) int64 {
	if !n.given() {
		return otherwise
	}
	number, ok := n.value.(json.Number)
	i, err := number.Int64()
	if !ok || err != nil || i < low || i > high {
		n.refuse(fmt.Sprintf("a whole number from %d to %d", low, high))
		return otherwise
	}
	return i
}

func (n node) float(otherwise, low, high float64) float64 {
	if !n.given() {
		return otherwise
	}
	number, ok := n.value.(json.Number)
	x, err := number.Float64()
	if !ok || err != nil || !(x >= low && x <= high) {
		n.refuse(fmt.Sprintf("a number from %.1f to %.1f", low, high))
		return otherwise
	}
	return x
}

// period reads "168h", or 0 for never.
func (n node) period(otherwise, least time.Duration) time.Duration {
	if !n.given() {
		return otherwise
	}
	text := ""
	switch v := n.value.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	d, err := time.ParseDuration(text)
	if err != nil || d != 0 && d < least {
		n.refuse(fmt.Sprintf("0 for never, or at least %gh, as in 168h", least.Hours()))
		return otherwise
	}
	return d
}

// percent reads "90%", or 90.
func (n node) percent(otherwise int) int {
	const high = 100
	if !n.given() {
		return otherwise
	}
	digits := ""
	switch v := n.value.(type) {
	case json.Number:
		digits = v.String()
	case string:
		digits, _ = strings.CutSuffix(v, "%")
	}
	p, err := strconv.ParseUint(digits, 10, 8)
	if err != nil || p > high {
		n.refuse("a whole per cent from 0% to 100%")
		return otherwise
	}
	return int(p)
}

// size reads a size that is right in the eyes of check.
func (n node) size(otherwise int64, allowed string, check func(int64) bool) int64 {
	if !n.given() {
		return otherwise
	}
	text := ""
	switch v := n.value.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	size, err := ParseSize(text)
	switch {
	case err != nil:
		n.refuse(sizeHelp)
	case !check(size):
		n.refuse(allowed)
	default:
		return size
	}
	return otherwise
}

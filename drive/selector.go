package drive

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Selector says which drives a class takes. All fields that are given must
// match; in a list one entry must. The zero Selector matches every NVMe drive.
type Selector struct {
	Transport []string
	// Models, Serials and Paths are shell globs (*, ?, [a-z]), case-sensitive.
	// Paths are matched against the drive's links below /dev/disk.
	Models    []string
	Serials   []string
	Paths     []string
	NUMANodes []int
	// MinSize and MaxSize are in bytes, both included; 0 = no limit.
	MinSize int64
	MaxSize int64
}

// Empty reports whether the selector says nothing and so matches every drive.
func (s Selector) Empty() bool {
	return len(s.Transport)+len(s.Models)+len(s.Serials)+len(s.Paths)+len(s.NUMANodes) == 0 &&
		s.MinSize == 0 && s.MaxSize == 0
}

// Matches reports whether the drive is selected.
func (s Selector) Matches(d Drive) bool { return len(s.Mismatches(d)) == 0 }

// Mismatches says in words what keeps the drive from being selected, empty
// when nothing does.
func (s Selector) Mismatches(d Drive) []string {
	var why []string
	differs := func(what, got string, want []string) {
		why = append(why, fmt.Sprintf("%s %q is not in %q", what, got, want))
	}
	if len(s.Transport) > 0 && !slices.Contains(s.Transport, d.Transport) {
		differs("transport", d.Transport, s.Transport)
	}
	if len(s.Models) > 0 && !anyGlob(s.Models, d.Model) {
		differs("model", d.Model, s.Models)
	}
	if len(s.Serials) > 0 && !anyGlob(s.Serials, d.Serial) {
		differs("serial", d.Serial, s.Serials)
	}
	if len(s.Paths) > 0 && !slices.ContainsFunc(d.Paths, func(p string) bool { return anyGlob(s.Paths, p) }) {
		why = append(why, fmt.Sprintf("none of its links %q is in paths %q", d.Paths, s.Paths))
	}
	if len(s.NUMANodes) > 0 && !slices.Contains(s.NUMANodes, d.NUMANode) {
		why = append(why, fmt.Sprintf("NUMA node %d is not in %v", d.NUMANode, s.NUMANodes))
	}
	if s.MinSize > 0 && d.Bytes < s.MinSize {
		why = append(why, fmt.Sprintf("size %s (%d bytes) is below minSize %s", human(d.Bytes), d.Bytes, FormatSize(s.MinSize)))
	}
	if s.MaxSize > 0 && d.Bytes > s.MaxSize {
		why = append(why, fmt.Sprintf("size %s (%d bytes) is above maxSize %s", human(d.Bytes), d.Bytes, FormatSize(s.MaxSize)))
	}
	return why
}

func anyGlob(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}

// glob is path.Match with a * that matches slashes too: a model's name is no
// path. A malformed pattern, which ParseConfig lets nobody write, matches
// nothing.
func glob(pattern, s string) bool {
	const notSlash = "\x00"
	flat := func(s string) string { return strings.ReplaceAll(s, "/", notSlash) }
	ok, err := path.Match(flat(pattern), flat(s))
	return ok && err == nil
}

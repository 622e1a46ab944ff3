// Package table writes tables for people, in the manner of kubectl: a line of
// headings, columns three spaces apart, no lines and no colour.
//
// It knows nothing of what stands in the cells, but trusts none of it: names
// and serial numbers come from elsewhere and must not move a terminal's cursor
// or begin a new line.
package table

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// gap is between two columns.
const gap = "   "

// none stands for an empty cell, so that columns stay countable.
const none = "-"

// Table is a table in the making.
type Table struct {
	head []string
	rows [][]string
}

// New returns a table with these headings.
func New(head ...string) *Table { return &Table{head: head} }

// Add adds a row, which has as many cells as there are headings.
func (t *Table) Add(cells ...string) {
	if len(cells) != len(t.head) {
		panic(fmt.Sprintf("table: %d cells under %d headings", len(cells), len(t.head)))
	}
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = Plain(c)
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Write writes the table. A cell of the last column may be of any length, and
// no line ends in spaces.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.head))
	lines := append([][]string{t.head}, t.rows...)
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + gap)
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Plain is s as it may be shown: spaces around it cut off, "-" when nothing is
// left, and every character that is not printable in the form of a Go escape.
func Plain(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return none
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		q := strconv.Quote(s)
		return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	}
	return s
}

// Bytes writes a size in IEC units, rounded down: "1.7Ti", "512Mi", "0".
func Bytes(n int64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	size, sign := uint64(n), ""
	if n < 0 {
		size, sign = -size, "-"
	}
	i, unit := 0, uint64(1)
	for size/unit >= 1024 {
		i, unit = i+1, unit*1024
	}
	whole, tenth := size/unit, size%unit*10/unit
	text := sign + strconv.FormatUint(whole, 10)
	if tenth > 0 && whole < 100 {
		text += "." + strconv.FormatUint(tenth, 10)
	}
	return text + units[i]
}

// Percent writes part of whole: "37%", "<1%", and nothing of nothing.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return ""
	}
	percent := float64(part) / float64(whole) * 100
	if percent > 0 && percent < 1 {
		return "<1%"
	}
	return strconv.FormatInt(int64(percent), 10) + "%"
}

// Age writes a time span with its largest unit: "42s", "17m", "5h", "12d".
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 2*day:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/day)) + "d"
}

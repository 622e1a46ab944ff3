package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// screen shows the play: with colours and a line for the running step on a terminal, in plain lines elsewhere.
type screen struct {
	w     io.Writer
	tty   bool
	width int

	name   string   // of the running step, with its number
	tables []string // to be shown at its end
	done   []line
}

// line is a step that has ended.
type line struct {
	name, verified string
	took           time.Duration
}

const (
	nameWidth = 38
	timeWidth = 9

	green, red, grey = "\x1b[32m", "\x1b[31m", "\x1b[90m"
)

func newScreen(f *os.File) *screen {
	s := &screen{w: f, width: 120}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
		s.tty, s.width = true, max(int(size.Col), nameWidth+timeWidth+30)
	}
	return s
}

// paint colours a text on a terminal.
func (s *screen) paint(colour, text string) string {
	if !s.tty {
		return text
	}
	return colour + text + "\x1b[0m"
}

// note shows a line on what is done before the first step.
func (s *screen) note(format string, args ...any) {
	fmt.Fprintln(s.w, s.paint(grey, fmt.Sprintf(format, args...)))
}

// begin announces a step.
func (s *screen) begin(n, of int, name string) {
	s.name = fmt.Sprintf("%2d/%d %s", n, of, name)
	if s.tty {
		fmt.Fprint(s.w, s.paint(grey, "· "+s.name+" ..."))
	}
}

// table shows what a command printed, below the step's own line.
func (s *screen) table(command, text string) {
	s.tables = append(s.tables, "$ "+command+"\n"+text)
}

// end shows the step's line, and its tables.
func (s *screen) end(verified string, took time.Duration, err error) {
	if s.tty {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	mark, colour := "ok", green
	if s.tty {
		mark = "✓"
	}
	if err != nil {
		mark, colour = "FAILED", red
		verified, _, _ = strings.Cut(err.Error(), "\n")
	}
	l := line{s.name, verified, took}
	s.done = append(s.done, l)
	fmt.Fprintln(s.w, s.paint(colour, mark)+" "+s.format(l, len([]rune(mark))+1))
	for _, table := range s.tables {
		fmt.Fprintln(s.w, "\n"+s.paint(grey, indent(table, "        "))+"\n")
	}
	s.tables = nil
}

// format writes a step in columns, the last one wrapped. margin is what stands left of it already.
func (s *screen) format(l line, margin int) string {
	head := fmt.Sprintf("%-*s%*s  ", nameWidth, l.name, timeWidth-2, fmt.Sprintf("%.1f s", l.took.Seconds()))
	gap := "\n" + strings.Repeat(" ", margin+nameWidth+timeWidth)
	return strings.TrimRight(head+strings.Join(wrap(l.verified, s.width-margin-nameWidth-timeWidth), gap), " ")
}

// summary shows the table of all steps.
func (s *screen) summary(took time.Duration) {
	rule := strings.Repeat("-", s.width)
	fmt.Fprintf(s.w, "\n%-*s%*s  verified\n%s\n", nameWidth, "step", timeWidth-2, "time", rule)
	for _, l := range s.done {
		fmt.Fprintln(s.w, s.format(l, 0))
	}
	fmt.Fprintln(s.w, rule)
	fmt.Fprintln(s.w, s.format(line{s.paint(green, fmt.Sprintf("%-*s", nameWidth, fmt.Sprintf("all %d steps as expected", len(s.done)))), "", took}, 0))
}

// fault shows the end of a log.
func (s *screen) fault(title, text string) {
	fmt.Fprintf(s.w, "\n%s\n%s\n", s.paint(red, title+":"), indent(text, "    "))
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by)
}

// wrap breaks a text at spaces into lines of at most width characters.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len([]rune(*last))+1+len([]rune(word)) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

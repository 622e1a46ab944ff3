package main

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/klog/v2"
)

// notices is the log of the operator's commands: what goes wrong without
// making the command fail is told in a line a person can read. What merely
// happens is told by the command itself, and logged from -v=1 on.
type notices struct {
	out    io.Writer
	values []any
}

func newNotices(out io.Writer) klog.Logger { return klog.New(notices{out: out}) }

// Init implements klog.LogSink.
func (notices) Init(klog.RuntimeInfo) {}

// Enabled implements klog.LogSink.
func (notices) Enabled(level int) bool { return klog.V(klog.Level(level) + 1).Enabled() }

// Info implements klog.LogSink.
func (n notices) Info(_ int, msg string, kv ...any) { n.write("info: "+msg, kv) }

// Error implements klog.LogSink.
func (n notices) Error(err error, msg string, kv ...any) {
	if err != nil {
		msg += ": " + err.Error()
	}
	n.write("warning: "+msg, kv)
}

// WithValues implements klog.LogSink.
func (n notices) WithValues(kv ...any) klog.LogSink {
	n.values = append(n.values[:len(n.values):len(n.values)], kv...)
	return n
}

// WithName implements klog.LogSink.
func (n notices) WithName(string) klog.LogSink { return n }

func (n notices) write(line string, kv []any) {
	all := append(n.values[:len(n.values):len(n.values)], kv...)
	var pairs []string
	for i := 0; i+1 < len(all); i += 2 {
		pairs = append(pairs, fmt.Sprintf("%v %v", all[i], all[i+1]))
	}
	if len(pairs) > 0 {
		line += " (" + strings.Join(pairs, ", ") + ")"
	}
	fmt.Fprintln(n.out, strings.ReplaceAll(line, "\n", " "))
}

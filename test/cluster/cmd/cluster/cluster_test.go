package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSupervisor: the process that runs a cluster is known from the lock that it holds, and from nothing else.
func TestSupervisor(t *testing.T) {
	s := state{dir: filepath.Join(t.TempDir(), "deep", "down")}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.supervisor(); !errors.Is(err, errNone) {
		t.Errorf("without a lock: %v, want %v", err, errNone)
	}
	lock, err := s.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.supervisor(); err == nil || errors.Is(err, errNone) {
		t.Errorf("with a lock and no process id yet: %v", err)
	}
	if _, err := s.lock(); !errors.Is(err, errRuns) {
		t.Errorf("a second lock: %v, want %v", err, errRuns)
	}
	fmt.Fprintf(lock, "%d\n", os.Getpid())
	if pid, err := s.supervisor(); err != nil || pid != os.Getpid() {
		t.Errorf("with a lock: process %d, %v, want %d", pid, err, os.Getpid())
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	// Its process id still stands there.
	if _, err := s.supervisor(); !errors.Is(err, errNone) {
		t.Errorf("after the lock: %v, want %v", err, errNone)
	}
	if err := s.down(t.Context(), io.Discard); err != nil {
		t.Errorf("down without a cluster: %v", err)
	}
}

// TestFollow: a supervisor that says nothing in the end has not brought its cluster up.
func TestFollow(t *testing.T) {
	for _, tc := range []struct {
		name, said string
		want       []string
		good       bool
	}{
		{"up", "a: 1.0s\nb: 2.0s\nup\n", []string{"a: 1.0s", "b: 2.0s"}, true},
		{"lvme not ready", "a: 1.0s\nup without lvme\n", []string{"a: 1.0s"}, false},
		{"died", "a: 1.0s\n", []string{"a: 1.0s"}, false},
		{"died at once", "", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			err := follow(strings.NewReader(tc.said), func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) })
			if fmt.Sprint(got) != fmt.Sprint(tc.want) || (err == nil) != tc.good {
				t.Errorf("got %q, %v, want %q, good: %t", got, err, tc.want, tc.good)
			}
		})
	}
}

// TestOptions: the flags come before the command, what is after it is the command's own.
func TestOptions(t *testing.T) {
	var c config
	flags := c.flags(io.Discard)
	if err := flags.Parse([]string{"--nodes", "3", "--drives", "3", "--size", "1", "kubectl", "--dir", "x"}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(flags.Args()); got != "[kubectl --dir x]" {
		t.Errorf("the command is %s", got)
	}
	opts := c.options(nil)
	if opts.Nodes != 3 || len(opts.Drives) != 3 || opts.Drives[2].Serial != "C" || opts.Drives[2].Size != 1<<30 {
		t.Errorf("options %+v", opts)
	}
	if len(opts.Parts) != 0 {
		t.Errorf("images %q that nobody asked for", opts.Parts)
	}
}

// TestLookPath: programs of the cluster come before those of the machine.
func TestLookPath(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, file := range []string{filepath.Join(first, "kubectl"), filepath.Join(second, "kubectl"), filepath.Join(second, "helm")} {
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(first, "helm"), nil, 0o644); err != nil { // not executable
		t.Fatal(err)
	}
	path := first + ":" + second
	for name, want := range map[string]string{
		"kubectl": filepath.Join(first, "kubectl"), "helm": filepath.Join(second, "helm"), "/bin/sh": "/bin/sh", "nothing": "",
	} {
		got, err := lookPath(name, path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

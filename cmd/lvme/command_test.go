package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

var update = flag.Bool("update", false, "write the golden files anew")

// bench is a host in memory and what was said on it.
type bench struct {
	*testing.T
	host        *agenttest.Host
	state       string
	files       map[string]string
	answer      string // what the operator types; "" when nobody is there
	out, errOut bytes.Buffer
}

func newBench(t *testing.T, drives int) *bench {
	return &bench{T: t, host: agenttest.NewHost(t, drives), state: filepath.Join(t.TempDir(), "state"), files: map[string]string{}}
}

// clock stands still but for a second at each look.
type clock struct{ now time.Time }

func (c *clock) tick() time.Time { c.now = c.now.Add(time.Second); return c.now }

func (b *bench) environment() *environment {
	c := &clock{time.Now()}
	return &environment{
		stdin: strings.NewReader(b.answer), stdout: &b.out, stderr: &b.errOut, interactive: b.answer != "", now: c.tick,
		getenv:   func(string) string { return "" },
		hostname: func() (string, error) { return "node-1", nil },
		enter:    func() error { return nil },
		given:    func(path string) string { return path },
		offer:    func(context.Context, string) func() { return func() {} },
		readFile: func(path string) ([]byte, error) {
			if text, ok := b.files[path]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
		host: func(context.Context, string) (agent.Host, error) { return b.host.Agent(), nil },
	}
}

// run runs a command line and checks its exit code.
func (b *bench) run(wantCode int, args ...string) (stdout, stderr string) {
	b.Helper()
	b.out.Reset()
	b.errOut.Reset()
	if code := newProgram(b.environment()).run(args); code != wantCode {
		b.Errorf("lvme %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, wantCode, b.out.String(), b.errOut.String())
	}
	return b.out.String(), b.errOut.String()
}

// node runs a command that works on the host.
func (b *bench) node(wantCode int, args ...string) (stdout, stderr string) {
	b.Helper()
	return b.run(wantCode, append(args, "--state-dir", b.state)...)
}

// store opens the store as an agent does, for what commands cannot do.
func (b *bench) store(with func(*volume.Store)) {
	b.Helper()
	s, err := volume.Open(b.Context(), b.host.Agent().StoreOptions(b.state, drive.DefaultConfig()))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	with(s)
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in\n%s", p, text)
		}
	}
}

// golden compares with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestUsage(t *testing.T) {
	b := newBench(t, 0)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, "unknown command"},
		{[]string{"drives", "extra"}, "unknown command"},
		{[]string{"pools", "-o", "yaml"}, "must be table, wide, json"},
		{[]string{"volumes", "--nonsense"}, "unknown flag"},
		{[]string{"config", "check"}, "accepts 1 arg"},
		{[]string{"drives", "forget"}, "one drive is to be named"},
		{[]string{"drives", "forget", "a", "--serial", "b"}, "one drive is to be named"},
		{[]string{"agent", "--grace", "soon"}, "invalid"},
	} {
		out, stderr := b.run(exitUsage, tc.args...)
		if out != "" || !strings.Contains(stderr, tc.want) || !strings.Contains(stderr, "--help'") {
			t.Errorf("lvme %v: %q, %q", tc.args, out, stderr)
		}
	}
}

func TestHelpAndCompletion(t *testing.T) {
	b := newBench(t, 0)
	for _, args := range [][]string{{}, {"--help"}, {"help", "init"}, {"agent", "--help"}, {"drives", "forget", "--help"}, {"completion", "bash"}, {"--version"}, {"version"}} {
		out, stderr := b.run(exitOK, args...)
		if len(out) < 10 || stderr != "" {
			t.Errorf("lvme %v: %q, %q", args, out, stderr)
		}
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, c := range newProgram(newBench(t, 0).environment()).root.Commands() {
		for _, c := range append(c.Commands(), c) {
			if c.Short == "" || c.Runnable() && c.Name() != "version" && c.Example == "" {
				t.Errorf("%s has no short text or no example", c.CommandPath())
			}
			for line := range strings.Lines(c.Long) {
				if len(strings.TrimRight(line, "\n")) > 80 {
					t.Errorf("%s: a line of help is longer than 80: %s", c.CommandPath(), line)
				}
			}
		}
	}
}

func TestConfigFile(t *testing.T) {
	b := newBench(t, 1)
	b.node(exitOK, "drives") // the default file may be absent
	_, stderr := b.node(exitFailed, "drives", "--config", "/etc/other.yaml")
	has(t, stderr, "--config", "/etc/other.yaml", "file does not exist")
	_, stderr = b.node(exitFailed, "drives", "--config", defaultConfig)
	has(t, stderr, "file does not exist")
	b.files[defaultConfig] = "classes: [{name: fast}]\n"
	out, _ := b.node(exitOK, "drives")
	has(t, out, "fast")
	b.files[offeredConfig] = "classes: [{name: pods}]\n" // of an agent in a container
	out, _ = b.node(exitOK, "drives")
	has(t, out, "pods")
	delete(b.files, offeredConfig)
	b.files[defaultConfig] = "classes: [{name: UPPER}]\nmaxVolumes: 0\n"
	_, stderr = b.node(exitFailed, "drives")
	has(t, stderr, defaultConfig, "UPPER", "maxVolumes")
}

func TestConfigCheck(t *testing.T) {
	b := newBench(t, 0)
	b.files["c.yaml"] = `
classes:
- name: fast
  select: {transport: [pcie], minSize: 1Ti}
  auto: true
- name: bulk
  layout: striped
  select: {models: ["SAMSUNG*"], numaNodes: [0, 1]}
  thin: {share: 0}
  thick: {share: 95}
  reserve: 5
`
	out, _ := b.run(exitOK, "config", "check", "c.yaml")
	golden(t, "config.txt", out)
	b.files["bad.yaml"] = "classes: [{name: UPPER, layout: raid0}]\nmaxVolumes: -1\n"
	out, stderr := b.run(exitFailed, "config", "check", "bad.yaml")
	has(t, stderr, "bad.yaml", "UPPER", "raid0", "maxVolumes")
	if out != "" {
		t.Errorf("a table of a bad file:\n%s", out)
	}
	b.answer = "classes: [{name: fast}]\n"
	out, _ = b.run(exitOK, "config", "check", "-")
	has(t, out, "fast", "is valid")
	_, stderr = b.run(exitFailed, "config", "check", "missing.yaml")
	has(t, stderr, "missing.yaml")
}

func TestVersionJSON(t *testing.T) {
	out, _ := newBench(t, 0).run(exitOK, "version", "-o", "json")
	var v versionView
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Driver != "csi.lvme.dev" || v.Version == "" {
		t.Errorf("%s: %+v, %v", out, v, err)
	}
}

func TestShowingChangesNothing(t *testing.T) {
	b := newBench(t, 2)
	before := b.host.LVM.String()
	for _, c := range []string{"drives", "pools", "volumes", "snapshots"} {
		for _, form := range forms {
			b.node(exitOK, c, "-o", form)
		}
	}
	b.node(exitOK, "init", "--dry-run")
	if after := b.host.LVM.String(); after != before {
		t.Errorf("LVM changed:\n%s", after)
	}
	if _, err := os.Stat(b.state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory was made: %v", err)
	}
}

func TestHostWithoutLVM(t *testing.T) {
	b := newBench(t, 1)
	b.host.LVM.Uninstall(true)
	for _, args := range [][]string{{"drives"}, {"init", "--yes"}, {"adopt"}, {"agent"}} {
		_, stderr := b.node(exitFailed, args...)
		has(t, stderr, "lvme: ", "install the package lvm2")
	}
}

func TestAgentRefusesBadFlags(t *testing.T) {
	b := newBench(t, 0)
	_, stderr := b.run(exitUsage, "agent", "--socket", "csi.sock", "--node-id", "", "--http", "x:y")
	has(t, stderr, "--socket", "--node-id", "--http")
}

// Command bench runs `lvme bench` on a node of the bed, twice: with the drive throttled, so that the drive is the limit as it
// is in life, and unthrottled, where the emulated CPU is the limit and each layer's work shows at its worst. It shows the
// tables of both, and holds them to what they must show; what is missed makes the exit code non-zero.
//
// The bed tells nothing of a drive's speed. What it tells is in ratios and counts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/speed"
	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// serials are those of the drives; all but the first are for stripes.
var serials = []string{"BENCH-A", "BENCH-B"}

// config is that of the drives. It has room for the volumes of a run: three of them are thick.
func (s settings) config() string {
	layout := ""
	if s.stripe != "" {
		layout = ", layout: striped, stripeSize: " + s.stripe
	}
	return fmt.Sprintf("classes:\n  - {name: default, select: {transport: [pcie]}, thin: {share: 60%%, chunkSize: %s}, thick: {share: 30%%}, reserve: 10%%%s}\n", s.chunk, layout)
}

// serials are the drives of a node: one, and two where something is to be striped.
func (s settings) serials() []string {
	if s.stripe != "" {
		return serials
	}
	return serials[:1]
}

// settings are what the flags say.
type settings struct {
	rounds            int
	seconds           float64
	size, drive       int64 // MiB
	chunk, profile    string
	stripe            string // size, over two drives; "" for one drive
	prepare           string // what is done to the node after the agent's start
	limit             bed.Limit
	layers, workloads string
	parts             string   // throttled, unthrottled, ends, settings
	only              []string // of the comparisons of settings; none are all
	dir               string
	timeout           time.Duration
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 5, "how often all is measured")
	flag.Float64Var(&s.seconds, "seconds", 3, "how long each measurement takes")
	flag.Int64Var(&s.size, "size", 512, "size of each volume, `MiB`")
	flag.Int64Var(&s.drive, "drive", 12<<10, "size of the drive, `MiB`")
	flag.StringVar(&s.chunk, "chunk", "512Ki", "chunk size of the thin pool")
	flag.StringVar(&s.profile, "profile", "", "profile of the volumes")
	flag.Int64Var(&s.limit.IOPS, "iops", 200, "I/Os a second of the throttled drive")
	flag.Int64Var(&s.limit.BytesPerSecond, "bytes", 48<<20, "bytes a second of the throttled drive")
	flag.StringVar(&s.layers, "layers", "", "only these layers of lvme bench")
	flag.StringVar(&s.workloads, "workloads", "", "only these workloads of lvme bench")
	flag.StringVar(&s.parts, "parts", "throttled,unthrottled,ends", "which `parts`: the two regimes, that a run that is interrupted leaves nothing, and settings, which compares those that lvme has")
	flag.Func("settings", "compare only these `settings`, separated by commas: chunk, stripe, profile, scheduler, filesystem", func(text string) error {
		s.only = strings.Split(text, ",")
		return nil
	})
	flag.StringVar(&s.dir, "out", "out/bench", "`directory` for the reports, as JSON and as pages")
	flag.DurationVar(&s.timeout, "timeout", 3*time.Hour, "end after this time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	err := run(ctx, s)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures all parts.
func run(ctx context.Context, s settings) error {
	say := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if err := bed.Build(ctx, bed.Options{}, say); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lvme-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := rig.Build(ctx, dir)
	if err != nil {
		return err
	}
	var failed []error
	if s.has("throttled") || s.has("unthrottled") || s.has("ends") {
		failed = append(failed, s.onNode(ctx, binary, func(node *bed.Node) error { return measure(ctx, node, s, say) }))
	}
	if s.has("settings") {
		failed = append(failed, s.compareAll(ctx, binary, say, os.Stdout))
	}
	return errors.Join(failed...)
}

// onNode does something on a node with an agent.
func (s settings) onNode(ctx context.Context, binary string, do func(*bed.Node) error) (err error) {
	var drives []bed.Drive
	for _, serial := range s.serials() {
		drives = append(drives, bed.Drive{Serial: serial, Size: s.drive << 20})
	}
	node, err := bed.Start(ctx, bed.Options{Name: "node-1", Drives: drives})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	log := &rig.Tail{}
	defer func() {
		if err != nil {
			fmt.Fprintf(os.Stderr, "the agent's log ends with\n%s\n", log.Lines(25))
		}
	}()
	agent, err := s.start(ctx, node, binary, log)
	if err != nil {
		return err
	}
	defer agent.Kill()
	if err := s.prepared(ctx, node); err != nil {
		return err
	}
	return do(node)
}

// throttle gives every drive a limit.
func (s settings) throttle(ctx context.Context, node *bed.Node, limit bed.Limit) error {
	for _, serial := range s.serials() {
		if err := node.LimitDrive(ctx, serial, limit); err != nil {
			return err
		}
	}
	return nil
}

// start takes the drive and starts the agent on it.
func (s settings) start(ctx context.Context, node *bed.Node, binary string, log *rig.Tail) (*rig.Agent, error) {
	if err := rig.Install(ctx, node, binary, s.config()); err != nil {
		return nil, err
	}
	if _, err := rig.Sh(ctx, node, `"$@"`, rig.Binary, "init", "--yes"); err != nil {
		return nil, err
	}
	agent, err := rig.StartAgent(ctx, node, log)
	if err != nil {
		return nil, err
	}
	return agent, awaitThick(ctx, agent)
}

// awaitThick waits until the thick share is wiped, which every start with a new drive does first.
func awaitThick(ctx context.Context, agent *rig.Agent) error {
	for {
		have, err := agent.Available(ctx, "thick")
		if err != nil || have > 0 {
			return err
		}
		time.Sleep(200 * time.Millisecond) // ctx ends the next question
	}
}

// regime is a way in which the drive works.
type regime struct {
	name  string
	limit bed.Limit
	gates []gate
}

func measure(ctx context.Context, node *bed.Node, s settings, say func(string, ...any)) error {
	var failed []error
	for _, r := range []regime{{"throttled", s.limit, driveGates}, {"unthrottled", bed.Limit{}, nil}} {
		if !s.has(r.name) {
			continue
		}
		say("\n== %s: %s", r.name, r.limit)
		if err := s.throttle(ctx, node, r.limit); err != nil {
			return err
		}
		report, err := s.bench(ctx, node, r.name)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		show(os.Stdout, report)
		failed = append(failed, judge(report, r.gates, say))
	}
	if s.has("ends") {
		say("\n== interrupted")
		failed = append(failed, s.ends(ctx, node, say))
	}
	return errors.Join(failed...)
}

func (s settings) has(part string) bool { return slices.Contains(strings.Split(s.parts, ","), part) }

// exitFound is the exit code of `lvme bench` when counts are wrong; the report says which.
const exitFound = 3

// bench runs `lvme bench` on the node, and keeps its report.
func (s settings) bench(ctx context.Context, node *bed.Node, name string) (speed.Report, error) {
	args := []string{
		rig.Binary, "bench", "-o", "json", "--html", "/run/bench.html", "--socket", rig.Socket, "--rounds", strconv.Itoa(s.rounds),
		"--seconds", fmt.Sprint(s.seconds), "--size", fmt.Sprintf("%dMi", s.size), "--jobs", "2",
	}
	for name, value := range map[string]string{"--layers": s.layers, "--workloads": s.workloads, "--profile": s.profile} {
		if value != "" {
			args = append(args, name, value)
		}
	}
	var out strings.Builder
	code, err := node.Run(ctx, bed.Cmd{Args: args, Stdout: &out, Stderr: os.Stderr})
	if err == nil && code != 0 && code != exitFound {
		err = fmt.Errorf("lvme bench: exit code %d", code)
	}
	if err != nil {
		return speed.Report{}, err
	}
	var report speed.Report
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		return report, fmt.Errorf("read the report: %w", err)
	}
	if err := s.keep(ctx, node, name, out.String()); err != nil {
		return report, err
	}
	return report, nil
}

// keep puts the report and its page where they stay.
func (s settings) keep(ctx context.Context, node *bed.Node, name, text string) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, name+".json"), []byte(text), 0o644); err != nil {
		return err
	}
	return node.Get(ctx, "/run/bench.html", filepath.Join(s.dir, name+".html"))
}

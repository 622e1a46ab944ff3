// Command e2e tests lvme in a real Kubernetes on virtual bare-metal nodes: the walk-through of docs/walkthrough.md, specs of
// Kubernetes' own storage tests, faults, and after each a comparison of what Kubernetes says with what LVM has. It
// brings a cluster up for that, or uses the one that runs in its directory, and says what each stage took.
//
// It wants root. docs/testing.md tells how it is used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/cluster/parts"
)

// config is what the flags say.
type config struct {
	dir      string
	program  string // cluster
	stages   stageList
	keep     bool
	budget   time.Duration
	jobs     int
	full     bool
	fs       string
	only     string
	report   string
	attached string // set by the first process for the second: what it took to bring the cluster up
	testing  string // e2e.test, of the first for the second
	images   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func (c *config) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("e2e", flag.ExitOnError)
	c.stages = stageList{walkStage, specStage}
	fs.StringVar(&c.dir, "dir", "out/e2e", "`directory` of the cluster; one that runs there is used, and left running")
	fs.StringVar(&c.program, "cluster", "bin/cluster", "the `program` that runs clusters")
	fs.Var(&c.stages, "stages", "what to do, a `list` of walk, specs, faults")
	fs.BoolVar(&c.keep, "keep", false, "leave the cluster running")
	fs.DurationVar(&c.budget, "budget", 45*time.Minute, "`time` for everything: near its end no spec and no fault is begun")
	fs.IntVar(&c.jobs, "jobs", 2, "`number` of specs at a time")
	fs.BoolVar(&c.full, "full", false, "all specs that apply and all faults, instead of a handful")
	fs.StringVar(&c.fs, "fs", "ext4", "`filesystems` of the specs: ext4, xfs, or both with a comma")
	fs.StringVar(&c.only, "only", "", "only specs and faults whose name matches this `expression`; with -full")
	fs.StringVar(&c.report, "report", "", "`file` that gets the results as a table, as for docs/testing.md")
	fs.StringVar(&c.attached, "attached", "", "for the program itself")
	fs.StringVar(&c.testing, "e2e.test", "", "for the program itself")
	fs.StringVar(&c.images, "images", "", "for the program itself")
	return fs
}

// run is the whole program. The part that talks to the cluster runs in the cluster's network, as a process of its own.
func run(ctx context.Context, argv []string) error {
	var c config
	if err := c.flags().Parse(argv); err != nil {
		return err
	}
	for _, path := range []*string{&c.dir, &c.program} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if c.attached != "" {
		return c.inside(ctx)
	}
	return c.outside(ctx, argv)
}

// outside makes what is needed of the world, brings the cluster up, and starts the part inside.
func (c *config) outside(ctx context.Context, argv []string) (err error) {
	began := time.Now()
	more, err := c.parts(ctx)
	if err != nil {
		return err
	}
	built := time.Since(began)
	began = time.Now()
	if c.command(ctx, "status").Run() != nil {
		up := c.command(ctx, "--size", "32", "up")
		up.Stdout, up.Stderr = os.Stdout, os.Stderr
		if err := up.Run(); err != nil {
			return fmt.Errorf("bring the cluster up: %w", err)
		}
		if !c.keep {
			defer func() { err = errors.Join(err, c.down(context.WithoutCancel(ctx))) }()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	took := fmt.Sprintf("%s,%s", built.Round(time.Second), time.Since(began).Round(time.Second))
	args := append([]string{"exec", "--", self}, argv...)
	in := c.command(ctx, append(append(args, "-attached", took), more...)...)
	in.Stdout, in.Stderr = os.Stdout, os.Stderr
	in.Cancel = func() error { return in.Process.Signal(syscall.SIGTERM) }
	in.WaitDelay = 3 * time.Minute
	return in.Run()
}

// command is the program that runs clusters, for the cluster of the directory.
func (c *config) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, c.program, append([]string{"--dir", c.dir}, args...)...)
}

func (c *config) down(ctx context.Context) error {
	if out, err := c.command(ctx, "down").CombinedOutput(); err != nil {
		return fmt.Errorf("end the cluster: %w: %s", err, out)
	}
	return nil
}

// nextDir is where, below the cluster's directory, the release is that lvme is upgraded to: the same source under another
// version.
const nextDir = "next"

// parts makes Kubernetes' test suite, and its image where it is wanted, and returns flags that say where they are; and the
// release to upgrade to.
func (c *config) parts(ctx context.Context) ([]string, error) {
	if c.stages.has(faultStage) {
		dir := filepath.Join(c.dir, nextDir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if _, err := cluster.MakeRelease(ctx, dir, nextDir); err != nil {
			return nil, err
		}
	}
	if !c.stages.has(specStage) {
		return nil, nil
	}
	set, err := parts.Open(func(format string, args ...any) { fmt.Printf("parts: "+format+"\n", args...) })
	if err != nil {
		return nil, err
	}
	var images []parts.Part
	if c.full {
		images = append(images, parts.ImageAgnhost, parts.ImageGNU)
	}
	if err := set.Ensure(ctx, append(images, parts.E2ETest)...); err != nil {
		return nil, fmt.Errorf("make Kubernetes' test suite: %w", err)
	}
	var paths []string
	for _, p := range images {
		paths = append(paths, set.Path(p))
	}
	return []string{"-e2e.test", set.Path(parts.E2ETest), "-images", strings.Join(paths, ",")}, nil
}

// The stages.
const (
	walkStage  = "walk"
	specStage  = "specs"
	faultStage = "faults"
)

// stageList is a flag: names of stages with commas.
type stageList []string

func (l *stageList) String() string { return strings.Join(*l, ",") }

func (l *stageList) Set(text string) error {
	*l = nil
	for name := range strings.SplitSeq(text, ",") {
		switch name {
		case walkStage, specStage, faultStage:
			*l = append(*l, name)
		default:
			return fmt.Errorf("there is no stage %q", name)
		}
	}
	return nil
}

func (l stageList) has(name string) bool {
	for _, s := range l {
		if s == name {
			return true
		}
	}
	return false
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/e2e/bench"
	"github.com/lvme/lvme/test/e2e/fault"
	"github.com/lvme/lvme/test/e2e/suite"
	"github.com/lvme/lvme/test/e2e/walk"
)

// Limits of single things. The nodes' CPUs are emulated.
const (
	blockLimit  = 15 * time.Minute
	specLimit   = 25 * time.Minute
	settleLimit = 5 * time.Minute
	// spare is left of the budget when nothing is begun any more: what runs may need it.
	spare = 4 * time.Minute
)

// inside is the part that talks to the cluster, in the cluster's network.
func (c *config) inside(ctx context.Context) error {
	b, err := bench.Attach(ctx, filepath.Join(c.dir, "state", "control"))
	if err != nil {
		return err
	}
	t := &table{began: time.Now()}
	t.before(c.attached)
	var errs []error
	for _, name := range c.stages {
		began := time.Now()
		verdict, err := c.stage(ctx, b, t, name)
		t.add(name, time.Since(began), verdict, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			c.diagnose(ctx, b, name)
		}
	}
	t.print(c.budget)
	return errors.Join(errs...)
}

// deadline is when nothing more is begun.
func (c *config) deadline(t *table) time.Time {
	return t.began.Add(c.budget - t.earlier - spare)
}

// stage does one stage.
func (c *config) stage(ctx context.Context, b *bench.Bench, t *table, name string) (string, error) {
	fmt.Printf("=== %s\n", name)
	switch name {
	case walkStage:
		return c.walk(ctx, b)
	case specStage:
		return c.specs(ctx, b, c.deadline(t))
	}
	return c.faults(ctx, b, c.deadline(t))
}

// walk copies the walk-through into a shell. After it nothing may be left.
func (c *config) walk(ctx context.Context, b *bench.Bench) (string, error) {
	text, err := os.ReadFile(filepath.Join("docs", "walkthrough.md"))
	if err != nil {
		return "", err
	}
	blocks, err := walk.Parse(string(text))
	if err != nil {
		return "", fmt.Errorf("read docs/walkthrough.md: %w", err)
	}
	shell, err := walk.StartShell(os.Environ())
	if err != nil {
		return "", err
	}
	defer shell.Close()
	err = walk.Run(ctx, shell, blocks, blockLimit, func(s walk.Step) {
		fmt.Printf("%6.1f s  line %3d  %s\n", s.Took.Seconds(), s.Line, s.Section)
	})
	if err != nil {
		return "", err
	}
	v, err := b.Empty(ctx, settleLimit)
	fmt.Println("after it:", v)
	return fmt.Sprintf("%d blocks; left: %d volumes, %d leaked", len(blocks), v.Volumes+v.Snapshots, len(v.Leaked)), err
}

// filter leaves what -only says.
func filter[T any](all []T, expression string, name func(T) string) ([]T, error) {
	form, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(all), func(one T) bool { return !form.MatchString(name(one)) }), nil
}

// specs runs Kubernetes' storage tests.
func (c *config) specs(ctx context.Context, b *bench.Bench, deadline time.Time) (string, error) {
	if err := standIns(ctx, b); err != nil {
		return "", err
	}
	for _, image := range strings.FieldsFunc(c.images, func(r rune) bool { return r == ',' }) {
		if err := b.Do(ctx, "import", image); err != nil {
			return "", err
		}
	}
	var results []suite.Result
	for fs := range strings.SplitSeq(c.fs, ",") {
		r := c.runner(fs)
		specs, err := c.choose(ctx, r)
		if err != nil {
			return "", err
		}
		results = append(results, r.Run(ctx, specs, deadline)...)
	}
	fmt.Println(suite.Summary(results))
	v, err := b.Empty(ctx, settleLimit)
	fmt.Println("after it:", v)
	if c.report != "" {
		head := fmt.Sprintf("### %s\n\n", time.Now().UTC().Format("2006-01-02 15:04"))
		err = errors.Join(err, os.WriteFile(c.report, []byte(head+suite.Table(results)), 0o644))
	}
	if n := suite.Count(results)[suite.Failed]; n > 0 {
		err = errors.Join(err, fmt.Errorf("%d specs failed", n))
	}
	return suite.Summary(results), err
}

func (c *config) runner(fs string) suite.Runner {
	return suite.Runner{
		Program: c.testing, Kubectl: filepath.Join(c.dir, "state", "bin", "kubectl"), Kubeconfig: os.Getenv("KUBECONFIG"),
		Dir: filepath.Join(c.dir, "specs"), FS: fs, Jobs: c.jobs, Limit: specLimit,
		Started: func(string) {},
		Ended: func(r suite.Result) {
			fmt.Println(r.Line())
		},
	}
}

// choose finds the specs that are to be run.
func (c *config) choose(ctx context.Context, r suite.Runner) ([]string, error) {
	all, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	if !c.full {
		return suite.Choose(all, suite.Handful)
	}
	fit := suite.Applicable(all, r.FS)
	fmt.Printf("%s: %d specs for the driver, %d apply\n", r.FS, len(all), len(fit))
	return filter(fit, c.only, func(spec string) string { return spec })
}

// standInFor are images of the suite for which busybox does, but for a few specs of the whole suite: they only give a shell.
var standInFor = []string{
	"registry.k8s.io/e2e-test-images/nginx:1.15-4",
	"registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0",
}

// standIns gives busybox those names, in every node.
func standIns(ctx context.Context, b *bench.Bench) error {
	for _, node := range b.Nodes {
		for _, name := range standInFor {
			const tag = `ctr -n k8s.io images tag --force registry.k8s.io/e2e-test-images/busybox:1.37.0-1 "$1"`
			if _, err := b.Sh(ctx, node, tag, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// releases are lvme as the cluster was brought up with it, and as it is upgraded to.
func (c *config) releases() ([]cluster.Release, error) {
	var all []cluster.Release
	for _, dir := range []string{"release", nextDir} {
		r, err := cluster.ReadRelease(filepath.Join(c.dir, dir))
		if err != nil {
			return nil, fmt.Errorf("find lvme's release: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// faults breaks the cluster.
func (c *config) faults(ctx context.Context, b *bench.Bench, deadline time.Time) (string, error) {
	plays, err := filter(fault.Plays, c.only, func(p fault.Play) string { return p.Name })
	if err != nil {
		return "", err
	}
	if !c.full {
		plays = slices.DeleteFunc(plays, func(p fault.Play) bool { return !p.Quick })
	}
	releases, err := c.releases()
	if err != nil {
		return "", err
	}
	missed, err := fault.Run(ctx, b, releases, plays, deadline, func(r fault.Report) {
		word := "ok"
		if r.Err != nil {
			word = "FAILED"
		}
		fmt.Printf("%-6s %6.1f s  %s\n                 %s\n", word, r.Took.Seconds(), r.Name, r.Figures)
	})
	if len(missed) > 0 {
		fmt.Printf("not begun, for the time was over: %s\n", strings.Join(missed, "; "))
	}
	return fmt.Sprintf("%d faults, %d not begun", len(plays)-len(missed), len(missed)), err
}

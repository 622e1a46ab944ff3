// Command footprint measures what the agent costs at rest: it makes 100 volumes on a node of the bed, publishes ten of
// them, and then only asks for statistics and metrics, as a kubelet and Prometheus do. Meanwhile the agent must start
// no LVM command and take little memory and CPU; a broken limit makes the exit code non-zero.
//
// That no command is started is told twice, by the agent's own metrics and by the kernel's trace of every program that
// the node starts. The node's CPU is emulated: how much slower that is than this host's is measured in the same run,
// the limit is for a real CPU, and the raw figure is shown beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

const (
	volumes   = 100
	published = 10
	creators  = 4 // at a time

	// A kubelet asks for the statistics of a volume once a minute, Prometheus for metrics every 15 to 60 seconds: ten
	// volumes asked six times a minute are sixty volumes.
	statsEvery  = 10 * time.Second
	scrapeEvery = 15 * time.Second

	maxResidentKiB = 40 << 10
	maxCPU         = 0.01 // of one CPU
)

const driveConfig = `classes:
  - {name: default, select: {transport: [pcie]}}
`

func main() {
	window := flag.Duration("for", time.Minute, "observe for this `time`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute+*window)
	err := run(ctx, *window)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

// run makes the node, measures, and judges.
func run(ctx context.Context, window time.Duration) (err error) {
	say := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if err := bed.Build(ctx, bed.Options{}, say); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lvme-footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := rig.Build(ctx, dir)
	if err != nil {
		return err
	}
	node, err := bed.Start(ctx, bed.Options{Name: "node-1", Drives: []bed.Drive{
		{Serial: "REST-A", Size: 16 << 30}, {Serial: "REST-B", Size: 16 << 30},
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if err := rig.Install(ctx, node, binary, driveConfig); err != nil {
		return err
	}
	log := &rig.Tail{}
	defer func() {
		if err != nil {
			fmt.Fprintf(os.Stderr, "the agent's log ends with\n%s\n", log.Lines(40))
		}
	}()
	if _, err := rig.Sh(ctx, node, `"$@"`, rig.Binary, "init", "--yes"); err != nil {
		return err
	}
	agent, err := rig.StartAgent(ctx, node, log)
	if err != nil {
		return err
	}
	defer agent.Kill()
	start := time.Now()
	used, err := furnish(ctx, agent)
	if err != nil {
		return err
	}
	say("%d volumes, %d of them published, made in %.0f s", volumes, published, time.Since(start).Seconds())
	o := observer{node: node, agent: agent, used: used}
	seen, err := o.observe(ctx, window)
	if err != nil {
		return err
	}
	say("%s", seen)
	return seen.judge()
}

// furnish makes the volumes and publishes some; it returns those.
func furnish(ctx context.Context, agent *rig.Agent) ([]*rig.Volume, error) {
	made := make([]*rig.Volume, volumes)
	errs := make([]error, volumes)
	next := make(chan int)
	var work sync.WaitGroup
	for range creators {
		work.Go(func() {
			for i := range next {
				spec := rig.Spec{Name: fmt.Sprintf("pvc-%03d", i), FS: "ext4", Bytes: 128 << 20}
				made[i], errs[i] = agent.Create(ctx, spec)
				if errs[i] == nil && i < published {
					errs[i] = agent.Publish(ctx, made[i])
				}
			}
		})
	}
	for i := range volumes {
		next <- i
	}
	close(next)
	work.Wait()
	return made[:published], errors.Join(errs...)
}

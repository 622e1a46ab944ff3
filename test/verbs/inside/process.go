package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/verbs/figure"
)

// starts measures the agent's start in turn with a report of all drives. The agent of
// the last one goes on.
func (b *bench) starts(ctx context.Context) (s figure.Start, err error) {
	for _, c := range b.started {
		s.Commands = append(s.Commands, c.Args[0])
	}
	i := slices.Index(s.Commands, "fullreport")
	if i < 0 {
		return s, fmt.Errorf("the agent started without a report: %q", s.Commands)
	}
	if b.agent == nil { // the first one after a change beside it activates the pools
		if b.agent, _, err = startAgent(ctx); err != nil {
			return s, err
		}
	}
	for range b.order.Starts {
		if err := b.stop(); err != nil {
			return s, err
		}
		took, err := b.started[i].run()
		if err != nil {
			return s, err
		}
		s.Report = append(s.Report, figure.Of(took))
		if b.agent, took, err = startAgent(ctx); err != nil {
			return s, err
		}
		s.Times = append(s.Times, figure.Of(took))
		awaitNoLVM()
	}
	say("started %d times", b.order.Starts)
	return s, nil
}

func (b *bench) stop() error {
	awaitNoLVM()
	err := b.agent.stop()
	b.agent = nil
	return err
}

// memory is what the agent has resident, and the most that it ever had, in KiB.
func (b *bench) memory() (resident, peak int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.agent.process.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	return rig.ParseMemory(string(text))
}

// restAfter is longer than the agent waits until it copies the metadata of groups that
// were changed.
const restAfter = 25 * time.Second

// rest watches the agent with nothing to do.
func (b *bench) rest(ctx context.Context, r *figure.Rest) (err error) {
	last, since := -1, time.Now()
	for time.Since(since) < restAfter {
		w, err := b.agent.work(ctx)
		if err != nil {
			return err
		}
		if w.commands != last {
			last, since = w.commands, time.Now()
		}
		time.Sleep(time.Second)
	}
	cpu := func() (time.Duration, error) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.agent.process.Process.Pid))
		if err != nil {
			return 0, err
		}
		return rig.ParseCPU(string(text))
	}
	before, err := cpu()
	if err != nil {
		return err
	}
	time.Sleep(b.order.Rest)
	after, err := cpu()
	if err != nil {
		return err
	}
	r.Window, r.CPU = b.order.Rest, after-before
	r.ResidentKiB, r.PeakKiB, err = b.memory()
	return err
}

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/verbs/figure"
)

// atOnce has so many volumes created at once, in turn by the agent and bare.
func (b *bench) atOnce(ctx context.Context, calls int) (figure.AtOnce, error) {
	a := figure.AtOnce{Calls: calls}
	for batch := range b.order.Batches {
		tag := fmt.Sprintf("c%03d-%02d", calls, batch)
		turns := []func() error{
			func() error { return b.agentAtOnce(ctx, tag, &a) },
			func() error { return b.bareAtOnce(tag, &a) },
		}
		for i := range turns {
			if err := turns[(i+batch)%2](); err != nil {
				return a, err
			}
		}
		say("%d at once, %d of %d", calls, batch+1, b.order.Batches)
	}
	return a, nil
}

// agentAtOnce creates volumes at once and deletes them at once.
func (b *bench) agentAtOnce(ctx context.Context, tag string, a *figure.AtOnce) error {
	made, took := make([]*rig.Volume, a.Calls), make(figure.Times, a.Calls)
	errs := make([]error, a.Calls)
	all := atOnce(a.Calls, func(i int) {
		began := time.Now()
		made[i], errs[i] = b.agent.create(ctx, rig.Spec{Name: volumeName(tag + "-" + strconv.Itoa(i)), FS: "ext4", Bytes: benchBytes})
		took[i] = figure.Of(time.Since(began))
	})
	a.Lvme, a.Each = append(a.Lvme, figure.Of(all)), append(a.Each, took...)
	for i, err := range errs {
		if err != nil {
			a.Failed++
			say("creation %d of %d at once: %v", i, a.Calls, err)
		}
	}
	gone := atOnce(a.Calls, func(i int) {
		errs[i] = nil
		if made[i] != nil {
			errs[i] = b.agent.delete(ctx, made[i])
		}
	})
	a.Deleted = append(a.Deleted, figure.Of(gone))
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("delete %d volumes at once: %w", a.Calls, err)
		}
	}
	return nil
}

// atOnce does work so many times at once and says how long all took.
func atOnce(n int, work func(i int)) time.Duration {
	var all sync.WaitGroup
	began := time.Now()
	for i := range n {
		all.Go(func() { work(i) })
	}
	all.Wait()
	return time.Since(began)
}

// bareAtOnce runs the commands of as many creations, spread over the groups, in each
// group one after another. The agent stands still.
func (b *bench) bareAtOnce(tag string, a *figure.AtOnce) error {
	if err := b.agent.freeze(); err != nil {
		return err
	}
	errs := make([]error, len(b.groups))
	names := make([][]string, len(b.groups))
	took := atOnce(len(b.groups), func(g int) {
		for i := g; i < a.Calls && errs[g] == nil; i += len(b.groups) {
			name := "bare-" + tag + "-" + strconv.Itoa(i)
			_, errs[g] = runAll(b.creationIn(b.groups[g], name))
			names[g] = append(names[g], b.groups[g].name+"/v-"+volumeName(name))
		}
	})
	a.Bare = append(a.Bare, figure.Of(took))
	for g, err := range errs {
		if err == nil && len(names[g]) > 0 {
			_, err = lvm(append([]string{"lvremove", "--config", quiet, "-f"}, names[g]...)...).run()
		}
		if err != nil {
			return err
		}
	}
	return b.agent.thaw()
}

// creationIn are the noted commands of a creation, for another tag and group.
func (b *bench) creationIn(g group, tag string) (commands []command) {
	home := b.noteGroup()
	for _, c := range b.notes[create] {
		c = c.with(token, tag).with(home, g.name)
		for _, other := range b.groups {
			if other.name == home {
				c = c.with(other.device, g.device)
			}
		}
		commands = append(commands, c)
	}
	return commands
}

// Command torture torments a node of the bed: random calls to its agent with
// agents and commands that are killed in their middle and power that is cut, or
// every single death one after the other. After each, everything that is there
// is compared with what must be. It prints what was done and found, and its exit
// code is 1 if anything was.
//
//	torture -seed 7 -time 10m      random, the same for the same seed
//	torture -deaths                every death at every change of every verb
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/torture/mortal"
	"github.com/lvme/lvme/test/torture/node"
	"github.com/lvme/lvme/test/torture/walk"
)

type flags struct {
	seed        uint64
	steps       int
	time        time.Duration
	deaths      bool
	verbs, ways string
	every, from int
	nodes       int
	verbose     bool
}

func main() {
	var f flags
	flag.Uint64Var(&f.seed, "seed", 0, "the same `number` does the same; 0 for any")
	flag.IntVar(&f.steps, "steps", 0, "end after so many")
	flag.DurationVar(&f.time, "time", 0, "end after this `time`")
	flag.BoolVar(&f.deaths, "deaths", false, "every death at every change of every verb, instead of random ones")
	flag.StringVar(&f.verbs, "verbs", "", "deaths of verbs that match this `expression`")
	flag.StringVar(&f.ways, "ways", "", "deaths in ways that match this `expression`, as in: command")
	flag.IntVar(&f.every, "every", 1, "of the deaths only each so-many-th")
	flag.IntVar(&f.from, "from", 0, "beginning with this one")
	flag.IntVar(&f.nodes, "nodes", 1, "go through the deaths on so many nodes at once")
	flag.BoolVar(&f.verbose, "v", false, "say every step")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, f)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) error {
	if f.seed == 0 {
		f.seed = rand.Uint64N(1 << 32)
	}
	if f.steps == 0 && f.time == 0 {
		f.time = 10 * time.Minute
	}
	say := func(format string, args ...any) {
		fmt.Printf(time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
	}
	if err := bed.Build(ctx, bed.Options{}, say); err != nil {
		return err
	}
	log := func(string, ...any) {}
	if f.verbose {
		log = say
	}
	if f.deaths {
		return deaths(ctx, f, log)
	}
	return onNode(ctx, f.seed, func(n *node.Node) error { return random(ctx, n, f, log) })
}

// onNode does something on a node of its own.
func onNode(ctx context.Context, seed uint64, do func(*node.Node) error) (err error) {
	n, err := node.Start(ctx, seed)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintf(os.Stderr, "the agent's log ends with\n%s\n", n.Log.Lines(60))
		}
		err = errors.Join(err, n.Close())
	}()
	return do(n)
}

// random is a walk. It prints its seed first: that must be known whatever comes.
func random(ctx context.Context, n *node.Node, f flags, log func(string, ...any)) error {
	fmt.Printf("SEED=%d\n", f.seed)
	r, err := walk.Run(ctx, n, walk.Options{
		Name: fmt.Sprint("SEED=", f.seed), Dice: walk.Seeded(f.seed), Steps: f.steps, Time: f.time,
		FaultEvery: 3, Objects: 7, LookEvery: 8, Audit: true, Moments: 2 * time.Second, Log: log,
	})
	if err != nil {
		return err
	}
	fmt.Println(r)
	forgotten := n.Forgotten()
	fmt.Printf("drives were cut off with %d blocks of 4 KiB in their caches, and lost %d of them\n", forgotten.Written, forgotten.Lost)
	if len(r.Findings) > 0 {
		return fmt.Errorf("%d findings with SEED=%d", len(r.Findings), f.seed)
	}
	return nil
}

// deaths goes through the table, of which each node has a part.
func deaths(ctx context.Context, f flags, log func(string, ...any)) error {
	verbs, err := regexp.Compile(f.verbs)
	if err != nil {
		return err
	}
	ways, err := regexp.Compile(f.ways)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(mortal.Ways), func(h mortal.How) bool { return !ways.MatchString(string(h)) })
	var mu sync.Mutex
	var all []walk.Row
	found := 0
	var group sync.WaitGroup
	errs := make([]error, f.nodes)
	for i := range f.nodes {
		group.Go(func() {
			errs[i] = onNode(ctx, f.seed+uint64(i), func(n *node.Node) error {
				_, err := walk.Table(ctx, n, walk.TableOptions{
					Ways: chosen, Only: verbs.MatchString, Every: f.every * f.nodes, First: f.from + f.every*i,
					Log: func(format string, args ...any) { log("%d %s", i, fmt.Sprintf(format, args...)) },
					Done: func(r walk.Row) {
						mu.Lock()
						defer mu.Unlock()
						fmt.Println(r)
						all, found = append(all, r), found+len(r.Findings)
					},
				})
				return err
			})
		})
	}
	group.Wait()
	fmt.Printf("\n%s\n", walk.Summary(all))
	if found > 0 {
		errs = append(errs, fmt.Errorf("%d findings", found))
	}
	return errors.Join(errs...)
}

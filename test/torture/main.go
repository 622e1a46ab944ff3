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
	verbs       string
	every, from int
	verbose     bool
}

func main() {
	var f flags
	flag.Uint64Var(&f.seed, "seed", 0, "the same `number` does the same; 0 for any")
	flag.IntVar(&f.steps, "steps", 0, "end after so many")
	flag.DurationVar(&f.time, "time", 0, "end after this `time`")
	flag.BoolVar(&f.deaths, "deaths", false, "every death at every change of every verb, instead of random ones")
	flag.StringVar(&f.verbs, "verbs", "", "deaths of verbs that match this `expression`")
	flag.IntVar(&f.every, "every", 1, "of the deaths only each so-many-th")
	flag.IntVar(&f.from, "from", 0, "beginning with this one")
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

func run(ctx context.Context, f flags) (err error) {
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
	n, err := node.Start(ctx, f.seed)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintf(os.Stderr, "the agent's log ends with\n%s\n", n.Log.Lines(60))
		}
		err = errors.Join(err, n.Close())
	}()
	log := func(string, ...any) {}
	if f.verbose {
		log = say
	}
	if f.deaths {
		return deaths(ctx, n, f, log)
	}
	return random(ctx, n, f, log)
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

func deaths(ctx context.Context, n *node.Node, f flags, log func(string, ...any)) error {
	verbs, err := regexp.Compile(f.verbs)
	if err != nil {
		return err
	}
	found := 0
	rows, err := walk.Table(ctx, n, walk.TableOptions{
		Ways: mortal.Ways, Only: verbs.MatchString, Every: f.every, First: f.from, Log: log,
		Done: func(r walk.Row) {
			fmt.Println(r)
			found += len(r.Findings)
		},
	})
	fmt.Printf("\n%s\n", walk.Summary(rows))
	if err == nil && found > 0 {
		err = fmt.Errorf("%d findings", found)
	}
	return err
}

// Command inside is what the torture of a node needs in it: an agent that dies
// when it is told to, and eyes and hands. It is installed in the place of lvme.
//
//	inside init              take the drives A and B, as lvme init does
//	inside foreign           put what is not lvme's beside lvme's, and a VG on C
//	inside agent FLAGS       lvme agent, with the deaths that are ordered in Orders
//	inside look              all that is there, as JSON
//	inside fill PATH SEED    write to a published volume
//	inside sum PATH          a checksum of what is there
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/test/torture/mortal"
	"github.com/lvme/lvme/volume"
)

func main() {
	if err := do(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

func do(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("what?")
	}
	switch args[0] {
	case "init":
		return initialize(ctx)
	case "foreign":
		return makeForeign(ctx)
	case "agent":
		return serve(ctx, args[1:])
	case "look":
		s, err := look(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(s)
	case "fill":
		seed, err := strconv.ParseUint(args[2], 10, 64)
		if err != nil {
			return err
		}
		return fill(args[1], seed)
	case "sum":
		sum, err := sum(args[1])
		fmt.Println(sum)
		return err
	}
	return fmt.Errorf("%q?", args[0])
}

// config has room for both types of volumes. Overcommit lets many copies of
// small filesystems stand on small drives.
func config() drive.Config {
	cfg := drive.DefaultConfig()
	c := &cfg.Classes[0]
	c.Select.Serials = []string{"A", "B"}
	c.Thin.Share, c.Thick.Share, c.Reserve, c.Thin.Overcommit = 60, 6, 5, 4
	return cfg
}

func initialize(ctx context.Context) error {
	h, err := agent.ThisHost(run.Host{}, agent.DefaultKubeletDir)
	if err != nil {
		return err
	}
	s, err := volume.Open(ctx, h.StoreOptions(hostrecord.Dir, config()))
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Init(ctx, s.Plan(nil), func(string) {})
}

// serve is lvme agent as far as its flags are given here.
func serve(ctx context.Context, args []string) error {
	o := agent.Options{Config: config()}
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	o.Flags(flags, "node-1")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(mortal.OrdersDir, 0o700); err != nil {
		return err
	}
	life := mortal.Obedient()
	h, err := agent.ThisHost(mortal.Runner{Next: run.Host{}, Life: life}, o.KubeletDir)
	if err != nil {
		return err
	}
	h.Blocks, h.Mounts = mortal.Blocks{Next: h.Blocks, Life: life}, mortal.Mounts{Host: h.Mounts, Life: life}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	a, err := agent.New(ctx, o, h)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

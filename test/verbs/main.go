// Command verbs measures the control path: what CreateVolume, stage, snapshot and the
// others cost beside the commands of LVM that they need, with few volumes on a node
// and with thousands, one at a time and many at once; and the agent's start, memory
// and the deletion of a large volume.
//
// It boots a node of the bed for each number of volume groups and has the program
// inside measure there, beside a real agent. The agent is first watched: every
// command of LVM that it runs for a verb is noted, with its environment. Then agent
// and bare take turns, verb by verb, where bare runs what was noted in a loop that
// does nothing else; and so do the same commands without lvme's settings, and the
// steps of other drivers. The figures are printed as tables or JSON; one beyond its
// limit makes the exit code non-zero.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/verbs/figure"
)

// driveBytes is the size of a drive. Nearly nothing of it is written.
const driveBytes = 512 << 30

// insidePath is where the program inside is on the node.
const insidePath = "/usr/local/bin/verbs-inside"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verbs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	order, format, err := parse(args)
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	if err := bed.Build(ctx, bed.Options{}, say); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lvme-verbs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := rig.Build(ctx, dir)
	if err != nil {
		return err
	}
	inside, err := rig.Compile(ctx, dir, "test/verbs/inside")
	if err != nil {
		return err
	}
	report := figure.Report{Date: time.Now().UTC().Truncate(time.Second), Order: order}
	for _, groups := range order.Groups {
		node, err := measure(ctx, order, groups, binary, inside)
		if len(node.Sizes) > 0 {
			report.Nodes = append(report.Nodes, node)
		}
		if err != nil { // Hours may have gone into what there is.
			return errors.Join(fmt.Errorf("%d volume groups: %w", groups, err), report.Write(os.Stdout, format))
		}
	}
	if err := report.Write(os.Stdout, format); err != nil {
		return err
	}
	return report.Judge()
}

// parse reads the flags.
func parse(args []string) (o figure.Order, format string, err error) {
	o = figure.Order{Volumes: []int{10, 1000, 5000}, Groups: []int{1, 8}, AtOnce: []int{1, 10, 100}}
	flags := flag.NewFlagSet("verbs", flag.ContinueOnError)
	flags.Func("volumes", "measure with these `numbers` of volumes on the node, ascending (10,1000,5000)", numbers(&o.Volumes))
	flags.Func("groups", "in these `numbers` of volume groups, each on a node of its own (1,8)", numbers(&o.Groups))
	flags.Func("at-once", "create these `numbers` of volumes at once (1,10,100); 0 for none", numbers(&o.AtOnce))
	flags.IntVar(&o.Rounds, "rounds", 15, "measure each verb this `number` of times")
	flags.IntVar(&o.Batches, "batches", 3, "create volumes at once this `number` of times")
	flags.IntVar(&o.Starts, "starts", 5, "start the agent this `number` of times")
	flags.DurationVar(&o.Rest, "rest", time.Minute, "watch the agent at rest for this `time`")
	flags.Int64Var(&o.LargeGiB, "large", 100, "delete volumes of this `number` of GiB, all mapped, where there is one group; 0 for none")
	flags.BoolVar(&o.Peers, "peers", true, "measure the steps of other drivers too")
	flags.StringVar(&format, "o", "table", "output `format`: table or json")
	if err := flags.Parse(args); err != nil {
		return o, "", err
	}
	if len(o.AtOnce) == 1 && o.AtOnce[0] == 0 {
		o.AtOnce = nil
	}
	return o, format, check(o, format)
}

func check(o figure.Order, format string) error {
	switch {
	case o.Rounds < 1 || o.Batches < 1 || o.Starts < 1 || o.Rest <= 0 || o.LargeGiB < 0:
		return fmt.Errorf("at least one round, batch and start, and some rest: %+v", o)
	case 3*o.LargeGiB<<30 > driveBytes*3/4:
		return fmt.Errorf("-large %d: three such volumes do not fit into a drive of %d GiB", o.LargeGiB, driveBytes>>30)
	case !slices.IsSorted(o.Volumes):
		return fmt.Errorf("-volumes %v: a node's volumes become more, not fewer", o.Volumes)
	case format != "table" && format != "json":
		return fmt.Errorf("-o is %q, must be table or json", format)
	}
	for _, groups := range o.Groups {
		if groups < 1 || groups > 8 || o.Volumes[0] < groups {
			return fmt.Errorf("%d volumes in %d groups: 1 to 8 groups, and a volume for each", o.Volumes[0], groups)
		}
	}
	return nil
}

// numbers reads a list of them.
func numbers(into *[]int) func(string) error {
	return func(text string) error {
		*into = nil
		for word := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(word)
			if err != nil || n < 0 {
				return fmt.Errorf("%q is no number", word)
			}
			*into = append(*into, n)
		}
		return nil
	}
}

// measure measures on a node with so many drives, each a volume group. With an error
// come the figures that there are.
func measure(ctx context.Context, order figure.Order, groups int, binary, inside string) (n figure.Node, err error) {
	var drives []bed.Drive
	for i := range groups {
		drives = append(drives, bed.Drive{Serial: fmt.Sprintf("VERBS-%d", i), Size: driveBytes})
	}
	node, err := bed.Start(ctx, bed.Options{Name: rig.NodeID, Drives: drives})
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if err := node.Put(ctx, binary, rig.Binary, 0o755); err != nil {
		return n, err
	}
	if err := node.Put(ctx, inside, insidePath, 0o755); err != nil {
		return n, err
	}
	text, err := json.Marshal(order)
	if err != nil {
		return n, err
	}
	var out strings.Builder
	code, err := node.Run(ctx, bed.Cmd{Args: []string{insidePath, string(text), strconv.Itoa(groups)}, Stdout: &out, Stderr: os.Stderr})
	if code != 0 {
		err = errors.Join(fmt.Errorf("the program inside ended with exit code %d", code), err)
	}
	return last(out.String()), err
}

// last are the latest whole figures that the program inside has told.
func last(text string) (n figure.Node) {
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var later figure.Node
		if d.Decode(&later) != nil {
			return n
		}
		n = later
	}
}

// Command fleet measures the router with a fleet of agents that are simulated: each is a machine with the fake LVM, and on it the
// true store and controller service behind a true listener with mutual TLS on the loopback interface. Neither the kernel's LVM nor
// Kubernetes is in it: it tells what the router adds, what it costs, and whether bad nodes hurt good ones.
//
// There are three processes, so that each one's memory and CPU time are its own: this one asks and measures, and starts itself
// once as the router and once as all agents. What it found is printed as tables or JSON; a call that should have succeeded and
// did not, or a volume that is lost or left behind, makes the exit code non-zero.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// options are what is measured, and for how long.
type options struct {
	Agents, Volumes, Rounds int
	// Dead nodes are gone, half of them without a word; Hung ones hold their connection and answer no call.
	Dead, Hung int
	// Calls are how many volumes are created each way in a round, Callers how many callers there are at a time where
	// throughput is measured, Window how long that is.
	Calls, Callers int
	Window         time.Duration
	// Command is how long a changing LVM command is made to take in the second comparison.
	Command time.Duration

	// refresh is router.Config.Refresh, profiles a directory for the router's profiles, "" for none.
	refresh  time.Duration
	profiles string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := begin(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// begin is the process that the arguments ask for.
func begin(ctx context.Context, args []string) error {
	if len(args) == 2 && (args[0] == agentsRole || args[0] == routerRole) {
		// Its parent ends it, by closing its input: what interrupts the parent reaches it too.
		ctx = context.WithoutCancel(ctx)
		return runRole(ctx, args[0], args[1])
	}
	o := options{}
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.IntVar(&o.Agents, "agents", 1000, "`number` of agents")
	flags.IntVar(&o.Volumes, "volumes", 30000, "`number` of volumes on all of them")
	flags.IntVar(&o.Rounds, "rounds", 5, "`number` of rounds whose median counts")
	flags.IntVar(&o.Dead, "dead", 50, "`number` of nodes that die")
	flags.IntVar(&o.Hung, "hung", 10, "`number` of nodes that hang")
	flags.IntVar(&o.Calls, "calls", 200, "create this `number` of volumes each way in a round")
	flags.IntVar(&o.Callers, "callers", 8, "`number` of callers at a time")
	flags.DurationVar(&o.Window, "window", 10*time.Second, "measure throughput for this `time`")
	flags.DurationVar(&o.Command, "command", 50*time.Millisecond, "`time` that an LVM command is made to take in the second comparison")
	flags.StringVar(&o.profiles, "profiles", "", "write CPU and heap profiles of the router to this `directory`")
	format := flags.String("o", "table", "output `format`: table or json")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	klog.SetLogger(logr.Discard()) // gRPC's words on connections that are broken on purpose
	r, err := measure(ctx, o, startProcess, func(text string) { fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), text) })
	if err != nil {
		return err
	}
	if err := r.write(os.Stdout, *format); err != nil {
		return err
	}
	return r.judge()
}

func (o options) validate() error {
	switch {
	case o.Agents < 1 || o.Volumes < o.Agents || o.Rounds < 1 || o.Calls < 1 || o.Callers < 1 || o.Window <= 0:
		return fmt.Errorf("at least one agent, one volume for each, one round, call and caller, and some time: %+v", o)
	case o.Dead < 0 || o.Hung < 0 || o.Dead+o.Hung > o.Agents/2:
		return fmt.Errorf("of %d nodes, %d dead and %d hung ones are not at most half", o.Agents, o.Dead, o.Hung)
	}
	return nil
}

// runRole is the life of a process that another has started: orders come on its input, answers go to its output.
func runRole(ctx context.Context, role, dir string) error {
	if role == agentsRole {
		klog.SetLogger(logr.Discard()) // a thousand nodes have a thousand disks for it
	}
	if err := manyFiles(); err != nil {
		return err
	}
	return roles[role](ctx, dir, os.Stdin, os.Stdout)
}

// roles are what this program can be besides.
var roles = map[string]func(ctx context.Context, dir string, in io.Reader, out io.Writer) error{
	agentsRole: runAgents,
	routerRole: runRouter,
}

const (
	agentsRole = "agents"
	routerRole = "router"
)

// manyFiles lets the process have as many open files as it may.
func manyFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("look how many files may be open: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("have up to %d files open: %w", limit.Max, err)
	}
	return nil
}

// where says on what was measured.
func where() string {
	return fmt.Sprintf("%d CPUs, %s, %s/%s", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

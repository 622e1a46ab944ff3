// Command cluster brings a Kubernetes cluster with virtual bare-metal nodes up, leaves it running, and is the way into
// it: all of it lives in a network namespace of its own. It wants root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/cluster/parts"
)

const usage = `usage: cluster [flags] COMMAND

  build                  make what a cluster consists of, unless it is there
  up                     bring a cluster up, and leave it running with lvme installed
  down                   end it
  status                 whether it runs, and what of
  kubectl ARGUMENTS      kubectl as the cluster's administrator
  exec -- COMMAND        any command in the cluster's network, with KUBECONFIG, kubectl and helm; bash if none
  install                install lvme from this source once more, as after a change
  run NODE -- COMMAND    a command in a node, as root
  shell NODE             log in to a node
  off|on|reboot NODE     cut a node's power; switch it on; shut it down and boot it
  cut|heal NODE NODE     cut the network between two nodes, or a node and the control plane, which is called control
  pull|plug NODE SERIAL  pull a drive out; plug it in again
  hang|fail|mend NODE SERIAL   have a drive answer nothing, or only errors, until it is mended
  api-kill, api-start    end the API server; start it again
  api-pause, api-resume  have it answer nothing for a while

Flags:
`

// failed is the exit code when the cluster failed, not what was run in it.
const failed = 125

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	os.Exit(code)
}

// config is what the flags say.
type config struct {
	state
	nodes  int
	memory int
	cpus   int
	drives int
	size   int
	bare   bool
	agn    bool
	args   []string
}

func (c *config) flags(stderr io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	fs.StringVar(&c.dir, "dir", "out/cluster", "`directory` of the cluster's files; a cluster each can run in several")
	fs.IntVar(&c.nodes, "nodes", 2, "`number` of nodes")
	fs.IntVar(&c.memory, "memory", 3072, "memory of a node in `MiB`")
	fs.IntVar(&c.cpus, "cpus", 2, "`number` of CPUs of a node")
	fs.IntVar(&c.drives, "drives", 2, "`number` of NVMe drives of a node, with the serial numbers NODE-A, NODE-B, ...")
	fs.IntVar(&c.size, "size", 8, "size of a drive in `GiB`")
	fs.BoolVar(&c.bare, "bare", false, "without lvme")
	fs.BoolVar(&c.agn, "agnhost", false, "with the image of Kubernetes' own tests in the nodes")
	return fs
}

// options are the cluster's.
func (c *config) options(log func(string, ...any)) cluster.Options {
	opts := cluster.Options{Dir: c.files(), Nodes: c.nodes, MemoryMiB: c.memory, CPUs: c.cpus, Log: log}
	for i := range c.drives {
		opts.Drives = append(opts.Drives, bed.Drive{Serial: string(rune('A' + i)), Size: int64(c.size) << 30})
	}
	if c.agn {
		opts.Parts = append(opts.Parts, parts.ImageAgnhost)
	}
	return opts
}

// run does one command and returns the exit code.
func run(ctx context.Context, argv []string, stderr io.Writer) (int, error) {
	var c config
	flags := c.flags(stderr)
	if err := flags.Parse(argv); errors.Is(err, flag.ErrHelp) {
		return 0, nil
	} else if err != nil {
		return 2, nil //nolint:nilerr // flag has printed it
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2, errors.New("no command")
	}
	if err := c.open(); err != nil {
		return failed, err
	}
	command, args := flags.Arg(0), flags.Args()[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	c.args = args
	log := progress(stderr)
	switch command {
	case "build":
		return exit(cluster.Build(ctx, c.options(log)))
	case "up":
		return exit(c.up(ctx, argv[:len(argv)-flags.NArg()], stderr, log))
	case "supervise":
		return exit(c.supervise(ctx))
	case "down":
		return exit(c.down(ctx, stderr))
	case "status":
		return exit(c.status(ctx, os.Stdout))
	case "kubectl":
		return exit(c.enter(append([]string{"kubectl"}, args...)))
	case "exec":
		if len(args) == 0 {
			args = []string{"bash"}
		}
		return exit(c.enter(args))
	case "install":
		return exit(c.install(ctx, log))
	case "run", "shell":
		return c.inNode(ctx, command)
	}
	return exit(c.attached(func(r *cluster.Remote) error { return r.Do(ctx, command, args...) }))
}

func exit(err error) (int, error) {
	if err != nil {
		return failed, err
	}
	return 0, nil
}

// progress prints lines with the time since the start.
func progress(w io.Writer) func(string, ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(w, "cluster %5.1fs: %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// inNode runs a command, or a shell, in a node.
func (c *config) inNode(ctx context.Context, command string) (code int, err error) {
	if len(c.args) == 0 {
		return 2, fmt.Errorf("%s: no node", command)
	}
	node, argv := c.args[0], c.args[1:]
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	var tty *cluster.Terminal
	if command == "shell" {
		argv, tty = []string{"bash", "-l"}, terminalSize()
		defer rawTerminal()()
	}
	if len(argv) == 0 {
		return 2, errors.New("run: no command")
	}
	code = failed
	err = c.attached(func(r *cluster.Remote) (err error) {
		code, err = r.Run(ctx, node, argv, os.Stdin, os.Stdout, tty)
		return err
	})
	if err != nil {
		return failed, err
	}
	return code, nil
}

// status tells how the cluster is.
func (c *config) status(ctx context.Context, w io.Writer) error {
	return c.attached(func(r *cluster.Remote) error {
		nodes, err := r.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			fmt.Fprintf(w, "%s  address %s  pods %s  drives %s\n", n.Name, n.Address, n.Pods, strings.Join(n.Drives, " "))
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "kubeconfig %s, for use in the cluster's network: %s exec\n", c.file("kubeconfig"), relative(self))
		return nil
	})
}

// relative shortens a path that is below the working directory.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(short, "..") {
		return path
	}
	return short
}

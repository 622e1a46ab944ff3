// Command bed builds the images of package bed and runs things in a fresh node: a compiled test (as go test -exec
// does), a command, or a shell.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed"
)

const usage = `usage: bed COMMAND [flags] [ARGUMENTS]

  bed build                          make the images from Debian packages, unless they are there
  bed clean                          remove all images
  bed exec [flags] BINARY [ARGS...]  run a compiled test in a fresh node, with its testdata: go test -exec "bed exec" ./pkg
  bed run [flags] -- COMMAND...      run a command in a fresh node
  bed shell [flags]                  log in to a fresh node

Flags of exec, run and shell:
`

// failed is the exit code when the bed itself failed, not what ran in it.
const failed = 125

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	code, err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bed:", err)
	}
	os.Exit(code)
}

// run does one command and returns the exit code.
func run(ctx context.Context, argv []string, stderr io.Writer) (int, error) {
	command := ""
	if len(argv) > 0 {
		command, argv = argv[0], argv[1:]
	}
	var c config
	flags := c.flags(stderr)
	if err := flags.Parse(argv); errors.Is(err, flag.ErrHelp) {
		return 0, nil
	} else if err != nil {
		return 2, nil //nolint:nilerr // flag has printed it
	}
	c.args = flags.Args()
	log := progress(stderr)
	switch command {
	case "build":
		return exit(bed.Build(ctx, bed.Options{}, log))
	case "clean":
		return exit(bed.Clean())
	case "exec", "run", "shell":
		if command != "shell" && len(c.args) == 0 {
			return 2, fmt.Errorf("%s: nothing to run", command)
		}
		if err := bed.Build(ctx, bed.Options{}, log); err != nil {
			return failed, err
		}
		return c.inNode(ctx, command)
	}
	flags.Usage()
	return 2, fmt.Errorf("no command %q", command)
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
		fmt.Fprintf(w, "bed %5.1fs: %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// config is what the flags say.
type config struct {
	drives  int
	size    size
	listed  driveList
	memory  int
	cpus    int
	timeout time.Duration
	console string
	put     pairs
	get     pairs
	args    []string
}

func (c *config) flags(stderr io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("bed", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	c.size = 4 << 30
	fs.IntVar(&c.drives, "drives", 2, "`number` of NVMe drives, with the serial numbers BED0, BED1, ...")
	fs.Var(&c.size, "size", "`size` of each drive, as in 512M, 4G, 1T")
	fs.Var(&c.listed, "drive", "one drive of these `properties`: serial=A,size=2G,block=4096,eui64=0025385b71b00001,nguid=HEX,uuid=UUID,numa=1,\n"+
		"repeatable, in place of those of --drives; all keys may be left out")
	fs.IntVar(&c.memory, "memory", 0, "memory of the node in `MiB` (default 2048)")
	fs.IntVar(&c.cpus, "cpus", 0, "`number` of CPUs of the node (default 2)")
	fs.DurationVar(&c.timeout, "timeout", 0, "end after this `time` (default: of exec, half a minute after -test.timeout; else none)")
	fs.StringVar(&c.console, "console", "", "`file` that gets the guest's console")
	fs.Var(&c.put, "put", "copy a file into the node before the run: `hostpath=guestpath`, repeatable")
	fs.Var(&c.get, "get", "copy a file out of the node after the run: `guestpath=hostpath`, repeatable")
	return fs
}

// options are the node's.
func (c *config) options(console io.Writer) bed.Options {
	opts := bed.Options{MemoryMiB: c.memory, CPUs: c.cpus, Console: console}
	opts.Drives = c.listed
	if len(c.listed) == 0 {
		opts.Drives = make([]bed.Drive, c.drives)
	}
	for i := range opts.Drives {
		d := &opts.Drives[i]
		d.Serial = cmp.Or(d.Serial, "BED"+strconv.Itoa(i))
		d.Size = cmp.Or(d.Size, int64(c.size))
	}
	return opts
}

// pairs are two paths each: from and to.
type pairs [][2]string

func (p *pairs) String() string {
	return fmt.Sprint([][2]string(*p))
}

func (p *pairs) Set(text string) error {
	from, to, ok := strings.Cut(text, "=")
	if !ok || from == "" || to == "" {
		return fmt.Errorf("%q is not from=to", text)
	}
	*p = append(*p, [2]string{from, to})
	return nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/speed"
)

const benchHelp = `Measure what each layer between a drive and a file costs, side by side with fio:
the drive, dm-linear, thick and thin volumes, first touch, after a snapshot, and
filesystems. The agent must run, and fio and dmsetup be installed.

It makes volumes through the agent, works on these alone, and deletes them. The
drive itself is read and written only where a thick volume of its own lies,
after proof of that; a class without a thick share is measured without it. It
loads the drive as hard as it can: whoever else uses it will notice.

In each round all layers take turns. RATIO is the throughput against the lowest
layer that ran the workload, the median over the rounds; FROM and TO are the
least and the most. It also counts what one I/O of 4 KiB becomes below each
layer; if that is not what device-mapper is known to do, the exit code is 3.`

type benchFlags struct {
	speed.Options
	size              string
	seconds           float64
	layers, workloads []string
	socket, kubelet   string
	html              string
	clean, list       bool
}

func newBenchmark(env *environment) *cobra.Command {
	var f benchFlags
	var out output
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure what each layer between drive and file costs", Long: benchHelp,
		Example: "  lvme bench --rounds 3 --seconds 2 --size 1Gi     # a short one\n  lvme bench --class fast -o json --html bench.html >bench.json\n" +
			"  lvme bench --layers raw,thick,thin --workloads randread-4k,fdatasync-4k\n  lvme bench --list                                # the layers and workloads\n" +
			"  lvme bench --clean                               # take away what a killed run has left",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.list {
				return env.listBench()
			}
			if err := f.complete(); err != nil {
				return usageError{err}
			}
			return env.bench(cmd.Context(), f, out)
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	return cmd
}

func (f *benchFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.Class, "class", "", "drive class; the configuration's first by default")
	fs.StringVar(&f.Profile, "profile", "", "profile of the volumes: read-ahead, mount and mkfs options; theirs is general by default")
	fs.StringVar(&f.size, "size", "4Gi", "size of each volume; up to eight are made, and a snapshot")
	fs.IntVar(&f.Rounds, "rounds", 5, "how often all is measured")
	fs.Float64Var(&f.seconds, "seconds", 5, "how long each measurement takes")
	fs.IntVar(&f.Jobs, "jobs", min(8, runtime.NumCPU()), "jobs of workloads with several, each 32 deep")
	fs.StringSliceVar(&f.layers, "layers", nil, "only these `layers`, separated by commas (see --list)")
	fs.StringSliceVar(&f.workloads, "workloads", nil, "only these `workloads`, separated by commas (see --list)")
	fs.StringVar(&f.socket, "socket", agent.DefaultSocket, "the agent's CSI socket")
	fs.StringVar(&f.kubelet, "kubelet-dir", agent.DefaultKubeletDir, "directory below which the agent mounts volumes")
	fs.StringVar(&f.html, "html", "", "also write a page with plots to this `file`")
	fs.BoolVar(&f.list, "list", false, "only list the layers and workloads")
	fs.BoolVar(&f.clean, "clean", false, "only take away what a killed run has left")
}

// complete turns the flags' words into what they mean.
func (f *benchFlags) complete() (err error) {
	if f.Bytes, err = drive.ParseSize(f.size); err != nil {
		return fmt.Errorf("--size %q: %w", f.size, err)
	}
	f.Span = time.Duration(f.seconds * float64(time.Second))
	if f.Layers, err = speed.Pick(speed.Layers, func(l speed.Layer) string { return l.Name }, f.layers); err != nil {
		return fmt.Errorf("--layers: %w", err)
	}
	if f.Workloads, err = speed.Pick(speed.Workloads, func(w speed.Workload) string { return w.Name }, f.workloads); err != nil {
		return fmt.Errorf("--workloads: %w", err)
	}
	if !filepath.IsAbs(f.kubelet) {
		return fmt.Errorf("--kubelet-dir %q: must be an absolute path", f.kubelet)
	}
	return f.Validate()
}

// benchDir is where a run says that it runs.
const benchDir = "/run/lvme"

// bench measures until it is done or a signal comes, and shows what it has found.
func (env *environment) bench(ctx context.Context, f benchFlags, out output) error {
	if err := env.enter(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	unsaid := context.AfterFunc(ctx, func() {
		stop() // the second signal has its usual effect
		fmt.Fprintln(env.stderr, "lvme: ending; what was made is taken away")
	})
	defer unsaid()
	conn, err := grpc.NewClient("unix://"+f.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is asked any more
	machine, err := env.host(ctx, f.kubelet)
	if err != nil {
		return err
	}
	host := speed.ThisHost(machine.Runner, conn, f.kubelet, benchDir)
	if f.clean {
		return speed.Clean(ctx, host)
	}
	f.Say = func(format string, args ...any) { fmt.Fprintf(env.stderr, "lvme: "+format+"\n", args...) }
	report, err := speed.Run(ctx, f.Options, host)
	if err != nil {
		return err
	}
	if f.html != "" {
		if err := writePage(f.html, report); err != nil {
			return err
		}
	}
	return env.tellBench(report, out)
}

func writePage(path string, r speed.Report) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	defer func() {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}()
	return speed.Page(file, r)
}

// tellBench shows a report; the error says that counts are wrong.
func (env *environment) tellBench(r speed.Report, out output) error {
	var err error
	if out.form == asJSON {
		err = writeJSON(env.stdout, r)
	} else {
		err = env.tellBenchTables(r, out)
	}
	if err == nil && len(r.Findings) > 0 {
		err = errFindings
	}
	return err
}

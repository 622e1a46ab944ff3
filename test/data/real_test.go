package data

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
)

// agentMarker in the environment has this binary be an agent with the options
// that are its value, in JSON: a process that can be killed.
const agentMarker = "DATA_TEST_AGENT"

func agentMain(text string) (exitCode int) {
	err := func() error {
		var o agent.Options
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return err
		}
		host, err := agent.ThisHost(run.Host{}, o.KubeletDir)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		a, err := agent.New(ctx, o, host)
		if err != nil {
			return err
		}
		return a.Run(ctx)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		return 1
	}
	return 0
}

// realWorld is this machine, with an agent in a process of its own.
type realWorld struct {
	options agent.Options
	devices []string
	kernel  dm.Kernel
	host    *mount.Host
	process *exec.Cmd
	conn    *grpc.ClientConn
	logFile string
}

// reals keeps the node that cases share.
type reals struct {
	last   *node
	layout drive.Layout
	good   bool // the last case left it clean
	// dirty is the earlier life of the drives before the first node.
	dirty bool
}

// node is one with that layout and nothing in its pools.
func (r *reals) node(t *testing.T, layout drive.Layout) *node {
	t.Helper()
	if r.last == nil || !r.good || r.layout != layout {
		r.end(t)
		began := time.Now()
		r.last, r.layout = realNode(t, config(layout), !r.dirty), layout
		r.dirty = true
		t.Logf("a node with new pools in %.1f s", time.Since(began).Seconds())
	}
	r.good = false
	return r.last
}

func (r *reals) end(t *testing.T) {
	t.Helper()
	if r.last == nil {
		return
	}
	w := r.last.world.(*realWorld)
	if !r.good {
		t.Logf("the agent said last:\n%s", w.log())
	}
	w.kill(t)
	if !r.last.spoiled { // else its drives may be others by now
		w.clean(t)
	}
	r.last = nil
}

// bedDrives is how many drives the cases use.
const bedDrives = 2

// realNode takes the first drives of the bed, which have an earlier life.
func realNode(t *testing.T, cfg drive.Config, dirty bool) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "data")
	must(t, err)
	w := &realWorld{kernel: dm.Open(), logFile: filepath.Join(dir, "log")}
	w.options = agent.Options{
		Socket: filepath.Join(dir, "s", "csi.sock"), StateDir: filepath.Join(dir, "state"), KubeletDir: filepath.Join(dir, "kubelet"),
		NodeID: "node-1", Grace: agent.DefaultGrace, Config: cfg,
	}
	serials := strings.Split(os.Getenv("LVME_BED_DRIVES"), ",")
	w.options.Config.Classes[0].Select.Serials = serials[:bedDrives]
	must(t, os.MkdirAll(w.options.KubeletDir, 0o755))
	w.host = mount.New(run.Host{}, w.options.KubeletDir)
	h, err := agent.ThisHost(run.Host{}, w.options.KubeletDir)
	must(t, err)
	found, err := h.Drives(t.Context())
	must(t, err)
	for _, d := range found {
		if slices.Contains(serials[:bedDrives], d.Serial) {
			w.devices = append(w.devices, d.Path)
		}
	}
	w.clean(t)
	if dirty {
		for _, d := range w.devices {
			soil(t, d)
		}
	}
	furnish(t, h, w.options)
	n := &node{world: w, real: true, config: w.options.Config, root: w.options.KubeletDir}
	n.connect(t)
	n.wiped(t)
	n.used = n.poolUse(t)
	return n
}

// clean takes everything off the drives, as if by hand.
func (w *realWorld) clean(t *testing.T) {
	t.Helper()
	w.reboot(t)
	report, err := w.lvm().Scan(t.Context(), w.devices)
	must(t, err)
	for _, vg := range report.VGs {
		tool(t, "lvm", "vgremove", "-ff", "-y", "--devices", strings.Join(vg.VG().Devices, ","), vg.Name)
	}
	for _, d := range w.devices {
		tool(t, "wipefs", "-q", "-a", d)
	}
}

// tool runs one of the host's programs.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	res, err := run.Host{}.Run(context.WithoutCancel(t.Context()), run.Cmd{Name: name, Args: args, Changes: true})
	if err != nil || res.Code != 0 {
		t.Fatalf("%s %q: exit %d, %v: %s%s", name, args, res.Code, err, res.Stdout, res.Stderr)
	}
	return strings.TrimSpace(string(res.Stdout))
}

func (w *realWorld) start(t *testing.T) *grpc.ClientConn {
	t.Helper()
	options, err := json.Marshal(w.options)
	must(t, err)
	log, err := os.OpenFile(w.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	w.process = exec.Command("/proc/self/exe")
	w.process.Env = append(os.Environ(), agentMarker+"="+string(options))
	w.process.Stdout, w.process.Stderr = log, log
	must(t, w.process.Start())
	w.conn, err = grpc.NewClient("unix://"+w.options.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		probe, err := csi.NewIdentityClient(w.conn).Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if err == nil && probe.GetReady().GetValue() {
			return w.conn
		}
		if ctx.Err() != nil || w.process.ProcessState != nil {
			t.Fatalf("the agent does not serve: %v\n%s", err, w.log())
		}
		time.Sleep(20 * time.Millisecond) // CSI tells of readiness when it is asked, and not otherwise
	}
}

func (w *realWorld) kill(t *testing.T) {
	t.Helper()
	if w.process == nil {
		return
	}
	must(t, w.process.Process.Kill())
	_ = w.process.Wait() // it was killed
	w.process = nil
	must(t, w.conn.Close())
}

func (w *realWorld) stop(t *testing.T) {
	t.Helper()
	must(t, w.process.Process.Signal(syscall.SIGTERM))
	must(t, w.process.Wait())
	w.process = nil
	must(t, w.conn.Close())
}

func (w *realWorld) lvm() *lvm.LVM { return lvm.New(run.Host{}, w.kernel) }

func (w *realWorld) drives(*testing.T) []string { return w.devices }

// mounts are those below the root.
func (w *realWorld) mounts(t *testing.T) mount.Table {
	t.Helper()
	table, err := w.host.Table()
	must(t, err)
	return slices.DeleteFunc(table, func(p mount.Point) bool { return !strings.HasPrefix(p.Path, w.options.KubeletDir+"/") })
}

// reboot unmounts everything and takes every device-mapper device away, as far
// as a machine can forget while it runs.
func (w *realWorld) reboot(t *testing.T) {
	t.Helper()
	w.kill(t)
	for _, p := range slices.Backward(w.mounts(t)) {
		tool(t, "umount", p.Path)
	}
	w.commandsEnded(t)
	for range 10 {
		if names, err := w.kernel.Names(t.Context()); err == nil && len(names) == 0 {
			return
		}
		// What lies below others goes after them.
		_, _ = run.Host{}.Run(t.Context(), run.Cmd{Name: "dmsetup", Args: []string{"remove_all", "--retry"}, Changes: true})
	}
	names, _ := w.kernel.Names(t.Context())
	t.Fatalf("devices that do not go: %v", names)
}

// commandsEnded waits for what a killed agent left running: LVM ends its
// commands by itself.
func (w *realWorld) commandsEnded(t *testing.T) {
	t.Helper()
	eventually(t, "every program that the agent started has ended", func() bool {
		for _, name := range []string{"lvm", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "resize2fs", "xfs_growfs"} {
			if res, err := (run.Host{}).Run(t.Context(), run.Cmd{Name: "pgrep", Args: []string{"-x", name}}); err != nil || res.Code != 1 {
				return false
			}
		}
		return true
	})
}

func (w *realWorld) log() string {
	text, err := os.ReadFile(w.logFile)
	if err != nil {
		return err.Error()
	}
	const most = 12 << 10
	return string(text[max(0, len(text)-most):])
}

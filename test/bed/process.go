package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bootLimit is how long a guest may take from QEMU's start to its daemon's answer. A cold boot takes eight seconds on
// an idle machine, and half a minute on one with seven times as much to do as it can.
const bootLimit = 100 * time.Second

// bootAttempts is how often a boot is tried that ends with no answer: about one in a hundred under TCG loses the timer of
// a CPU while the kernel comes up, and stands still. Nothing has been done with the drives by then.
const bootAttempts = 2

// machine is one process of QEMU.
type machine struct {
	cmd     *exec.Cmd
	qmp     *qmp
	addr    string // the daemon's, on the host
	console *tail  // what the guest wrote
	stderr  *tail  // what QEMU wrote

	transfers int // files handed over as disks

	ended chan struct{} // closed when the process has ended
	err   error         // how; valid once ended is closed
}

// startMachine starts QEMU with a root disk and more arguments, and greets it. The process ends with this one.
func startMachine(ctx context.Context, img *image, rootDisk string, console io.Writer, more []string) (*machine, error) {
	argv := img.tool("bin/qemu-system-x86_64", append(append(img.machineArgs(), img.hostArgs(rootDisk)...), more...)...)
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("make QEMU's control socket: %w", err)
	}
	defer theirs.Close()
	m := &machine{
		cmd:     exec.Command(argv[0], argv[1:]...),
		console: &tail{also: console},
		stderr:  &tail{},
		ended:   make(chan struct{}),
	}
	m.cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+filepath.Join(img.cache.Path(img.tools), "tree/usr/lib/x86_64-linux-gnu/qemu"))
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.stderr
	m.cmd.ExtraFiles = []*os.File{theirs}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.launch(); err != nil {
		return nil, errors.Join(fmt.Errorf("start QEMU: %w", err), ours.Close())
	}
	if m.qmp, err = newQMP(ctx, ours); err == nil {
		m.addr, err = m.daemonPort(ctx)
	}
	if err != nil {
		m.kill()
		return nil, m.explain(fmt.Errorf("start QEMU: %w", err))
	}
	m.addr = net.JoinHostPort("127.0.0.1", m.addr)
	return m, nil
}

// boot starts QEMU and waits until the guest's daemon answers.
func boot(ctx context.Context, img *image, rootDisk string, console io.Writer, more []string) (*machine, error) {
	for attempt := 1; ; attempt++ {
		m, err := startMachine(ctx, img, rootDisk, console, more)
		if err != nil {
			return nil, err
		}
		limited, cancel := context.WithTimeout(ctx, bootLimit)
		err = m.awaitDaemon(limited)
		again := ctx.Err() == nil && (limited.Err() != nil || m.crashed())
		cancel()
		if err == nil {
			return m, nil
		}
		err = m.explain(fmt.Errorf("attempt %d: %w", attempt, err))
		m.kill()
		if !again || attempt == bootAttempts {
			return nil, err
		}
	}
}

// launch starts the process and waits for its end in the background, all on one thread that lives as long: the
// kernel sends the death signal when the starting thread ends, not the process.
func (m *machine) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.err = m.cmd.Wait()
			close(m.ended)
		}
	}()
	return <-started
}

// socketPair returns two connected sockets: one for here, one for a child.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "qmp"), os.NewFile(uintptr(fds[1]), "qmp")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// kill ends the process at once and waits until it is gone.
func (m *machine) kill() {
	_ = m.cmd.Process.Kill() // it may have ended by itself
	<-m.ended
	if m.qmp != nil {
		_ = m.qmp.conn.Close()
	}
}

// awaitEnd waits until the process has ended by itself.
func (m *machine) awaitEnd(ctx context.Context) error {
	select {
	case <-m.ended:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("wait for QEMU's end: %w", ctx.Err())
	}
}

// crashed says that QEMU has ended by an assertion of its own, as its translator does once in some hundreds of boots
// (10.0, iotlb_to_section).
func (m *machine) crashed() bool {
	select {
	case <-m.ended:
		var exit *exec.ExitError
		return errors.As(m.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGABRT
	default:
		return false
	}
}

// explain adds to an error what QEMU and the guest's console said last.
func (m *machine) explain(err error) error {
	if err == nil {
		return nil
	}
	var more strings.Builder
	select {
	case <-m.ended:
		fmt.Fprintf(&more, "\nQEMU has ended: %v", m.err)
	default:
	}
	if text := m.stderr.String(); text != "" {
		fmt.Fprintf(&more, "\nQEMU said: %s", text)
	}
	fmt.Fprintf(&more, "\nThe guest's console ends with:\n%s", m.console)
	return fmt.Errorf("%w%s", err, more.String())
}

// tail keeps the end of what is written to it, and may pass it on.
type tail struct {
	also io.Writer

	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailSize {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailSize:]...)
	}
	if t.also != nil {
		_, _ = t.also.Write(p) // a full disk for the console's log is no reason to stop the guest
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf[max(0, len(t.buf)-tailSize):]))
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// drainTime is how long the output of a command is awaited after its end: a daemon that it left behind may hold it.
const drainTime = 500 * time.Millisecond

// run runs a command in a process group of its own. When the host hangs up before the end, the group is killed.
// Everything from here on is told in frames, also that the command could not be started.
func run(conn *net.TCPConn, r wire.Run) error {
	if len(r.Args) == 0 {
		return errors.New("run: no command")
	}
	if err := wire.WriteJSON(conn, wire.Reply{}); err != nil {
		return nil //nolint:nilerr // the host went away
	}
	out := &frames{w: conn}
	raw, err := json.Marshal(exitOf(execute(conn, r, out)))
	if err != nil {
		return err
	}
	_ = out.send(wire.Ended, raw) // a host that went away needs no answer
	return nil
}

// execute runs the command to its end.
func execute(conn io.Reader, r wire.Run, out *frames) error {
	cmd := exec.Command(r.Args[0], r.Args[1:]...)
	cmd.Dir = r.Dir
	cmd.Env = append([]string{"PATH=" + path, "HOME=/root", "TERM=linux"}, r.Env...)
	cmd.WaitDelay = drainTime
	stdin, started, err := attach(cmd, r, out)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	drain := started()
	var ended atomic.Bool
	go listen(conn, cmd, stdin, &ended)
	err = cmd.Wait()
	ended.Store(true)
	drain()
	return err
}

// attach connects the command's standard streams with the host, through a terminal when one is wanted. It returns
// what writes to the command's input, and what to call after its start, which returns what to call after its end.
func attach(cmd *exec.Cmd, r wire.Run, out *frames) (io.WriteCloser, func() func(), error) {
	if r.TTY {
		return attachTTY(cmd, r, out)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = stream{out, wire.Stdout}, stream{out, wire.Stderr}
	stdin, err := cmd.StdinPipe()
	return stdin, func() func() { return func() {} }, err
}

// attachTTY gives the command a new session on a pseudo-terminal.
func attachTTY(cmd *exec.Cmd, r wire.Run, out *frames) (io.WriteCloser, func() func(), error) {
	master, slave, err := openTTY(r.Rows, r.Cols)
	if err != nil {
		return nil, nil, fmt.Errorf("set up a terminal: %w", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	drained := make(chan struct{})
	started := func() func() {
		slave.Close()
		go func() {
			defer close(drained)
			_, _ = io.Copy(stream{out, wire.Stdout}, master) // ends with EIO when the terminal's last user is gone
		}()
		return func() {
			select {
			case <-drained:
			case <-time.After(drainTime):
			}
			master.Close()
		}
	}
	return terminal{master}, started, nil
}

// terminal is the input of a command on a terminal. Its end is a key, since closing it would hang up.
type terminal struct {
	*os.File
}

func (t terminal) Close() error {
	_, err := t.Write([]byte{4})
	return err
}

// openTTY makes a pseudo-terminal.
func openTTY(rows, cols uint16) (master, slave *os.File, err error) {
	const unlock, number, size = 0x40045431, 0x80045430, 0x5414 // TIOCSPTLCK, TIOCGPTN, TIOCSWINSZ
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	var zero, n uint32
	window := [4]uint16{rows, cols}
	for op, arg := range map[uintptr]unsafe.Pointer{unlock: unsafe.Pointer(&zero), number: unsafe.Pointer(&n), size: unsafe.Pointer(&window)} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), op, uintptr(arg)); errno != 0 {
			return nil, nil, errors.Join(errno, master.Close())
		}
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}

// listen feeds the command from the host, and kills its process group when the host hangs up before the end. After
// the end the group may hold daemons that are meant to stay.
func listen(conn io.Reader, cmd *exec.Cmd, stdin io.WriteCloser, ended *atomic.Bool) {
	for {
		kind, payload, err := wire.ReadFrame(conn)
		switch {
		case ended.Load():
			return
		case err != nil:
			signalGroup(cmd, syscall.SIGKILL)
			return
		case kind == wire.Stdin:
			_, _ = stdin.Write(payload) // a command may close its input early
		case kind == wire.StdinClose:
			_ = stdin.Close()
		case kind == wire.Signal && len(payload) == 1:
			signalGroup(cmd, syscall.Signal(payload[0]))
		}
	}
}

// signalGroup signals the command and what it started. That the group may just have ended is no error.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) {
	_ = syscall.Kill(-cmd.Process.Pid, sig)
}

// exitOf tells how a command ended as a shell would: 128 and the signal's number for a killed one.
func exitOf(err error) wire.Exit {
	var failed *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return wire.Exit{}
	case !errors.As(err, &failed):
		return wire.Exit{Code: -1, Error: err.Error()}
	}
	if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return wire.Exit{Code: 128 + int(status.Signal())}
	}
	return wire.Exit{Code: failed.ExitCode()}
}

// frames writes a command's output to the host, one frame at a time.
type frames struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frames) send(kind wire.Kind, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wire.WriteFrame(f.w, kind, payload)
}

// stream is one of a command's outputs.
type stream struct {
	to   *frames
	kind wire.Kind
}

func (s stream) Write(p []byte) (int, error) {
	return len(p), s.to.send(s.kind, p)
}

package plane

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// process is one program of the control plane.
type process struct {
	name  string
	log   string // the file that it writes to
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended; cmd.ProcessState tells how
}

// launch starts a program whose output goes to the end of a file. It ends with this process.
func launch(program, log string, args []string) (*process, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{name: filepath.Base(program), log: log, cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel sends the death signal when the starting thread ends, not the process
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // the state says it all
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// kill ends the process at once and waits until it is gone. None of the programs keeps anything that it must write
// before, and the API server would wait for its clients.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// signal sends a signal to a process that runs.
func (p *process) signal(s os.Signal) error {
	select {
	case <-p.ended:
		return p.failure()
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// errEnded is a process's end that nobody asked for.
var errEnded = errors.New("has ended")

// failure tells how a process has ended and what it wrote last.
func (p *process) failure() error {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return errors.Join(fmt.Errorf("%s %w: %s", p.name, errEnded, p.cmd.ProcessState), err)
	}
	lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	last := bytes.Join(lines[max(0, len(lines)-10):], []byte("\n"))
	return fmt.Errorf("%s %w: %s; %s ends with:\n%s", p.name, errEnded, p.cmd.ProcessState, p.log, last)
}

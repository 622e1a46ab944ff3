package control

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// restartAfter is how long a program that has ended stays down.
const restartAfter = time.Second

// process is a program that is started anew whenever it ends, as a kubelet does it. It ends with this process.
type process struct {
	argv, env []string
	// host is the name of the machine that it believes to be on: sidecars tell each other apart by it.
	host string
	log  string // file that it writes to

	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	running *os.Process
	starts  int
}

// start starts it, after kill too.
func (p *process) start(t *testing.T) {
	t.Helper()
	out, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	p.quit, p.done = make(chan struct{}), make(chan struct{})
	go p.keep(out)
}

// keep runs the program until it is to quit.
func (p *process) keep(out *os.File) {
	runtime.LockOSThread() // the kernel sends the death signal when the starting thread ends, not the process
	defer close(p.done)
	defer out.Close()
	for {
		cmd := exec.Command("unshare", append([]string{"--uts", "sh", "-c",
			`echo "$1" > /proc/sys/kernel/hostname; shift; exec "$@"`, "sh", p.host}, p.argv...)...)
		cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if p.begin(cmd) {
			_ = cmd.Wait() // it is started anew however it ended
		}
		select {
		case <-p.quit:
			return
		case <-time.After(restartAfter):
		}
	}
}

func (p *process) begin(cmd *exec.Cmd) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.quit:
		return false
	default:
	}
	p.starts++
	if cmd.Start() != nil {
		return false
	}
	p.running = cmd.Process
	return true
}

// crash ends it without a warning. It is started anew.
func (p *process) crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		_ = p.running.Kill() // it may have ended by itself
	}
}

// kill ends it without a warning, and for good.
func (p *process) kill() {
	select {
	case <-p.quit:
	default:
		close(p.quit)
	}
	p.crash()
	<-p.done
}

// restarts is how often it was started but for the first time.
func (p *process) restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.starts-1, 0)
}

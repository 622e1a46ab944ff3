package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/lvme/lvme/router"
)

// order is what the process that measures tells another to do.
type order struct {
	Do        string
	Count     int               // of nodes
	Nodes     []int             // which are meant
	Delay     time.Duration     // of commands, or between refreshes
	Endpoints []router.Endpoint // that the router is told of
	Path      string            // of a profile
}

// answer is what the other says.
type answer struct {
	Error   string
	Nodes   []node
	Counts  map[string]int
	Process process
}

// node is a node as the outside knows it.
type node struct{ Name, Address, Store string }

// process is what a process takes.
type process struct {
	HeapBytes     int64 // live, after a collection
	ResidentBytes int64
	PeakBytes     int64 // the most that was resident so far
	Goroutines    int
	CPU           time.Duration // since it began
}

// peer is another process.
type peer struct {
	mu    sync.Mutex
	enc   *json.Encoder
	dec   *json.Decoder
	input io.Closer
	// wait returns when it has ended.
	wait func() error
}

// starter starts a process in that role.
type starter func(ctx context.Context, role, dir string) (*peer, error)

func startProcess(ctx context.Context, role, dir string) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, role, dir)
	log, err := os.Create(filepath.Join(dir, role+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the other process has its own
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return newPeer(in, out, func() error { return ended(cmd.Wait(), log.Name()) }), nil
}

// ended is why a process has ended, with the last of what it said.
func ended(err error, log string) error {
	if err == nil {
		return nil
	}
	const last = 4 << 10
	text, _ := os.ReadFile(log) // there may be nothing to add
	return fmt.Errorf("%w; its log ends with\n%s", err, text[max(len(text)-last, 0):])
}

func newPeer(in io.WriteCloser, out io.Reader, wait func() error) *peer {
	return &peer{enc: json.NewEncoder(in), dec: json.NewDecoder(out), input: in, wait: wait}
}

// ask has the other process do something and waits for its answer.
func (p *peer) ask(o order) (answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var a answer
	err := p.enc.Encode(o)
	if err == nil {
		err = p.dec.Decode(&a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return a, fmt.Errorf("have it %s: %w", o.Do, err)
	}
	return a, nil
}

// end ends the other process.
func (p *peer) end() error { return errors.Join(p.input.Close(), p.wait()) }

// obey does what it is told until nobody is there to tell.
func obey(in io.Reader, out io.Writer, do func(order) (answer, error)) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		switch err := dec.Decode(&o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read an order: %w", err)
		}
		a, err := do(o)
		if err != nil {
			a.Error = err.Error()
		}
		if err := enc.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// takes is what this process takes now.
func takes() (process, error) {
	debug.FreeOSMemory() // what was freed is not the router's any more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p := process{HeapBytes: int64(m.HeapAlloc), Goroutines: runtime.NumGoroutine()}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return p, err
	}
	for line := range bytes.Lines(text) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), "VmRSS: %d kB", &kib); n == 1 {
			p.ResidentBytes = kib << 10
		}
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %d kB", &kib); n == 1 {
			p.PeakBytes = kib << 10
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return p, err
	}
	p.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return p, nil
}

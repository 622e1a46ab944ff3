package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/internal/hostns"
	"github.com/lvme/lvme/internal/run"
)

// environment is all that the commands know of the world around them.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// interactive says that somebody can be asked.
	interactive bool
	now         func() time.Time
	// getenv reads an environment variable, hostname the name of the host.
	getenv   func(string) string
	hostname func() (string, error)
	// enter makes the process one of the host; it is called before anything of
	// the host is touched, and may start the program anew.
	enter func() error
	// given is where a file that was given to this program is to be found: in a
	// container one of the container. It is asked after enter.
	given func(path string) string
	// readFile reads such a file.
	readFile func(path string) ([]byte, error)
	// host is the machine; volumes are mounted below mountRoot.
	host func(ctx context.Context, mountRoot string) (agent.Host, error)
}

// newEnvironment is the true one.
func newEnvironment() *environment {
	p := &process{}
	return &environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, interactive: isTerminal(os.Stdin),
		now: time.Now, getenv: os.Getenv, hostname: os.Hostname,
		enter: p.enter, given: p.given, readFile: p.readFile, host: p.host,
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// process is this process on its host.
type process struct {
	image *os.File // root of the container's image, nil on a host directly
}

func (p *process) enter() (err error) {
	if os.Geteuid() != 0 {
		return errors.New("drives and LVM are root's: run it as root")
	}
	if p.image, err = hostns.Enter(os.Environ()); err != nil {
		return fmt.Errorf("join the host's namespaces: %w", err)
	}
	return nil
}

// given goes by the descriptor of the image's root, whose paths mean files of
// the host by now.
func (p *process) given(path string) string {
	if p.image == nil {
		return path
	}
	return filepath.Join(fmt.Sprintf("/proc/self/fd/%d", p.image.Fd()), path)
}

// readFile reads a file of the image and, where it has none of that name, the
// host's: a node may have a configuration of its own.
func (p *process) readFile(path string) ([]byte, error) {
	data, err := os.ReadFile(p.given(path))
	if p.image != nil && errors.Is(err, fs.ErrNotExist) {
		return os.ReadFile(path)
	}
	return data, err
}

// host starts commands that change state in a cgroup of their own where the
// host has one for them.
func (p *process) host(ctx context.Context, mountRoot string) (agent.Host, error) {
	cgroup, err := hostns.CommandCgroup()
	if err != nil {
		klog.FromContext(ctx).V(1).Info("commands run in this process's cgroup", "because", err.Error())
	}
	return agent.ThisHost(run.Host{Cgroup: cgroup}, mountRoot)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/internal/hostns"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/kube"
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
	// the host is touched, or standard input read, and may start the program anew.
	enter func() error
	// given is where a file that was given to this program is to be found: in a
	// container one of the container. It is asked after enter.
	given func(path string) string
	// readFile reads such a file.
	readFile func(path string) ([]byte, error)
	// offer gives people on the host this program as a command, and that
	// configuration for it, until withdraw is called.
	offer func(ctx context.Context, config string) (withdraw func())
	// host is the machine; volumes are mounted below mountRoot.
	host func(ctx context.Context, mountRoot string) (agent.Host, error)
	// cluster makes the clients of the API server.
	cluster func(kubeconfig string) (kube.Clients, error)
}

// newEnvironment is the true one.
func newEnvironment() *environment {
	p := &process{}
	return &environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, interactive: isTerminal(os.Stdin),
		now: time.Now, getenv: os.Getenv, hostname: os.Hostname,
		enter: p.enter, given: p.given, readFile: p.readFile, offer: p.offer, host: p.host, cluster: kube.Connect,
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// process is this process on its host.
type process struct {
	entered bool
	image   *os.File // root of the container's image, nil on a host directly
}

func (p *process) enter() (err error) {
	if p.entered {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("drives and LVM are root's: run it as root")
	}
	if p.image, err = hostns.Enter(os.Environ()); err != nil {
		return fmt.Errorf("join the host's namespaces: %w", err)
	}
	p.entered = true
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

// offered and offeredConfig are where people on the host find the program of a
// container and the configuration that its agent was given.
const (
	offered       = "/run/lvme/lvme"
	offeredConfig = "/run/lvme/config.yaml"
)

// offer puts links to this program and to its configuration where people and
// commands on the host find them. A program that was started in a container has
// no path there, and the container has none to give either: `kubectl exec`
// enters the namespaces that the agent has gone to.
func (p *process) offer(ctx context.Context, config string) (withdraw func()) {
	if p.image == nil {
		return func() {}
	}
	self := fmt.Sprintf("/proc/%d", os.Getpid())
	removeProgram, err := link(offered, self+"/exe")
	removeConfig, configErr := link(offeredConfig, filepath.Join(self, "fd", strconv.Itoa(int(p.image.Fd())), config))
	if err := errors.Join(err, configErr); err != nil {
		klog.FromContext(ctx).Error(err, "there is no command for people on this host")
	}
	return func() { removeProgram(); removeConfig() }
}

// link makes path a link to target, instead of any link that an agent that died
// has left there. What is removed in the end is this link only.
func link(path, target string) (remove func(), err error) {
	remove = func() {
		if have, err := os.Readlink(path); err == nil && have == target {
			_ = os.Remove(path) // a link that leads nowhere does no harm
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return remove, err
	}
	if _, err := os.Readlink(path); err == nil {
		if err := os.Remove(path); err != nil {
			return remove, err
		}
	}
	return remove, os.Symlink(target, path)
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

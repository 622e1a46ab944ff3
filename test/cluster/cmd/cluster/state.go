package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/test/cluster"
)

// state is the directory of a cluster: a lock, which the process that runs the cluster holds and whose content is its
// process id, and the cluster's files.
type state struct {
	dir string
}

// open makes the directory, and its path absolute.
func (s *state) open() (err error) {
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	return os.MkdirAll(s.dir, 0o755)
}

// files is the directory of the cluster's own files.
func (s *state) files() string {
	return filepath.Join(s.dir, "state")
}

func (s *state) file(name string) string {
	return filepath.Join(s.files(), name)
}

// errRuns tells that the lock is held.
var errRuns = errors.New("a cluster runs already: end it with `make cluster-down`")

// lock takes the lock for as long as this process lives, or returns errRuns.
func (s *state) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errRuns
		}
		return nil, err
	}
	return f, nil
}

// errNone tells that no cluster runs.
var errNone = errors.New("no cluster runs here: bring one up with `make cluster`")

// supervisor returns the id of the process that runs the cluster, or errNone.
func (s *state) supervisor() (int, error) {
	f, err := s.lock()
	if err == nil {
		f.Close()
		return 0, errNone
	}
	if !errors.Is(err, errRuns) {
		return 0, err
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, "lock"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("the cluster is being brought up or ended: %w", err)
	}
	return pid, nil
}

// attached does something with the cluster that runs.
func (s *state) attached(do func(*cluster.Remote) error) error {
	if _, err := s.supervisor(); err != nil {
		return err
	}
	return do(cluster.Attach(s.file("control")))
}

// enter becomes a program in the cluster's network.
func (s *state) enter(argv []string) error {
	pid, err := s.supervisor()
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.file("kubeconfig")); err != nil {
		return fmt.Errorf("the cluster is being brought up: %w", err)
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("find the cluster's network: %w", err)
	}
	defer namespace.Close()
	path := s.file("bin") + ":" + os.Getenv("PATH")
	if err := errors.Join(os.Setenv("PATH", path), os.Setenv("KUBECONFIG", s.file("kubeconfig"))); err != nil {
		return err
	}
	program, err := lookPath(argv[0], path)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the namespace is the thread's
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the cluster's network: %w", err)
	}
	return fmt.Errorf("run %s: %w", program, syscall.Exec(program, argv, os.Environ()))
}

// lookPath finds a program.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		program := filepath.Join(dir, name)
		if unix.Access(program, unix.X_OK) == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s", name, path)
}

// endTime is how long an end may take.
const endTime = time.Minute

// down ends the cluster and removes its files but the logs.
func (s *state) down(ctx context.Context, stderr io.Writer) error {
	pid, err := s.supervisor()
	if errors.Is(err, errNone) {
		fmt.Fprintln(stderr, "cluster: none runs")
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return fmt.Errorf("end the cluster, process %d: %w", pid, err)
	}
	for {
		f, err := s.lock()
		if err == nil {
			f.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			// What it started ends with it.
			return errors.Join(fmt.Errorf("process %d did not end within %s and is killed", pid, endTime), unix.Kill(pid, unix.SIGKILL))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

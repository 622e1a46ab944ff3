// Package run starts the host's programs: LVM, mkfs, blkid and the like.
//
// It is the only package that imports os/exec, so that every program lvme
// starts obeys the same rules: arguments as a list and never through a shell,
// LC_ALL=C, standard input closed, standard output and standard error apart,
// and a program that changes state is never killed because somebody stopped
// waiting for it.
//
// It knows no program and judges no exit code; that is its callers' work.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ErrNotInstalled reports that a program does not exist on this host.
var ErrNotInstalled = errors.New("program not installed")

// killDelay is how long a cancelled read may keep its pipes open after it was
// killed: a child in uninterruptible sleep must not hold its caller for ever.
const killDelay = 2 * time.Second

// Cmd is one program to run.
type Cmd struct {
	// Name is the program, looked up in the host's system directories.
	Name string
	Args []string
	// Stdin is given to the program; empty means /dev/null, so that nothing
	// ever waits for an answer to a prompt.
	Stdin []byte
	// Changes says that the program changes state. Such a program is never
	// killed when the context ends: Run returns when the program has ended.
	Changes bool
}

// String is the command line as a person would type it, for errors and logs.
func (c Cmd) String() string {
	return strings.Join(append([]string{c.Name}, c.Args...), " ")
}

// Result is what a program that ran to its end has left.
type Result struct {
	Stdout, Stderr []byte
	// Code is the exit code; a program ended by a signal has 128 + signal.
	Code int
	// Took is the wall-clock time from start to end.
	Took time.Duration
}

// Runner runs one program to its end. The error says that the program could
// not be started or was cut short; a program that ran and failed is a Result
// with another Code than 0.
type Runner interface {
	Run(ctx context.Context, c Cmd) (Result, error)
}

// searchPath is fixed: the environment of a container says nothing about the
// host in whose namespaces the agent runs.
var searchPath = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"}

// Host runs programs on this host.
type Host struct {
	// Cgroup is an open directory of a version 2 cgroup in which programs
	// that change state are started, or nil for the caller's own. With it the
	// end or the memory limit of the agent's pod never kills LVM half-way.
	Cgroup *os.File
}

var _ Runner = Host{}

// Run implements Runner.
func (h Host) Run(ctx context.Context, c Cmd) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("run %s: %w", c, err)
	}
	path, err := lookUp(c.Name)
	if err != nil {
		return Result{}, err
	}
	said, err := newOutput()
	if err != nil {
		return Result{}, fmt.Errorf("run %s: %w", c, err)
	}
	defer said.close()
	cmd := h.command(ctx, path, c, said)
	start := time.Now()
	if err = cmd.Start(); err == nil {
		await(cmd.Process)
		err = cmd.Wait()
	}
	res := Result{Stdout: said.out(), Stderr: said.err(), Took: time.Since(start)}
	var exit *exec.ExitError
	switch {
	case !c.Changes && ctx.Err() != nil && err != nil:
		return res, fmt.Errorf("run %s: %w", c, context.Cause(ctx))
	case errors.As(err, &exit):
		res.Code = exitCode(exit)
		return res, nil
	case errors.Is(err, exec.ErrWaitDelay):
		// It has succeeded; a process that it left behind still holds what it
		// was given on standard input.
		return res, nil
	case err != nil:
		return res, fmt.Errorf("run %s: %w", c, err)
	}
	return res, nil
}

func (h Host) command(ctx context.Context, path string, c Cmd, said output) *exec.Cmd {
	if c.Changes {
		ctx = context.WithoutCancel(ctx)
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + strings.Join(searchPath, ":"), "LVM_SUPPRESS_FD_WARNINGS=1"}
	cmd.Dir = "/"
	if len(c.Stdin) > 0 {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	cmd.Stdout, cmd.Stderr = said.stdout, said.stderr
	// A group of its own: a signal sent to the agent's group does not reach it,
	// and a cancelled read is ended together with its children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.Changes && h.Cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(h.Cgroup.Fd())
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	return cmd
}

func lookUp(name string) (string, error) {
	if strings.Contains(name, "/") {
		if !executable(name) {
			return "", fmt.Errorf("%s: %w", name, ErrNotInstalled)
		}
		return name, nil
	}
	for _, dir := range searchPath {
		if path := dir + "/" + name; executable(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w in %s", name, ErrNotInstalled, strings.Join(searchPath, ":"))
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

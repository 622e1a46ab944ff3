package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// lvmPath is where the agent finds LVM, hiddenLVM where it is while commands are
	// noted, notes where they are.
	lvmPath   = "/usr/sbin/lvm"
	hiddenLVM = "/usr/sbin/lvm-noted"
	notes     = "/run/verbs-commands"

	// commandCgroup is where the agent has commands run.
	commandCgroup = "/sys/fs/cgroup/lvme/commands"
)

// command is one command of LVM.
type command struct {
	Args, Env []string
}

// lvm is a command as a person would type it.
func lvm(args ...string) command { return command{Args: args, Env: os.Environ()} }

// reads are the verbs that change nothing.
var reads = []string{"version", "fullreport", "lvs", "vgs", "pvs", "vgcfgbackup"}

func (c command) changes() bool { return !slices.Contains(reads, c.Args[0]) }

// with is the command with one text in the place of another.
func (c command) with(from, to string) command {
	args := slices.Clone(c.Args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], from, to)
	}
	return command{args, c.Env}
}

// plain is the command without what lvme adds to each: the drives that it may see,
// and settings in the place of the host's.
func (c command) plain() command {
	var args []string
	for i := 0; i < len(c.Args); i++ {
		if c.Args[i] == "--config" || c.Args[i] == "--devices" {
			i++
			continue
		}
		args = append(args, c.Args[i])
	}
	return command{args, c.Env}
}

// run runs it as bare as can be, in the agent's cgroup for commands, and says how long
// it took.
func (c command) run() (time.Duration, error) {
	said, err := os.CreateTemp("/run", "verbs-")
	if err != nil {
		return 0, err
	}
	defer said.Close()
	if err := os.Remove(said.Name()); err != nil {
		return 0, err
	}
	cgroup, err := os.Open(commandCgroup)
	if err != nil {
		return 0, err
	}
	defer cgroup.Close()
	cmd := &exec.Cmd{
		Path: lvmPath, Args: append([]string{"lvm"}, c.Args...), Env: c.Env, Dir: "/", Stderr: said,
		SysProcAttr: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())},
	}
	began := time.Now()
	err = cmd.Run()
	took := time.Since(began)
	if err != nil {
		text := make([]byte, 4096)
		n, _ := said.ReadAt(text, 0)
		err = fmt.Errorf("lvm %s: %w: %s", strings.Join(c.Args, " "), err, bytes.TrimSpace(text[:n]))
	}
	return took, err
}

// runAll runs commands one after another.
func runAll(commands []command) (took time.Duration, err error) {
	for _, c := range commands {
		one, err := c.run()
		if err != nil {
			return 0, err
		}
		took += one
	}
	return took, nil
}

// output is what a program says.
func output(name string, args ...string) (string, error) {
	var said, complaint bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return strings.TrimSpace(said.String()), nil
}

// note notes the command that it is called as, and becomes it.
func note(args []string) error {
	line, err := json.Marshal(command{args[1:], os.Environ()})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return syscall.Exec(hiddenLVM, append([]string{"lvm"}, args[1:]...), os.Environ())
}

// noting stands before LVM until the returned function is called.
func noting() (end func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Rename(lvmPath, hiddenLVM); err != nil {
		return nil, err
	}
	end = func() error { return os.Rename(hiddenLVM, lvmPath) }
	if err := os.Symlink(self, lvmPath); err != nil {
		return nil, errors.Join(err, end())
	}
	return end, nil
}

// inBackground is what the agent runs by itself when a group has been left alone.
const inBackground = "vgcfgbackup"

// noted are the commands since the last call, but those in the background.
func noted() (commands []command, err error) {
	text, err := os.ReadFile(notes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, err
		}
		if c.Args[0] != inBackground {
			commands = append(commands, c)
		}
	}
	return commands, os.RemoveAll(notes)
}

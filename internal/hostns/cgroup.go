package hostns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// cgroupMount is where version 2 of cgroups is mounted on every host that has
// it as its only version.
const cgroupMount = "/sys/fs/cgroup"

// group is our cgroup below the mount, and commands the one in it for commands
// that change state.
const (
	group    = "lvme"
	commands = group + "/commands"
)

// weight is the share of a busy CPU that commands get beside all pods, which
// have a few thousand together (cgroup-v2.rst, cpu.weight): the most there is.
// A command of LVM is short, one of a volume group runs at a time, and while it
// has a device suspended whoever writes to it waits for its turn. What mends and
// makes filesystems runs here too; somebody waits for it, and it takes one CPU.
const weight = "10000"

// CommandCgroup opens the cgroup in which commands that change state are
// started, making it if need be. It is outside every pod, so that neither the
// end of the agent's pod nor its memory limit kills LVM half-way. It has no
// limits of its own, and comes first where the CPUs are busy. Call it after
// Enter. The error says why there is none; the agent works without.
func CommandCgroup() (*os.File, error) { return openCgroup(cgroupMount) }

func openCgroup(mount string) (*os.File, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(mount, &s); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: mount, Err: err}
	}
	if s.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("%s is not cgroup version 2", mount)
	}
	dir := mount + "/" + commands
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup for commands: %w", err)
	}
	_ = weigh(mount + "/" + group) // a host may do without a controller for the CPU
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cgroup for commands: %w", err)
	}
	return f, nil
}

// weigh has a cgroup come first where the CPUs are busy.
func weigh(dir string) error {
	f, err := os.OpenFile(dir+"/cpu.weight", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(weight)
	return errors.Join(err, f.Close())
}

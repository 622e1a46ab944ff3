package hostns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// cgroupMount is where version 2 of cgroups is mounted on every host that has
// it as its only version.
const cgroupMount = "/sys/fs/cgroup"

// commands is the cgroup for commands that change state, below the mount.
const commands = "lvme/commands"

// CommandCgroup opens the cgroup in which commands that change state are
// started, making it if need be. It is outside every pod, so that neither the
// end of the agent's pod nor its memory limit kills LVM half-way. It has no
// limits of its own. Call it after Enter. The error says why there is none;
// the agent works without.
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
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cgroup for commands: %w", err)
	}
	return f, nil
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// restart shuts the machine down as an init system would: processes ended, file systems unmounted. QEMU is told not
// to boot again, so it exits, and the host starts it anew.
func restart(conn io.Writer) error {
	if err := wire.WriteJSON(conn, wire.Reply{}); err != nil {
		return nil //nolint:nilerr // the host went away
	}
	say("restart")
	endProcesses(5 * time.Second)
	unmountAll()
	syscall.Sync()
	if err := syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		say("remount / read-only: %v", err) // the sync has been done: the journal does the rest
	}
	return syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
}

// endProcesses asks every process but this and process 1 to end, and kills what has not after the grace time.
func endProcesses(grace time.Duration) {
	_ = syscall.Kill(-1, syscall.SIGTERM)
	_ = syscall.Kill(-1, syscall.SIGCONT)
	for end := time.Now().Add(grace); othersRun() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(-1, syscall.SIGKILL)
	for end := time.Now().Add(grace); othersRun() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

// othersRun tells whether there is a living user process besides this and process 1.
func othersRun() bool {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		exe, err := os.Readlink(dir + "/exe") // kernel threads and zombies have none
		if err == nil && exe != "" {
			return true
		}
	}
	return false
}

// unmountAll unmounts every block device but the root disk, the last mounted first.
func unmountAll() {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		say("read the mounts: %v", err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		var source, target string
		if _, err := fmt.Sscan(lines[i], &source, &target); err != nil || !strings.HasPrefix(source, "/dev/") || target == "/" {
			continue
		}
		if err := syscall.Unmount(target, 0); err != nil {
			say("unmount %s: %v", target, err)
		}
	}
}

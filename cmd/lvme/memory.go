package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

const (
	// gcPercent and memoryLimit suit a process whose live memory is a few MiB
	// and that stands on every node: the limit is where the collector begins to
	// work harder, not where the process ends.
	gcPercent   = 50
	memoryLimit = 32 << 20
)

// limitMemory keeps the agent small, unless its environment says otherwise.
func (env *environment) limitMemory() {
	if env.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if env.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// releaseProgram gives back what was read of the program's own file, but of
// its variables. Half of it was needed for the start only: the one program
// holds the controller's Kubernetes client too, whose tables are set up in
// every process. What is needed again is read again.
func releaseProgram(ctx context.Context) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		klog.FromContext(ctx).Error(err, "the memory of the start is not given back")
		return
	}
	self, _ := os.Readlink("/proc/self/exe") // "" matches nothing
	for _, m := range readOnlyMappings(maps, self) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			klog.FromContext(ctx).Error(errno, "the memory of the start is not given back")
			return
		}
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// readOnlyMappings are the ranges in which a file is mapped that cannot have
// been written to (proc_pid_maps(5)).
func readOnlyMappings(maps []byte, file string) []mapping {
	var found []mapping
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var m mapping
		var mode, offset, device string
		var inode uint64
		n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s %s %s %d", &m.start, &m.end, &mode, &offset, &device, &inode)
		if n == 6 && inode != 0 && strings.HasPrefix(mode, "r-") && strings.HasSuffix(lines.Text(), " "+file) {
			found = append(found, m)
		}
	}
	return found
}

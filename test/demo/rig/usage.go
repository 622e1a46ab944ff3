package rig

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// clockTicks is the unit of CPU times in /proc, USER_HZ, on every architecture that
// lvme runs on.
const clockTicks = 100

// ParseCPU reads the CPU time of a process from its /proc/PID/stat, the first line
// (proc_pid_stat(5)).
func ParseCPU(stat string) (time.Duration, error) {
	_, rest, _ := strings.Cut(stat, ") ") // the name may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("the agent's CPU time is not told in %q", stat)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / clockTicks, err
}

// ParseMemory reads from /proc/PID/status what a process has resident and the most
// that it ever had.
func ParseMemory(status string) (residentKiB, peakKiB int, err error) {
	for line := range strings.Lines(status) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &residentKiB) // other lines do not match
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &peakKiB)
	}
	if residentKiB == 0 {
		err = fmt.Errorf("the agent's memory is not told in %q", status)
	}
	return residentKiB, peakKiB, err
}

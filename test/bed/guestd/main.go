// Command guestd is the bed's program inside a guest, in three roles that follow each other: the initrd's /init, which
// finds the root disk; process 1 on that disk, which mounts what Linux needs, starts udev and reaps orphans; and the
// server that does what the host asks for (package wire). It is no service manager: what tests want to run, they start.
package main

import (
	"fmt"
	"os"
	"time"
)

// selfPath is where the program lies once the root disk is mounted: on a tmpfs, so that it is never part of the disk
// and a change to it needs no new disk.
const selfPath = "/run/bed/guestd"

func main() {
	role := os.Args[len(os.Args)-1]
	if os.Args[0] == "/init" {
		role = "initrd" // the arguments are what the kernel did not understand of its own
	}
	roles := map[string]func() error{"initrd": initrd, "init": system, "serve": serve}
	run, ok := roles[role]
	if !ok {
		fmt.Fprintf(os.Stderr, "guestd: no role %q\n", role)
		os.Exit(2)
	}
	if err := run(); err != nil {
		say("%s: %v", role, err)
		if os.Getpid() == 1 {
			time.Sleep(100 * time.Millisecond) // let the console drain before the kernel panics over a dead init
		}
		os.Exit(1)
	}
}

// say writes one line with the time since boot to the console.
func say(format string, args ...any) {
	uptime := "?"
	if raw, err := os.ReadFile("/proc/uptime"); err == nil {
		fmt.Sscan(string(raw), &uptime)
	}
	fmt.Fprintf(os.Stderr, "guestd %s: %s\r\n", uptime, fmt.Sprintf(format, args...))
}

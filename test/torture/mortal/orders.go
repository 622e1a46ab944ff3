package mortal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The files through which an agent that is a process of its own gets its orders,
// says that they were carried out, and what it changed.
const (
	OrdersDir  = "/run/torture"
	OrdersFile = OrdersDir + "/orders"
	StruckFile = OrdersDir + "/struck"
	DiaryFile  = OrdersDir + "/diary"
)

// Order is a Deed in OrdersFile; each has another number.
type Order struct {
	Number int
	Deed   Deed
}

// Obedient is the life of this process by the orders in OrdersFile.
func Obedient() *Life {
	last := 0
	return &Life{
		// Who asks whether the death has come takes no order back that is being carried out.
		Doomed: func() { leave(StruckFile, "agent") },
		Kill: func() {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // it comes in a moment
		},
		CutOff: func() {
			if killCommands() {
				leave(StruckFile, "command")
			}
		},
		Orders: func(l *Life) {
			text, err := os.ReadFile(OrdersFile)
			var o Order
			if err != nil || json.Unmarshal(text, &o) != nil {
				l.Spare()
				return
			}
			l.mu.Lock()
			known := o.Number == last
			last = o.Number
			l.mu.Unlock()
			if !known {
				l.EndAt(o.Deed)
			}
		},
		Note: func(what string, took time.Duration) {
			leave(DiaryFile, fmt.Sprintf("%s %d", what, took.Microseconds()))
		},
	}
}

// leave adds a line to a file.
func leave(file, line string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return
	}
	fmt.Fprintln(f, line)
	_ = f.Close() // a file in memory
}

// killCommands kills the commands of this process that change something, and
// says whether there was one.
func killCommands() (found bool) {
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range pids {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // It has ended.
		}
		rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		command, _ := os.ReadFile(dir + "/cmdline")
		if len(rest) < 2 || rest[0] == "Z" || rest[1] != strconv.Itoa(os.Getpid()) || strings.Contains(string(command), "fullreport") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && syscall.Kill(-pid, syscall.SIGKILL) == nil { // Each is a group of its own.
			found = true
		}
	}
	return found
}

package run

import (
	"os"

	"golang.org/x/sys/unix"
)

// await returns when the child has ended or cannot be watched, and leaves it to
// the caller to ask how it ended, which then takes no time.
//
// Go waits for a child in a system call, which holds a thread, and looks some
// sixty times meanwhile whether the thread is better taken out of its turn. A
// child is watched here as a connection is: nothing runs until it has ended.
func await(child *os.Process) {
	fd, err := unix.PidfdOpen(child.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(ended) // fails if it cannot be watched
}

// ended says whether the process of a pidfd has (pidfd_open(2)).
func ended(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && err != unix.EINTR
}

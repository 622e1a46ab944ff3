package drive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// kernelEvents is the multicast group of the kernel's own uevents. Those
	// of udev (group 2) stay in udev's network namespace, the kernel's reach
	// the one of the agent's pod.
	kernelEvents = 1
	// settle is how long it must be quiet before events are reported: one
	// plugging makes a dozen, and udev names the drive only after them.
	settle      = time.Second
	ueventBytes = 64 << 10
)

// Watch reports that NVMe drives of this host came, went or changed their
// size, from the kernel's uevents. Events that come close together are one,
// reported a second after the last. What partitions, volumes and writers do is
// not reported. The channel is closed when ctx ends.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("watch drives: open uevent socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "uevents") // its reads end when it is closed
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelEvents}); err != nil {
		return nil, errors.Join(fmt.Errorf("watch drives: bind uevent socket: %w", err), socket.Close())
	}
	context.AfterFunc(ctx, func() { _ = socket.Close() }) // nothing was written
	events := make(chan struct{}, 1)
	go readEvents(socket, events)
	changed := make(chan struct{}, 1)
	go debounce(ctx, events, changed, settle)
	return changed, nil
}

// readEvents signals until the socket is closed. A lost message (ENOBUFS) may
// have been one that matters.
func readEvents(socket *os.File, events chan<- struct{}) {
	defer close(events)
	buf := make([]byte, ueventBytes)
	for {
		n, err := socket.Read(buf)
		lost := errors.Is(err, unix.ENOBUFS)
		if err != nil && !lost {
			return
		}
		if lost || concernsDrives(string(buf[:n])) {
			signal(events)
		}
	}
}

// signal leaves one signal for whoever reads next.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// debounce passes a signal on when no other followed it for a while.
func debounce(ctx context.Context, events <-chan struct{}, changed chan<- struct{}, quiet time.Duration) {
	defer close(changed)
	timer := time.NewTimer(quiet)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				return
			}
			timer.Reset(quiet)
		case <-timer.C:
			signal(changed)
		}
	}
}

// concernsDrives reads one uevent, "add@/devices/..." and then KEY=value, each
// ended by a zero byte. A "change" of a block device mostly means that
// somebody who had written to it closed it, as every LVM command does; only
// one of its size concerns us.
func concernsDrives(message string) bool {
	event := map[string]string{}
	for field := range strings.SplitSeq(message, "\x00") {
		if key, value, ok := strings.Cut(field, "="); ok {
			event[key] = value
		}
	}
	action := event["ACTION"]
	switch event["SUBSYSTEM"] {
	case "nvme":
		return action == "add" || action == "remove" || action == "change"
	case "block":
		return namespaceName.MatchString(event["DEVNAME"]) && (action == "add" || action == "remove" || event["RESIZE"] == "1")
	}
	return false
}

// Package hostns makes the agent a process of the host it runs on.
//
// LVM's makers support it on the host only, and mounts, udev, sysfs and
// kubelet's paths all mean the host. So an agent that was started in a
// container joins the namespaces of process 1 once, at its start, and executes
// itself anew in them; from then on nothing needs to know of containers. On a
// host directly it does nothing. The network stays the container's.
//
// It also gives the commands that change state a cgroup outside the pod. It
// starts no program and knows nothing of what the agent does.
package hostns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespace is one kind of namespace.
type namespace struct {
	name string // in /proc/PID/ns
	flag int
}

// joined are the namespaces that the agent shares with process 1. LVM and udev
// meet in System V semaphores (ipc); LVM takes the host's name for its system
// id (uts); into a cgroup outside its cgroup namespace no process may go. The
// mount namespace comes last: with it /proc is another one.
var joined = []namespace{
	{"ipc", unix.CLONE_NEWIPC},
	{"uts", unix.CLONE_NEWUTS},
	{"cgroup", unix.CLONE_NEWCGROUP},
	{"mnt", unix.CLONE_NEWNS},
}

// marker in the environment of the process that was executed anew holds the
// number of the descriptor of the image's root, -1 for none.
const marker = "LVME_IMAGE_ROOT_FD="

// Enter joins the host's namespaces. Where that needs a new start of the
// program it does not return but for an error; the program starts again with
// the same arguments and calls Enter again. So call it first, before anything
// was opened or begun.
//
// env is os.Environ(). imageRoot is the root directory of the container's
// image, for files that came with it or are mounted into it (certificates,
// configuration); nil when there is none, on a host directly. The process must
// see process 1 of the host (a pod with hostPID) and be privileged.
func Enter(env []string) (imageRoot *os.File, err error) {
	if fd, again := marked(env); again {
		return adopt(fd)
	}
	away, err := differing()
	if err != nil || len(away) == 0 {
		return nil, err
	}
	return nil, restart(away, env)
}

// marked reads the marker from an environment.
func marked(env []string) (fd int, ok bool) {
	for _, e := range env {
		if text, found := strings.CutPrefix(e, marker); found {
			fd, err := strconv.Atoi(text)
			return fd, err == nil
		}
	}
	return 0, false
}

// adopt is the second start: the namespaces must be the host's now.
func adopt(fd int) (*os.File, error) {
	if err := os.Unsetenv(strings.TrimSuffix(marker, "=")); err != nil {
		return nil, err
	}
	away, err := differing()
	if err != nil {
		return nil, err
	}
	if len(away) > 0 {
		return nil, fmt.Errorf("joined the host's namespaces and yet %v differ", away)
	}
	if fd < 0 {
		return nil, nil
	}
	unix.CloseOnExec(fd)
	root := os.NewFile(uintptr(fd), "image root")
	if info, err := root.Stat(); err != nil || !info.IsDir() {
		return nil, errors.Join(fmt.Errorf("descriptor %d is not the image's root directory", fd), err)
	}
	return root, nil
}

// differing lists the namespaces in which process 1 is not with us.
func differing() ([]namespace, error) {
	var away []namespace
	for _, ns := range joined {
		ours, err := os.Readlink("/proc/self/ns/" + ns.name)
		if err != nil {
			return nil, fmt.Errorf("own namespace: %w", err)
		}
		theirs, err := os.Readlink("/proc/1/ns/" + ns.name)
		if err != nil {
			return nil, fmt.Errorf("namespace of process 1 (the pod needs hostPID and privileged): %w", err)
		}
		if ours != theirs {
			away = append(away, ns)
		}
	}
	return away, nil
}

// restart executes this program anew in namespaces of process 1.
func restart(away []namespace, env []string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("own program: %w", err)
	}
	defer self.Close()
	// Whatever the container's runtime left open must not reach LVM, which
	// complains of it, nor anything else.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	root := -1
	if slices.ContainsFunc(away, func(ns namespace) bool { return ns.name == "mnt" }) {
		// Not close-on-exec: it is what remains of the image.
		if root, err = unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return fmt.Errorf("root of the image: %w", err)
		}
	}
	// Never unlocked: the thread either becomes the new program or ends with
	// its goroutine, half-way between two sets of namespaces.
	runtime.LockOSThread()
	if err := join(away); err != nil {
		return err
	}
	// By descriptor: the image's paths mean other files now.
	path := fmt.Sprintf("/proc/self/fd/%d", self.Fd())
	err = syscall.Exec(path, os.Args, append(slices.Clone(env), marker+strconv.Itoa(root)))
	return fmt.Errorf("start again in the host's namespaces: %w", err)
}

// join moves the calling thread, which is locked, into namespaces of process 1.
func join(away []namespace) error {
	// A thread that shares its root and directory with others may not change
	// its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare fs: %w", err)
	}
	files := make([]*os.File, len(away))
	for i, ns := range away {
		f, err := os.Open("/proc/1/ns/" + ns.name)
		if err != nil {
			return fmt.Errorf("namespace of process 1: %w", err)
		}
		defer f.Close()
		files[i] = f
	}
	for i, ns := range away {
		if err := unix.Setns(int(files[i].Fd()), ns.flag); err != nil {
			return fmt.Errorf("join the %s namespace of process 1: %w", ns.name, err)
		}
	}
	return nil
}

// String is the name, for errors.
func (ns namespace) String() string { return ns.name }

// Package hostns makes the agent a process of the host it runs on.
//
// LVM's makers support it on the host only, and mounts, udev, sysfs and
// kubelet's paths all mean the host. So an agent that was started in a
// container joins the namespaces of process 1 once, at its start, and executes
// itself anew in them; from then on nothing needs to know of containers. On a
// host directly it does nothing. The network stays the container's. Of the
// capabilities of a privileged container only those remain that LVM, mounts and
// filesystems need.
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

// marker in the environment of the process that was executed anew holds what
// the first start has to tell it, see entered.
const marker = "LVME_ENTERED="

// entered is what the first start tells the second one.
type entered struct {
	// root and mounts are the descriptors of the image's root directory and of
	// its mount namespace, -1 for none. Without the second one the kernel would
	// take the namespace apart once nobody is in it: files of the image itself
	// would remain, volumes that are mounted into it would not.
	root, mounts int
	// spaces are the namespaces of process 1, which must be ours by now.
	spaces string
}

func (e entered) String() string { return fmt.Sprintf("%d,%d,%s", e.root, e.mounts, e.spaces) }

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
	if e, again, err := marked(env); again {
		if err != nil {
			return nil, err
		}
		return adopt(e)
	}
	ours, err := spaces("/proc/self/ns/")
	if err != nil {
		return nil, fmt.Errorf("own namespaces: %w", err)
	}
	theirs, err := spaces("/proc/1/ns/")
	if err != nil {
		return nil, fmt.Errorf("namespaces of process 1 (the pod needs hostPID and privileged): %w", err)
	}
	away := differing(ours, theirs)
	if len(away) == 0 {
		return nil, nil
	}
	return nil, restart(away, strings.Join(theirs, ","), env)
}

// marked reads the marker from an environment. An error means that there is
// one that no first start has written.
func marked(env []string) (e entered, again bool, err error) {
	for _, v := range env {
		if text, found := strings.CutPrefix(v, marker); found {
			_, err := fmt.Sscanf(text, "%d,%d,%s", &e.root, &e.mounts, &e.spaces)
			if err != nil {
				err = fmt.Errorf("%s in the environment is not lvme's own: %w", v, err)
			}
			return e, true, err
		}
	}
	return entered{}, false, nil
}

// adopt is the second start: the namespaces must be the host's now. Only the
// first one could look at process 1; this one has not the capability any more.
func adopt(e entered) (*os.File, error) {
	if err := os.Unsetenv(strings.TrimSuffix(marker, "=")); err != nil {
		return nil, err
	}
	ours, err := spaces("/proc/self/ns/")
	if err != nil {
		return nil, fmt.Errorf("own namespaces: %w", err)
	}
	if got := strings.Join(ours, ","); got != e.spaces {
		return nil, fmt.Errorf("joined the host's namespaces %s and yet is in %s", e.spaces, got)
	}
	if e.root < 0 {
		return nil, nil
	}
	unix.CloseOnExec(e.root)
	unix.CloseOnExec(e.mounts) // and open as long as this process runs
	root := os.NewFile(uintptr(e.root), "image root")
	if info, err := root.Stat(); err != nil || !info.IsDir() {
		return nil, errors.Join(fmt.Errorf("descriptor %d is not the image's root directory", e.root), err)
	}
	return root, nil
}

// spaces names the namespaces of a process, in the order of joined, as in
// "mnt:[4026531841]". dir is its directory /proc/PID/ns/.
func spaces(dir string) ([]string, error) {
	names := make([]string, len(joined))
	for i, ns := range joined {
		name, err := os.Readlink(dir + ns.name)
		if err != nil {
			return nil, err
		}
		names[i] = name
	}
	return names, nil
}

// differing lists the namespaces in which two processes are not together.
func differing(ours, theirs []string) []namespace {
	var away []namespace
	for i, ns := range joined {
		if ours[i] != theirs[i] {
			away = append(away, ns)
		}
	}
	return away
}

// restart executes this program anew in namespaces of process 1.
func restart(away []namespace, theirs string, env []string) error {
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
	e := entered{root: -1, mounts: -1, spaces: theirs}
	if slices.ContainsFunc(away, func(ns namespace) bool { return ns.name == "mnt" }) {
		if err := e.keepImage(); err != nil {
			return err
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
	if err := dropCapabilities(); err != nil {
		return err
	}
	err = syscall.Exec(path, os.Args, append(slices.Clone(env), marker+e.String()))
	return fmt.Errorf("start again in the host's namespaces: %w", err)
}

// keepImage opens what is to remain of the image, not close-on-exec.
func (e *entered) keepImage() (err error) {
	if e.root, err = unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return fmt.Errorf("root of the image: %w", err)
	}
	if e.mounts, err = unix.Open("/proc/self/ns/mnt", unix.O_RDONLY, 0); err != nil {
		return fmt.Errorf("mount namespace of the image: %w", err)
	}
	return nil
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

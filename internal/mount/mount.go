// Package mount makes, checks, grows, mounts and measures filesystems on block
// devices of this host, and hands devices and filesystems to others as bind
// mounts. The host is the truth: every answer is read from the kernel's mount
// table, sysfs or the device, nothing is remembered between calls.
//
// It formats what it is told to format: whether a device may be formatted is
// its caller's decision, for which it offers proofs (CheckBlank). It never
// unmounts lazily or by force, and never formats because a probe failed. It
// knows nothing of volumes, LVM or CSI.
package mount

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lvme/lvme/internal/run"
)

// The filesystems that can be made, mounted and grown.
const (
	Ext4  = "ext4"
	XFS   = "xfs"
	Btrfs = "btrfs"
)

// The kinds of failure that callers tell apart with errors.Is. A missing device
// or path is fs.ErrNotExist.
var (
	// ErrNoProgram: a program is missing; the text names the package that has it.
	ErrNoProgram = errors.New("missing on this node")
	// ErrBusy: what was to be unmounted is in use; the text names by whom.
	ErrBusy = errors.New("busy")
	// ErrNotBlank: the device holds something.
	ErrNotBlank = errors.New("not blank")
	// ErrPath: a path that is relative, not clean, a symbolic link or outside
	// the directory given to New.
	ErrPath = errors.New("path not allowed")
	// ErrDamaged: the filesystem has errors that need a person.
	ErrDamaged = errors.New("damaged filesystem")
	// ErrBroken: the mount is there and its filesystem no longer answers.
	ErrBroken = errors.New("filesystem does not answer")
)

// Number is a device number.
type Number struct{ Major, Minor uint32 }

// String is the number as sysfs and mountinfo write it, "254:3".
func (n Number) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Device is a block device.
type Device struct {
	// Path is its device node.
	Path   string
	Number Number
	// Bytes is its size.
	Bytes int64
}

// Spec says how to mount a filesystem.
type Spec struct {
	Device Device
	// Target is a directory, made if it is missing.
	Target string
	FSType string
	// Options are what Options returned.
	Options []string
}

// FormatSpec says how to make a filesystem.
type FormatSpec struct {
	FSType string
	// Options are arguments for mkfs.
	Options []string
	// Again says that an earlier mkfs was cut short, so that what it left may
	// be overwritten.
	Again bool
}

// Host is this host's filesystems and mounts.
type Host struct {
	runner run.Runner
	root   string
	// proc and sys are /proc and /sys; tests put their own there.
	proc, sys string
}

// New returns the host's filesystems and mounts. Programs are started by
// runner. Everything is mounted below root, an absolute path ("" means
// anywhere): kubelet's directory, below which no symbolic link is followed.
func New(runner run.Runner, root string) *Host {
	return &Host{runner: runner, root: root, proc: "/proc", sys: "/sys"}
}

// CommandError is a program that ran and failed.
type CommandError struct {
	Command string
	Code    int
	Stderr  string
}

// Error implements error.
func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: exit %d: %s", e.Command, e.Code, e.Stderr)
}

// packageOf names the package to install when a program is missing, as Debian,
// Fedora and SUSE call it.
var packageOf = map[string]string{
	"mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "resize2fs": "e2fsprogs",
	"mkfs.xfs": "xfsprogs", "xfs_growfs": "xfsprogs",
	"mkfs.btrfs": "btrfs-progs", "btrfs": "btrfs-progs", "btrfstune": "btrfs-progs",
	"blkid": "util-linux", "mount": "util-linux", "umount": "util-linux",
}

// change runs a program that changes state; another exit code than 0 is a
// *CommandError.
func (h *Host) change(ctx context.Context, name string, args ...string) error {
	res, err := h.run(ctx, run.Cmd{Name: name, Args: args, Changes: true})
	if err != nil {
		return err
	}
	return failed(run.Cmd{Name: name, Args: args}, res)
}

func (h *Host) run(ctx context.Context, c run.Cmd) (run.Result, error) {
	res, err := h.runner.Run(ctx, c)
	if errors.Is(err, run.ErrNotInstalled) {
		err = fmt.Errorf("%s is %w, install the package %s: %w", c.Name, ErrNoProgram, packageOf[c.Name], err)
	}
	return res, err
}

func failed(c run.Cmd, res run.Result) error {
	if res.Code == 0 {
		return nil
	}
	text := strings.TrimSpace(string(res.Stderr))
	if text == "" {
		text = strings.TrimSpace(string(res.Stdout))
	}
	return &CommandError{Command: c.String(), Code: res.Code, Stderr: text}
}

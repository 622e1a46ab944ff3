package mount

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mount mounts the filesystem of a device. It says nothing of what is mounted
// there already; look first.
//
// The work is done by mount(8), not by this process: replaying a log takes
// disk time, and a thread that hangs on a dead drive could not be ended.
func (h *Host) Mount(ctx context.Context, s Spec) error {
	if err := MakeTarget(s.Target, true); err != nil {
		return fmt.Errorf("mount directory: %w", err)
	}
	args := []string{"-t", s.FSType}
	if len(s.Options) > 0 {
		args = append(args, "-o", strings.Join(s.Options, ","))
	}
	if err := h.change(ctx, "mount", append(args, s.Device.Path, s.Target)...); err != nil {
		return err
	}
	table, err := h.Table()
	if err != nil {
		return err
	}
	if p, ok := table.At(s.Target); !ok || p.Device != s.Device.Number {
		return fmt.Errorf("mount: %s (%s) is not at %s afterwards", s.Device.Path, s.Device.Number, s.Target)
	}
	return nil
}

// Bind shows source, a mounted directory or a device node, at target too,
// which is made if it is missing. It is never writable for a moment when it is
// to be read-only: it is made apart, set read-only, and then put in place. No
// symbolic link in target is followed.
func (h *Host) Bind(_ context.Context, source, target string, dir, readOnly bool) error {
	if err := MakeTarget(target, dir); err != nil {
		return fmt.Errorf("bind target: %w", err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("bind: open %s: %w", source, err)
	}
	defer unix.Close(tree)
	if readOnly {
		// Linux 5.12. The atime, suid and dev flags stay as they are at source.
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return fmt.Errorf("bind %s read-only: %w", source, err)
		}
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	at, err := unix.Openat2(unix.AT_FDCWD, target, &how)
	if err != nil {
		return fmt.Errorf("bind: open target %s: %w", target, err)
	}
	defer unix.Close(at)
	if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, err)
	}
	return nil
}

// busyPauses are the waits between attempts on a mount that is in use. Whoever
// asks a filesystem for its space holds its mount for a moment, the agent's own
// statistics and node_exporter among them.
var busyPauses = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond}

// Unmount unmounts what is visible at target, once. Never lazily: a lazy
// unmount lets the device stay in use with nobody knowing. ErrBusy is said
// after several attempts and names the holders that are mounts.
func (h *Host) Unmount(ctx context.Context, target string) error {
	before, err := h.Table()
	if err != nil {
		return err
	}
	p, mounted := before.At(target)
	if !mounted {
		return nil
	}
	err = h.unmount(ctx, target, count(before, target))
	for _, pause := range busyPauses {
		if !errors.Is(err, ErrBusy) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		err = h.unmount(ctx, target, count(before, target))
	}
	if errors.Is(err, ErrBusy) {
		return fmt.Errorf("%w; mounts of the device: %s", err, strings.Join(h.Holders(p.Device), ", "))
	}
	return err
}

// unmount tries it once. That fewer than mounts are at target afterwards is
// success, whoever it was.
func (h *Host) unmount(ctx context.Context, target string, mounts int) error {
	// -c: the path is the table's own; looking at it could hang on a dead drive.
	err := h.change(ctx, "umount", "-c", target)
	if err == nil {
		return nil
	}
	after, lookErr := h.Table()
	if lookErr != nil {
		return errors.Join(err, lookErr)
	}
	if count(after, target) < mounts {
		return nil
	}
	var failure *CommandError
	if errors.As(err, &failure) && strings.Contains(failure.Stderr, "busy") {
		return fmt.Errorf("unmount %s: %w", target, ErrBusy)
	}
	return err
}

func count(t Table, path string) int {
	n := 0
	for _, p := range t {
		if p.Path == path {
			n++
		}
	}
	return n
}

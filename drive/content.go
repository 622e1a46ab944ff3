package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/internal/run"
)

// endBytes at both ends of a drive are read: a drive whose ends cannot be read
// is not worth data, and most of what lives on drives starts there.
const endBytes = 1 << 20

// Exit codes of blkid -p, see blkid(8). 2 stands for "nothing found" and, often
// without a word on standard error, for "cannot open" and "cannot read": it is
// believed only of a drive whose ends were read afterwards.
const (
	blkidFound      = 0
	blkidNothing    = 2
	blkidAmbivalent = 8
)

// content looks at what is on a drive.
func (h Host) content(ctx context.Context, d Drive) Content {
	if why := d.unreadable(); why != "" {
		return Content{Error: why}
	}
	c, err := bounded(ctx, h, tree(h.Root).path(d.Path), func(ctx context.Context) Content {
		return h.look(ctx, d)
	})
	if err != nil {
		return Content{Error: err.Error(), Silent: true}
	}
	return c
}

// unreadable says why a drive should not even be opened: I/O to a controller
// that is not live fails at best, and hangs at worst.
func (d Drive) unreadable() string {
	switch {
	case !d.Live():
		return fmt.Sprintf("its controller is %s", d.State)
	case d.Bytes == 0:
		return "its size is 0"
	}
	return ""
}

func (h Host) look(ctx context.Context, d Drive) Content {
	device := tree(h.Root).path(d.Path)
	signatures, err := h.signatures(ctx, device)
	if err != nil {
		return Content{Error: err.Error(), Silent: ctx.Err() != nil} // its time may have ended before ours
	}
	ends, err := readEnds(device, d.Bytes, !d.known(signatures))
	if err == nil && ends.waited { // whoever had it may have written to it
		signatures, err = h.signatures(ctx, device)
	}
	if err != nil {
		return Content{Error: err.Error()}
	}
	return Content{Probed: true, Signatures: signatures, Blank: ends.blank, Busy: ends.busy}
}

// known reports whether it is already clear that the drive is in use.
func (d Drive) known(signatures []string) bool {
	return len(signatures)+len(d.Partitions)+len(d.Holders)+len(d.Mounts)+len(d.Swaps) > 0
}

// signatures asks blkid, which reads the drive itself (-p) and not its cache.
func (h Host) signatures(ctx context.Context, device string) ([]string, error) {
	if h.Runner == nil {
		return nil, errors.New("no way to run blkid")
	}
	res, err := h.Runner.Run(ctx, run.Cmd{Name: "blkid", Args: []string{"-p", "-o", "export", device}})
	stderr := strings.TrimSpace(string(res.Stderr))
	switch {
	case errors.Is(err, run.ErrNotInstalled):
		return nil, fmt.Errorf("look for signatures: %w: install the package util-linux", err)
	case err != nil:
		return nil, fmt.Errorf("look for signatures: %w", err)
	case res.Code == blkidNothing && stderr == "":
		return nil, nil
	case res.Code == blkidAmbivalent:
		return nil, errors.New("blkid finds signatures of several kinds and cannot tell which is true")
	case res.Code != blkidFound:
		return nil, fmt.Errorf("look for signatures: blkid: exit %d: %s", res.Code, stderr)
	}
	return parseSignatures(string(res.Stdout)), nil
}

// parseSignatures reads the KEY=value lines of blkid -o export. Something that
// blkid found and that has no type is a signature all the same.
func parseSignatures(out string) []string {
	var types []string
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if (key == "TYPE" || key == "PTTYPE") && value != "" && !slices.Contains(types, value) {
			types = append(types, value)
		}
	}
	if types == nil {
		return []string{"unknown"}
	}
	return types
}

// ends are what reading a drive's ends told.
type ends struct {
	blank bool
	// busy says that somebody has the drive alone; waited, that somebody had.
	busy, waited bool
}

// readEnds reads the first and the last MiB, from the drive and not from the
// kernel's cache, which still has them when a drive has begun to fail. With exclusive it asks the kernel
// for the drive alone, which tells of every user at once, those included that
// leave no trace in sysfs (a file system mounted in another mount namespace,
// ZFS). It is asked only of drives that look unused: a short exclusive open
// would otherwise get in the way of the drive's owner.
func readEnds(device string, size int64, exclusive bool) (ends, error) {
	open := openShared
	if exclusive {
		open = openAlone
	}
	f, e, err := open(device)
	if err != nil {
		return e, fmt.Errorf("open: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	e.blank = true
	for _, off := range []int64{0, max(0, size-endBytes)} {
		_ = unix.Fadvise(int(f.Fd()), off, min(size, endBytes), unix.FADV_DONTNEED) // advice: an old kernel's cache may answer
		zeros, err := readZeros(f, off, min(size, endBytes))
		if err != nil {
			return ends{}, fmt.Errorf("read %d bytes at %d: %w", min(size, endBytes), off, err)
		}
		e.blank = e.blank && zeros
	}
	return e, nil
}

func openShared(device string) (*os.File, ends, error) {
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	return f, ends{}, err
}

// alonePauses are the waits between attempts to have a drive alone. Another lvme
// that looks at it has it for a moment: a command beside the agent.
var alonePauses = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond}

// openAlone opens a drive that nobody else has alone.
func openAlone(device string) (*os.File, ends, error) {
	for attempt := 0; ; attempt++ {
		f, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
		if !errors.Is(err, unix.EBUSY) {
			return f, ends{waited: attempt > 0}, err
		}
		if attempt == len(alonePauses) {
			f, _, err = openShared(device)
			return f, ends{busy: true, waited: true}, err
		}
		<-time.After(alonePauses[attempt])
	}
}

func readZeros(r io.ReaderAt, off, n int64) (bool, error) {
	buf := make([]byte, n)
	got, err := r.ReadAt(buf, off)
	if int64(got) < n {
		return false, err
	}
	return len(bytes.TrimLeft(buf, "\x00")) == 0, nil
}

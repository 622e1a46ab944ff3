package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/internal/run"
)

// blkid's exit codes (blkid(8)).
const (
	blkidNothing   = 2
	blkidAmbiguous = 8
)

// Probe says what filesystem, RAID, encryption or other known content the
// device begins or ends with, "" for none that is known. Not being able to
// look and seeing several at once are errors, never "none".
func (h *Host) Probe(ctx context.Context, dev string) (string, error) {
	// A device that cannot be opened gives blkid the exit code of an empty one.
	f, err := os.Open(dev)
	if err != nil {
		return "", fmt.Errorf("probe: %w", err)
	}
	defer f.Close()
	c := run.Cmd{Name: "blkid", Args: []string{"-p", "-u", "filesystem,raid,crypto,other", "-o", "export", dev}}
	res, err := h.run(ctx, c)
	if err != nil {
		return "", fmt.Errorf("probe: %w", err)
	}
	switch {
	case res.Code == blkidNothing && len(res.Stderr) == 0 && len(res.Stdout) == 0:
		return "", nil
	case res.Code == blkidAmbiguous:
		return "", fmt.Errorf("probe %s: %w: signatures of several kinds at once", dev, ErrNotBlank)
	case res.Code != 0:
		return "", fmt.Errorf("probe: %w", failed(c, res))
	}
	return signature(string(res.Stdout))
}

// signature reads blkid's export format.
func signature(out string) (string, error) {
	found := map[string]string{}
	for line := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			found[key] = value
		}
	}
	for _, key := range []string{"TYPE", "PTTYPE"} {
		if found[key] != "" {
			return found[key], nil
		}
	}
	return "", fmt.Errorf("probe: blkid names no type: %q", out)
}

// edge is how much of both ends of a device must be zero: superblocks, labels
// and partition tables live there.
const edge = 1 << 20

// CheckBlank proves that nothing known is on the device and that its first and
// last MiB are zero; anything else is ErrNotBlank or the error that kept it
// from looking.
func (h *Host) CheckBlank(ctx context.Context, dev string) error {
	switch what, err := h.Probe(ctx, dev); {
	case err != nil:
		return err
	case what != "":
		return fmt.Errorf("%s: %w: it holds %s", dev, ErrNotBlank, what)
	}
	f, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("size of %s: %w", dev, err)
	}
	for _, at := range []int64{0, max(0, size-edge)} {
		data := make([]byte, min(edge, size))
		if _, err := f.ReadAt(data, at); err != nil {
			return fmt.Errorf("read %s at %d: %w", dev, at, err)
		}
		if i := slices.IndexFunc(data, func(b byte) bool { return b != 0 }); i >= 0 {
			return fmt.Errorf("%s: %w: byte %d is not zero", dev, ErrNotBlank, at+int64(i))
		}
	}
	return nil
}

// Format makes a filesystem. The caller has proof that nothing on the device
// is worth anything; without Again, mkfs's own check for old content stays on
// where it has one. A device that is mounted or being formatted is ErrBusy.
func (h *Host) Format(ctx context.Context, dev string, s FormatSpec) error {
	var args []string
	switch s.FSType {
	case Ext4:
		// Without -F it asks questions, and nobody answers.
		args = []string{"-q", "-F"}
	case XFS, Btrfs:
		args = []string{"-q"}
		if s.Again {
			args = append(args, "-f")
		}
	default:
		return fmt.Errorf("format: %q: %w", s.FSType, errors.ErrUnsupported)
	}
	// An mkfs of an agent that was killed may still be at work.
	f, err := os.OpenFile(dev, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		if errors.Is(err, unix.EBUSY) {
			err = ErrBusy
		}
		return fmt.Errorf("format %s: %w", dev, err)
	}
	f.Close()
	args = append(args, s.Options...)
	return h.change(ctx, "mkfs."+s.FSType, append(args, dev)...)
}

package mount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
)

// Check says whether the filesystem of dev that is mounted at p still works, without
// writing anything: ErrBroken where it has given up after errors, and then stays so
// until it is mounted anew. One that hangs holds the caller.
//
// Each shows it in its own way, and statfs answers in all of them: btrfs makes
// itself read-only, XFS refuses to open even its root, and ext4, which looks well
// from outside since Linux 6.12, counts the errors. It is mounted with
// errors=remount-ro and repaired before each mount, so that one is enough.
func (h *Host) Check(dev Device, p Point) error {
	if p.Failed {
		return fmt.Errorf("%w: the %s at %s has met an error and made itself read-only", ErrBroken, p.FSType, p.Path)
	}
	if p.FSType == Ext4 {
		if n := h.ext4Errors(dev); n != "" && n != "0" {
			return fmt.Errorf("%w: the ext4 at %s has met %s errors and takes no more writes", ErrBroken, p.Path, n)
		}
	}
	f, err := os.Open(p.Path)
	if err == nil {
		_, err = f.Readdirnames(1)
		err = errors.Join(err, f.Close())
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case mountutils.IsCorruptedMnt(err), errors.Is(err, unix.EIO):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return err
}

// ext4Errors is how many errors an ext4 has counted since it was last repaired, ""
// where the kernel does not say.
func (h *Host) ext4Errors(dev Device) string {
	disk, err := filepath.EvalSymlinks(h.block(dev.Number))
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(h.sys + "/fs/ext4/" + filepath.Base(disk) + "/errors_count")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

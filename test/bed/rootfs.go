package bed

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// kernelFile is the kernel beside the root disk.
const kernelFile = "vmlinuz"

// rootDriver is the module that the initrd needs to find the root disk.
const rootDriver = "virtio_blk.ko.xz"

// unwanted is left out of the guest: nobody reads manuals in it.
var unwanted = []string{
	"boot/initrd", "usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/",
	"var/cache/apt/", "var/lib/apt/lists/",
}

// filterRoot copies the tar stream of a root file system without what is unwanted, and puts the kernel and the root
// disk's driver into dir on the way.
func filterRoot(in io.Reader, out io.Writer, dir string) error {
	files := tar.NewReader(in)
	to := tar.NewWriter(out)
	kept := 0
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the root file system: %w", err)
		}
		name := strings.TrimPrefix(path.Clean(header.Name), "/")
		if isUnwanted(name) {
			continue
		}
		body := io.Reader(files)
		if keep := keptAs(name, header); keep != "" {
			raw, err := io.ReadAll(files)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, keep), raw, 0o644)
			}
			if err != nil {
				return fmt.Errorf("keep %s: %w", name, err)
			}
			kept++
			body = bytes.NewReader(raw)
		}
		if err := to.WriteHeader(header); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if _, err := io.Copy(to, body); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if kept != 2 {
		return fmt.Errorf("found %d of the kernel and %s in the packages", kept, rootDriver)
	}
	// The stream goes on after the archive's end, with padding.
	_, err := io.Copy(io.Discard, in)
	return errors.Join(to.Close(), err)
}

func isUnwanted(name string) bool {
	for _, prefix := range unwanted {
		// The directories themselves stay: packages expect them.
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// keptAs returns the name under which a file of the root file system is also kept outside of it, or "".
func keptAs(name string, header *tar.Header) string {
	base := path.Base(name)
	switch {
	case header.Typeflag != tar.TypeReg:
		return ""
	case strings.HasPrefix(name, "boot/vmlinuz-"):
		return kernelFile
	case base == rootDriver:
		return base
	}
	return ""
}

// writeInitrd writes an initrd that holds the daemon as /init, one module, and the console that the kernel opens for
// it. It is not compressed: unpacking would cost the emulated CPU more than loading costs QEMU.
func writeInitrd(file, guestd, module string) error {
	archive := &cpio{}
	archive.add("dev", 0o040755, 0, nil)
	archive.add("dev/console", 0o020600, 5<<8|1, nil)
	for _, dir := range []string{"proc", "sys", "root", "modules"} {
		archive.add(dir, 0o040755, 0, nil)
	}
	for name, from := range map[string]string{"init": guestd, "modules/" + rootDriver: module} {
		raw, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		archive.add(name, 0o100755, 0, raw)
	}
	archive.add("TRAILER!!!", 0, 0, nil)
	return os.WriteFile(file, archive.Bytes(), 0o644)
}

// cpio is an archive in the "newc" format, which the kernel unpacks.
type cpio struct {
	bytes.Buffer
	inode int
}

// add appends an entry. device is major << 8 | minor.
func (c *cpio) add(name string, mode, device int, body []byte) {
	c.inode++
	fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, 0, 0, 1, 0, len(body), 0, 0, device>>8, device&0xff, len(name)+1, 0)
	c.WriteString(name + "\x00")
	c.pad()
	c.Write(body)
	c.pad()
}

func (c *cpio) pad() {
	for c.Len()%4 != 0 {
		c.WriteByte(0)
	}
}

package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Resolve returns the path that the kernel's mount table shows for path, and
// checks that it may be mounted on: absolute, clean, below root, where no
// symbolic link is followed below root and the last component is none
// anywhere. Its parent must exist, the path itself need not. A filesystem that
// is mounted at path is not touched.
func Resolve(root, path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("%w: %.200q is not an absolute path in its shortest form", ErrPath, path)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("parent directory of %s: %w", path, err)
	}
	if err := checkRoot(root, path, parent); err != nil {
		return "", err
	}
	resolved := filepath.Join(parent, filepath.Base(path))
	// The directory tells the kind of what is in it. Looking at the path itself
	// would hold what is mounted there, and another call's unmount would fail.
	entries, err := os.ReadDir(parent)
	if err != nil {
		return "", fmt.Errorf("parent directory of %s: %w", path, err)
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(path) && e.Type() == fs.ModeSymlink {
			return "", fmt.Errorf("%w: %s is a symbolic link", ErrPath, path)
		}
	}
	return resolved, nil
}

// checkRoot says whether path lies below root and reaches parent, the true
// path of its directory, without a symbolic link below root. Root itself may
// be one: /var/lib/kubelet often is.
func checkRoot(root, path, parent string) error {
	if root == "" {
		return nil
	}
	rel, err := filepath.Rel(root, filepath.Dir(path))
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return fmt.Errorf("%w: %s is not below %s", ErrPath, path, root)
	}
	trueRoot, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("root directory %s: %w", root, err)
	}
	if filepath.Join(trueRoot, rel) != parent {
		return fmt.Errorf("%w: %s holds a symbolic link below %s", ErrPath, path, root)
	}
	return nil
}

// Resolve is the function of that name with the host's root.
func (h *Host) Resolve(path string) (string, error) { return Resolve(h.root, path) }

// MakeTarget makes what is mounted upon, if it is missing: a directory or an
// empty file, for root and its group only. Its parent must exist.
func MakeTarget(path string, dir bool) error {
	var err error
	if dir {
		err = os.Mkdir(path, 0o750)
	} else {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o640); err == nil {
			return f.Close()
		}
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if dir != info.IsDir() || !dir && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s exists and is a %s", ErrPath, path, info.Mode().Type())
	}
	return nil
}

// RemoveTarget removes what MakeTarget made. It removes empty directories and
// empty files only, so that data written beneath an absent mount survives; a
// path that does not exist is no error.
func RemoveTarget(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		err = unix.Rmdir(path)
	case info.Mode().IsRegular() && info.Size() == 0:
		err = unix.Unlink(path)
	default:
		return fmt.Errorf("%w: %s is no empty directory or file, so it is not removed", ErrPath, path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// Remove is RemoveTarget.
func (h *Host) Remove(path string) error { return RemoveTarget(path) }

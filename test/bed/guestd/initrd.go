package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

// initrd loads the driver of the root disk, moves onto it and becomes process 1 there.
func initrd() error {
	if err := mountAll([]mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
	}); err != nil {
		return err
	}
	say("initrd")
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := awaitFile("/dev/vda", 20*time.Second); err != nil {
		return err
	}
	if err := mountAll([]mount{
		{"/dev/vda", "/root", "ext4", syscall.MS_NOATIME, ""},
		{"tmpfs", "/root/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=0755"},
	}); err != nil {
		return err
	}
	if err := copyFile("/init", filepath.Join("/root", selfPath), 0o755); err != nil {
		return err
	}
	if err := switchRoot("/root", "/proc", "/sys", "/dev"); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", selfPath, syscall.Exec(selfPath, []string{"guestd", "init"}, []string{"PATH=" + path}))
}

// loadModules loads every module in dir. They are few and do not depend on each other.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("load %s: %w", file, err)
		}
	}
	return nil
}

// loadModule hands a compressed module to the kernel, which unpacks it itself.
func loadModule(file string) error {
	const initCompressed = 4 // MODULE_INIT_COMPRESSED_FILE
	const sysFinitModule = 313
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	noArgs := []byte{0}
	_, _, errno := syscall.Syscall(sysFinitModule, f.Fd(), uintptr(unsafe.Pointer(&noArgs[0])), initCompressed)
	if errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}

// awaitFile waits for a path to exist.
func awaitFile(path string, limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%s did not appear within %s", path, limit)
}

// switchRoot makes root the root of the file system and carries the mounts along.
func switchRoot(root string, mounts ...string) error {
	for _, m := range mounts {
		if err := syscall.Mount(m, filepath.Join(root, m), "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the root disk: %w", m, err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /: %w", root, err)
	}
	if err := syscall.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

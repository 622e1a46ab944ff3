package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// nvmeID is the PCI id of QEMU's NVMe controller in the form of a driver's new_id file, with driver data 0: without it
// the kernel ignores the EUI-64 and NGUID of these controllers, since older QEMUs gave every namespace the same.
const nvmeID = "1b36 0010 ffffffff ffffffff 010802 ffffff 0"

// system is process 1 on the root disk: it sets the machine up, starts the server and reaps what is orphaned.
func system() error {
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	if err := mountSystem(); err != nil {
		return err
	}
	if err := settings(); err != nil {
		return err
	}
	if err := rebindDrives(); err != nil {
		return err
	}
	say("mounted")
	for _, argv := range [][]string{
		{"/usr/lib/systemd/systemd-udevd", "--daemon"},
		// Only what a drive, a pool or the network needs: with the rest (ciphers for the CPU, 64 terminals) it takes
		// five times as long.
		{"udevadm", "trigger", "--action=add", "--subsystem-match=block", "--subsystem-match=nvme", "--subsystem-match=net",
			"--subsystem-match=pci", "--subsystem-match=virtio", "--subsystem-match=misc"},
		{"udevadm", "settle"},
		{"ip", "link", "set", "lo", "up"},
		{"ip", "addr", "add", "10.0.2.15/24", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", "10.0.2.2"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
	}
	say("udev and network up")
	return serveAndReap()
}

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// mountAll mounts in the given order, making the mount points.
func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// mountSystem mounts what a distribution's init would.
func mountSystem() error {
	const safe = syscall.MS_NOSUID | syscall.MS_NODEV
	if err := mountAll([]mount{
		{"devpts", "/dev/pts", "devpts", 0, "gid=5,mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", safe, ""},
		{"tmpfs", "/tmp", "tmpfs", safe, "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "nsdelegate,memory_recursiveprot"},
		{"securityfs", "/sys/kernel/security", "securityfs", 0, ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", 0, ""},
		{"bpf", "/sys/fs/bpf", "bpf", 0, ""},
	}); err != nil {
		return err
	}
	for _, dir := range []string{"/run/lock", "/run/lvm", "/run/udev"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, "") // as systemd has it: mount propagation is what kubelets expect
}

// settings writes the kernel's settings that a node has.
func settings() error {
	for file, value := range map[string]string{
		"/sys/bus/pci/drivers/nvme/new_id":              nvmeID,
		"/sys/fs/cgroup/cgroup.subtree_control":         "+cpu +io +memory +pids",
		"/proc/sys/kernel/hung_task_timeout_secs":       "0", // a slow machine is not a hung one
		"/proc/sys/vm/overcommit_memory":                "1",
		"/proc/sys/net/ipv4/ip_forward":                 "1",
		"/proc/sys/kernel/printk":                       "7 4 1 7",
		"/proc/sys/fs/inotify/max_user_instances":       "8192",
		"/proc/sys/kernel/panic_on_oops":                "1",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
	} {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return err
		}
	}
	if name, err := os.ReadFile("/etc/hostname"); err == nil {
		return syscall.Sethostname([]byte(strings.TrimSpace(string(name))))
	}
	return nil
}

// rebindDrives gives the drives that were there when the kernel came up to its driver once more, which took them before
// it knew nvmeID.
func rebindDrives() error {
	const driver = "/sys/bus/pci/drivers/nvme"
	devices, err := filepath.Glob(driver + "/*:*:*.*")
	if err != nil {
		return err
	}
	for _, device := range devices {
		for _, file := range []string{"unbind", "bind"} {
			if err := os.WriteFile(filepath.Join(driver, file), []byte(filepath.Base(device)), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveAndReap runs the server for ever, and takes the exit codes of orphans. It must not use os/exec: its wait would
// race with the reaping.
func serveAndReap() error {
	server, err := os.StartProcess(selfPath, []string{"guestd", "serve"}, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for children: %w", err)
		}
		if pid == server.Pid {
			return fmt.Errorf("the server ended: %v", status)
		}
	}
}

// copyFile copies a file, making the directory.
func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

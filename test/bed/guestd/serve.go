package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// serve answers the host until the machine ends.
func serve() error {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", wire.Port))
	if err != nil {
		return err
	}
	say("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go handle(conn.(*net.TCPConn))
	}
}

// handle does one connection's request. What follows the reply on the connection is the operation's own.
func handle(conn *net.TCPConn) {
	defer conn.Close()
	var req wire.Request
	if err := wire.ReadJSON(conn, &req); err != nil {
		return // the host went away, or probed whether the port answers
	}
	if err := do(conn, req); err != nil {
		// Best effort: when the connection is the reason, the host sees that itself.
		_ = wire.WriteJSON(conn, wire.Reply{Error: err.Error()})
	}
}

// do runs one operation. An error means that no reply has been written yet.
func do(conn *net.TCPConn, req wire.Request) error {
	switch {
	case req.Op == wire.OpHello && req.Hello != nil:
		return hello(conn, *req.Hello)
	case req.Op == wire.OpRun && req.Run != nil:
		return run(conn, *req.Run)
	case req.Op == wire.OpPut && req.File != nil:
		return put(conn, *req.File)
	case req.Op == wire.OpGet && req.File != nil:
		return get(conn, *req.File)
	case req.Op == wire.OpDial && req.Dial != nil:
		return dial(conn, *req.Dial)
	case req.Op == wire.OpDrive && req.Drive != nil:
		return drive(conn, *req.Drive)
	case req.Op == wire.OpRestart:
		return restart(conn)
	}
	return fmt.Errorf("no operation %q with these arguments", req.Op)
}

// hello makes this guest the node that the host says it is.
func hello(conn io.Writer, h wire.Hello) error {
	now := syscall.NsecToTimeval(h.Now.UnixNano())
	if err := syscall.Settimeofday(&now); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	if err := reseed(h.Seed); err != nil {
		return fmt.Errorf("reseed the random number generator: %w", err)
	}
	if h.MachineID != "" {
		if err := os.WriteFile("/etc/machine-id", []byte(h.MachineID+"\n"), 0o444); err != nil {
			return err
		}
	}
	if err := setHostname(h.Hostname); err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	return wire.WriteJSON(conn, wire.Reply{BootID: strings.TrimSpace(string(boot))})
}

// setHostname names the machine now and after a reboot.
func setHostname(name string) error {
	if err := syscall.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := os.WriteFile("/etc/hostname", []byte(name+"\n"), 0o644); err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost %s\n::1 localhost\n", name)
	return os.WriteFile("/etc/hosts", []byte(hosts), 0o644)
}

// reseed credits the seed as entropy and makes the kernel use it at once.
func reseed(seed []byte) error {
	const addEntropy, reseedCRNG = 0x40085203, 0x5207 // RNDADDENTROPY, RNDRESEEDCRNG
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var pool struct {
		bits, size int32
		seed       [64]byte
	}
	n := copy(pool.seed[:], seed)
	pool.bits, pool.size = int32(n*8), int32(n)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), addEntropy, uintptr(unsafe.Pointer(&pool))); errno != 0 {
		return errno
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), reseedCRNG, 0); errno != 0 {
		return errno
	}
	return nil
}

// put writes a file beside its place and renames it, so that a broken transfer leaves the old one.
func put(conn io.ReadWriter, file wire.File) error {
	if err := os.MkdirAll(filepath.Dir(file.Path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file.Path), ".put-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = receive(tmp, conn, file)
	if err := errors.Join(err, tmp.Chmod(os.FileMode(file.Mode)), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file.Path); err != nil {
		return err
	}
	return wire.WriteJSON(conn, wire.Reply{})
}

// receive copies a file's content from where the host has put it.
func receive(to io.Writer, conn io.Reader, file wire.File) error {
	if file.Disk == "" {
		_, err := io.CopyN(to, conn, file.Size)
		return err
	}
	device, err := awaitDisk(file.Disk, 10*time.Second)
	if err != nil {
		return err
	}
	disk, err := os.Open(device)
	if err != nil {
		return err
	}
	defer disk.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, io.LimitReader(disk, file.Size), make([]byte, 1<<20))
	return err
}

// awaitDisk waits for the virtio disk with a serial number and returns its device node.
func awaitDisk(serial string, limit time.Duration) (string, error) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		files, err := filepath.Glob("/sys/block/vd*/serial")
		if err != nil {
			return "", err
		}
		for _, file := range files {
			device := "/dev/" + filepath.Base(filepath.Dir(file))
			if raw, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(raw)) == serial {
				return device, awaitFile(device, limit)
			}
		}
	}
	return "", fmt.Errorf("disk %s did not appear within %s", serial, limit)
}

// get sends a file. What grows meanwhile is cut at the size promised.
func get(conn io.Writer, file wire.File) error {
	f, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file.Path)
	}
	if err := wire.WriteJSON(conn, wire.Reply{Size: info.Size(), Mode: uint32(info.Mode().Perm())}); err != nil {
		return nil //nolint:nilerr // the host went away
	}
	_, _ = io.CopyN(conn, f, info.Size()) // the host counts the bytes
	return nil
}

// dial connects the host with an address in the guest until both directions have ended.
func dial(conn *net.TCPConn, to wire.Dial) error {
	far, err := net.Dial(to.Network, to.Address)
	if err != nil {
		return err
	}
	defer far.Close()
	if err := wire.WriteJSON(conn, wire.Reply{}); err != nil {
		return nil //nolint:nilerr // the host went away
	}
	type halfCloser interface{ CloseWrite() error }
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(conn, far)
		_ = conn.CloseWrite()
	}()
	if _, err := io.Copy(far, conn); err != nil {
		return nil //nolint:nilerr // the host went away: nobody is left to read the other direction
	}
	if half, ok := far.(halfCloser); ok {
		_ = half.CloseWrite()
	}
	<-back
	return nil
}

// drive waits until the NVMe drive with the serial number can be used, or has gone.
func drive(conn io.Writer, want wire.Drive) error {
	look := time.Now().Add(emptyTime)
	for end := time.Now().Add(want.Wait); ; time.Sleep(20 * time.Millisecond) {
		device, err := findDrive(want.Serial)
		if err != nil {
			return err
		}
		if (device == "") == want.Gone {
			return wire.WriteJSON(conn, wire.Reply{Device: device})
		}
		if !want.Gone && time.Now().After(look) {
			if err := resetEmpty(want.Serial); err != nil {
				return err
			}
			look = time.Now().Add(emptyTime)
		}
		if time.Now().After(end) {
			return fmt.Errorf("drive %s: gone=%t was not reached within %s (device %q)", want.Serial, want.Gone, want.Wait, device)
		}
	}
}

// emptyTime is how long a controller may be without a namespace until it is made to look again.
const emptyTime = 2 * time.Second

// resetEmpty resets a drive's controller if it works and has no namespace: the kernel was faster than the host, which
// plugs the one in after the other.
func resetEmpty(serial string) error {
	files, err := filepath.Glob("/sys/class/nvme/nvme*/serial")
	if err != nil {
		return err
	}
	for _, file := range files {
		controller := filepath.Dir(file)
		namespaces, err := filepath.Glob(filepath.Join(controller, "nvme*n*"))
		if err != nil {
			return err
		}
		if len(namespaces) > 0 || read(file) != serial || read(filepath.Join(controller, "state")) != "live" {
			continue
		}
		say("drive %s has no namespace yet: reset", serial)
		if err := os.WriteFile(filepath.Join(controller, "reset_controller"), []byte("1"), 0); err != nil {
			return err
		}
	}
	return nil
}

// read returns the text of a sysfs file, or nothing: a drive that is just leaving cannot be read.
func read(file string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// findDrive returns the node of the first namespace of a drive, once udev has handled it.
func findDrive(serial string) (string, error) {
	files, err := filepath.Glob("/sys/block/nvme*/device/serial")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		if read(file) != serial {
			continue
		}
		dir := filepath.Dir(filepath.Dir(file))
		number, err := os.ReadFile(filepath.Join(dir, "dev"))
		if err != nil {
			continue
		}
		if _, err := os.Stat("/run/udev/data/b" + strings.TrimSpace(string(number))); err == nil {
			return "/dev/" + filepath.Base(dir), nil
		}
	}
	return "", nil
}

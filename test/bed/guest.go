package bed

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/lvme/lvme/test/bed/internal/wire"
)

// Cmd is a command to be run in a guest, as root. Stdin, Stdout and Stderr may be nil.
type Cmd struct {
	Args []string
	Env  []string // besides PATH and HOME; nothing is taken from this process
	Dir  string

	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// TTY gives the command a terminal of Rows lines and Cols columns; its output is all on Stdout.
	TTY        bool
	Rows, Cols uint16
}

// Run runs a command and returns its exit code: 128 and the signal's number for one that was killed. When ctx ends,
// the command's process group is killed. What the command left running in the background stays, but loses its output
// unless that goes to a file.
//
// The error tells that the command could not be run or watched to its end, and quotes the guest's console.
func (n *Node) Run(ctx context.Context, cmd Cmd) (exitCode int, err error) {
	m, err := n.running()
	if err != nil {
		return -1, err
	}
	code, err := m.run(ctx, cmd)
	if err != nil {
		return -1, m.explain(fmt.Errorf("run %q in %s: %w", cmd.Args, n.name, err))
	}
	return code, nil
}

func (m *machine) run(ctx context.Context, cmd Cmd) (int, error) {
	conn, _, err := m.request(ctx, wire.Request{Op: wire.OpRun, Run: &wire.Run{
		Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, TTY: cmd.TTY, Rows: cmd.Rows, Cols: cmd.Cols,
	}})
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	go feed(conn, cmd.Stdin)
	exit, err := follow(conn, cmd)
	switch {
	case ctx.Err() != nil:
		return -1, ctx.Err()
	case err != nil:
		return -1, err
	case exit.Error != "":
		return -1, errors.New(exit.Error)
	}
	return exit.Code, nil
}

// feed sends a command's input, if any. It ends with the connection, at its next write.
func feed(conn io.Writer, stdin io.Reader) {
	if stdin != nil {
		buf := make([]byte, 32<<10)
		for {
			n, err := stdin.Read(buf)
			if n > 0 && wire.WriteFrame(conn, wire.Stdin, buf[:n]) != nil {
				return
			}
			if err != nil {
				break
			}
		}
	}
	_ = wire.WriteFrame(conn, wire.StdinClose, nil)
}

// follow passes a command's output on until its end.
func follow(conn io.Reader, cmd Cmd) (wire.Exit, error) {
	var exit wire.Exit
	for {
		kind, payload, err := wire.ReadFrame(conn)
		if err != nil {
			return exit, fmt.Errorf("the guest hung up: %w", err)
		}
		to := io.Writer(nil)
		switch kind {
		case wire.Stdout:
			to = cmd.Stdout
		case wire.Stderr:
			to = cmd.Stderr
		case wire.Ended:
			return exit, json.Unmarshal(payload, &exit)
		}
		if to == nil {
			continue
		}
		if _, err := to.Write(payload); err != nil {
			return exit, fmt.Errorf("pass on the command's output: %w", err)
		}
	}
}

// diskSize is from where on a file is handed over as a disk, which takes a moment to plug but is ten times as fast as
// the emulated network.
const diskSize = 4 << 20

// Put copies a file of the host into the guest, making the directory.
func (n *Node) Put(ctx context.Context, localPath, guestPath string, mode os.FileMode) error {
	return n.with(fmt.Sprintf("put %s as %s:%s", localPath, n.name, guestPath), func(m *machine) error {
		f, err := os.Open(localPath)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		file := wire.File{Path: guestPath, Mode: uint32(mode.Perm()), Size: info.Size()}
		if file.Size < diskSize {
			return m.put(ctx, f, file)
		}
		n.wiring.Lock()
		defer n.wiring.Unlock()
		return m.putDisk(ctx, localPath, file)
	})
}

// put sends a file over the network.
func (m *machine) put(ctx context.Context, body io.Reader, file wire.File) error {
	conn, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := wire.WriteJSON(conn, wire.Request{Op: wire.OpPut, File: &file}); err != nil {
		return err
	}
	_, sendErr := io.CopyN(conn, body, file.Size)
	// The guest's answer comes first: when it refused the file, sending failed only because of that.
	if _, err := readReply(conn); err != nil {
		return errors.Join(err, sendErr)
	}
	return sendErr
}

// putDisk plugs a file in as a disk for the guest to copy.
func (m *machine) putDisk(ctx context.Context, localPath string, file wire.File) error {
	path, err := filepath.Abs(localPath)
	if err != nil {
		return err
	}
	m.transfers++
	file.Disk = fmt.Sprintf("transfer-%d", m.transfers)
	if err := m.qmp.do(ctx, "blockdev-add", args{"driver": "file", "node-name": file.Disk, "filename": path, "read-only": true}); err != nil {
		return err
	}
	err = m.qmp.do(ctx, "device_add", args{"driver": "virtio-blk-pci", "id": file.Disk, "serial": file.Disk, "drive": file.Disk, "bus": port(transferSlot)})
	if err != nil {
		return errors.Join(err, m.qmp.do(ctx, "blockdev-del", args{"node-name": file.Disk}))
	}
	conn, _, putErr := m.request(ctx, wire.Request{Op: wire.OpPut, File: &file})
	if putErr == nil {
		conn.Close()
	}
	// The slot must be free again, even when the caller's time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), driveTimeout)
	defer cancel()
	if err := m.pull(ctx, file.Disk); err != nil {
		return errors.Join(putErr, err)
	}
	return errors.Join(putErr, m.qmp.do(ctx, "blockdev-del", args{"node-name": file.Disk}))
}

// PutDir copies a directory of the host into the guest, as guestPath.
func (n *Node) PutDir(ctx context.Context, localPath, guestPath string) error {
	return n.with(fmt.Sprintf("put %s as %s:%s", localPath, n.name, guestPath), func(m *machine) error {
		packed, pack := io.Pipe()
		go func() {
			files := tar.NewWriter(pack)
			pack.CloseWithError(errors.Join(files.AddFS(os.DirFS(localPath)), files.Close()))
		}()
		defer packed.Close()
		var said bytes.Buffer
		const unpack = `mkdir -p "$1" && tar -x --no-same-owner -C "$1"`
		code, err := m.run(ctx, Cmd{Args: []string{"sh", "-c", unpack, "sh", guestPath}, Stdin: packed, Stdout: &said, Stderr: &said})
		if err == nil && code != 0 {
			err = fmt.Errorf("tar: exit %d: %s", code, said.Bytes())
		}
		return err
	})
}

// Get copies a regular file of the guest to the host, with its permissions.
func (n *Node) Get(ctx context.Context, guestPath, localPath string) error {
	return n.with(fmt.Sprintf("get %s:%s as %s", n.name, guestPath, localPath), func(m *machine) error {
		conn, reply, err := m.request(ctx, wire.Request{Op: wire.OpGet, File: &wire.File{Path: guestPath}})
		if err != nil {
			return err
		}
		defer conn.Close()
		f, err := os.OpenFile(localPath, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(reply.Mode))
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, conn, reply.Size)
		return errors.Join(err, f.Close())
	})
}

// Dial connects with an address in the guest, as net.Dial would there: "unix" and a path, or "tcp" and a port.
// The connection does not depend on ctx once it is made.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.with(fmt.Sprintf("dial %s %s in %s", network, address, n.name), func(m *machine) error {
		c, _, err := m.request(ctx, wire.Request{Op: wire.OpDial, Dial: &wire.Dial{Network: network, Address: address}})
		if err != nil {
			return err
		}
		conn = c.detach()
		return nil
	})
	return conn, err
}

// with runs an action on the running machine, and says in its error what was attempted.
func (n *Node) with(what string, do func(*machine) error) error {
	m, err := n.running()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := do(m); err != nil {
		return m.explain(fmt.Errorf("%s: %w", what, err))
	}
	return nil
}

// guestConn is a connection to the daemon that is closed when its context or the machine ends.
type guestConn struct {
	*net.TCPConn
	stop func() bool
}

func (c *guestConn) Close() error {
	c.stop()
	return c.TCPConn.Close()
}

// detach frees the connection from its context.
func (c *guestConn) detach() net.Conn {
	c.stop()
	return c.TCPConn
}

// dial opens a connection to the daemon. QEMU accepts it also when nothing in the guest does.
func (m *machine) dial(ctx context.Context) (*guestConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", m.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return &guestConn{TCPConn: conn.(*net.TCPConn), stop: stop}, nil
}

// request sends a request on a connection of its own and reads the reply. The connection is the caller's then.
func (m *machine) request(ctx context.Context, req wire.Request) (*guestConn, wire.Reply, error) {
	conn, err := m.dial(ctx)
	if err != nil {
		return nil, wire.Reply{}, err
	}
	reply, err := exchange(conn, req)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, reply, err
	}
	return conn, reply, nil
}

func exchange(conn io.ReadWriter, req wire.Request) (wire.Reply, error) {
	if err := wire.WriteJSON(conn, req); err != nil {
		return wire.Reply{}, fmt.Errorf("ask the guest: %w", err)
	}
	return readReply(conn)
}

func readReply(conn io.Reader) (wire.Reply, error) {
	var reply wire.Reply
	if err := wire.ReadJSON(conn, &reply); err != nil {
		return reply, fmt.Errorf("the guest did not answer: %w", err)
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}

// awaitDaemon waits until the daemon listens. A request without operation is answered with an error by it.
func (m *machine) awaitDaemon(ctx context.Context) error {
	for {
		// While the guest boots, QEMU accepts the connection and drops it, or lets it hang.
		probe, cancel := context.WithTimeout(ctx, time.Second)
		conn, err := m.dial(probe)
		if err == nil {
			var reply wire.Reply
			answered := wire.WriteJSON(conn, wire.Request{}) == nil && wire.ReadJSON(conn, &reply) == nil
			conn.Close()
			if answered {
				cancel()
				return nil
			}
		}
		cancel()
		select {
		case <-m.ended:
			return errors.New("QEMU ended before the guest answered")
		case <-ctx.Done():
			return fmt.Errorf("the guest does not answer: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

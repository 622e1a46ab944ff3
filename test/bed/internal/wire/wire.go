// Package wire is what the bed's host side and the daemon in its guests say to each other: one TCP connection per
// request, a length-prefixed JSON [Request] and [Reply], then raw bytes or [Frame]s as the operation says. It does no
// I/O of its own beyond the reader and writer that it is given, and it is not a stable protocol: both ends are built
// from one source tree.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Port is the TCP port the daemon listens on in the guest.
const Port = 7000

// maxJSON bounds one encoded request or reply: environments and arguments fit with room to spare.
const maxJSON = 4 << 20

// maxFrame bounds one frame's payload.
const maxFrame = 1 << 20

// The operations.
const (
	OpHello   = "hello"   // makes a restored guest this node: clock, entropy, names
	OpRun     = "run"     // runs a command; frames follow in both directions
	OpPut     = "put"     // Size raw bytes follow, or are on a disk
	OpGet     = "get"     // the reply's Size raw bytes follow
	OpDial    = "dial"    // raw bytes in both directions follow
	OpDrive   = "drive"   // waits until the drive is there, or gone
	OpRestart = "restart" // shuts the guest down cleanly; the machine exits
)

// Request is the first message on a connection, from the host. Only the fields of its Op are set.
type Request struct {
	Op    string
	Hello *Hello `json:",omitempty"`
	Run   *Run   `json:",omitempty"`
	File  *File  `json:",omitempty"`
	Dial  *Dial  `json:",omitempty"`
	Drive *Drive `json:",omitempty"`
}

// Hello gives a guest what makes it a node of its own. Guests are restored from one saved state, so without it they
// would share their random numbers and live in the past.
type Hello struct {
	Now       time.Time
	Seed      []byte // entropy
	Hostname  string
	MachineID string // 32 hexadecimal digits; empty keeps what is on the disk
}

// Run describes a command. Env is complete but for the defaults in the guest (PATH, HOME).
type Run struct {
	Args []string
	Env  []string
	Dir  string
	TTY  bool
	Rows uint16
	Cols uint16
}

// File names a file in the guest. Size is the number of bytes that follow, or that the disk with the serial number Disk
// holds.
type File struct {
	Path string
	Mode uint32
	Size int64
	Disk string `json:",omitempty"`
}

// Dial names an address in the guest, as in net.Dial.
type Dial struct {
	Network string
	Address string
}

// Drive asks for the NVMe drive of a serial number to be there (or gone), known to udev, for at most Wait.
type Drive struct {
	Serial string
	Gone   bool
	Wait   time.Duration
}

// Reply is the daemon's answer to a Request. Error is empty on success.
type Reply struct {
	Error  string `json:",omitempty"`
	Size   int64  `json:",omitempty"` // OpGet
	Mode   uint32 `json:",omitempty"` // OpGet
	Device string `json:",omitempty"` // OpDrive: /dev/nvme0n1
	BootID string `json:",omitempty"` // OpHello
}

// Kind tells what a Frame carries.
type Kind byte

// The kinds of frame. Exit ends the stream; its payload is a JSON Exit.
const (
	Stdin      Kind = iota + 1 // host to guest
	StdinClose                 // host to guest, empty
	Signal                     // host to guest, one byte: the number
	Stdout                     // guest to host
	Stderr                     // guest to host
	Ended                      // guest to host, JSON Exit
)

// Exit tells how a command ended. Error is set when it could not be started or waited for.
type Exit struct {
	Code  int
	Error string `json:",omitempty"`
}

// WriteJSON writes v with its length before it.
func WriteJSON(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(body))) //nolint:gosec // bounded by maxJSON at the reader
	_, err = w.Write(append(msg, body...))
	return err
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxJSON {
		return fmt.Errorf("message of %d bytes is longer than %d", n, maxJSON)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// WriteFrame writes one frame in one Write, so that writers need only a lock around it.
func WriteFrame(w io.Writer, k Kind, payload []byte) error {
	msg := make([]byte, 5, 5+len(payload))
	msg[0] = byte(k)
	binary.BigEndian.PutUint32(msg[1:], uint32(len(payload))) //nolint:gosec // callers write at most maxFrame
	_, err := w.Write(append(msg, payload...))
	return err
}

// ReadFrame reads what WriteFrame wrote.
func ReadFrame(r io.Reader) (Kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes is longer than %d", n, maxFrame)
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(r, payload)
	return Kind(head[0]), payload, err
}

package volatile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The words of the NBD protocol that QEMU uses (doc/proto.md of NBD, "Fixed
// newstyle negotiation" and "Transmission phase"). All numbers are big-endian.
const (
	greeting     = "NBDMAGICIHAVEOPT"
	optionMagic  = 0x49484156454f5054 // IHAVEOPT
	replyMagic   = 0x3e889045565a9
	requestMagic = 0x25609513
	simpleMagic  = 0x67446698

	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1

	optionAbort = 2
	optionGo    = 7

	replyAck         = 1
	replyInfo        = 3
	replyUnsupported = 1<<31 | 1

	infoExport = 0

	hasFlags        = 1 << 0
	sendFlush       = 1 << 2
	sendFUA         = 1 << 3
	sendTrim        = 1 << 5
	sendWriteZeroes = 1 << 6
	transmission    = hasFlags | sendFlush | sendFUA | sendTrim | sendWriteZeroes

	commandRead        = 0
	commandWrite       = 1
	commandDisconnect  = 2
	commandFlush       = 3
	commandTrim        = 4
	commandWriteZeroes = 6

	commandFUA = 1 << 0

	maxLength = 32 << 20
)

// Server serves a drive on a Unix socket, to one client at a time.
type Server struct {
	*Cache
	listener net.Listener
	done     sync.WaitGroup

	mu     sync.Mutex
	client net.Conn
	// idle is closed when the client is served no more.
	idle chan struct{}
}

// Serve serves until it is closed.
func Serve(c *Cache, socket string) (*Server, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	s := &Server{Cache: c, listener: l}
	s.done.Go(s.serve)
	return s, nil
}

// Close ends it. The file of its drive stays open.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.Drain(true)
	s.done.Wait()
	return err
}

// Drain waits until all that a client sent before it went is done, or makes it go.
func (s *Server) Drain(now bool) {
	s.mu.Lock()
	client, idle := s.client, s.idle
	s.mu.Unlock()
	if client == nil {
		return
	}
	if now {
		_ = client.Close()
	}
	<-idle
}

func (s *Server) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.client, s.idle = conn, make(chan struct{})
		s.mu.Unlock()
		err = s.talk(conn)
		_ = conn.Close()
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.ECONNRESET) {
			fmt.Fprintf(os.Stderr, "drive with a cache: %v\n", err)
		}
		s.mu.Lock()
		close(s.idle)
		s.client = nil
		s.mu.Unlock()
	}
}

// talk serves a client until it goes, and says why that was.
func (s *Server) talk(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 1<<20)
	out := bufio.NewWriterSize(conn, 1<<20)
	if err := s.negotiate(in, out); err != nil {
		return err
	}
	for {
		if err := s.answer(in, out); err != nil {
			return err
		}
		if in.Buffered() > 0 {
			continue // more to answer at once
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// negotiate refuses what the client could wish for until it takes the drive.
func (s *Server) negotiate(in io.Reader, out *bufio.Writer) error {
	write(out, []byte(greeting), uint16(fixedNewstyle|noZeroes))
	if err := out.Flush(); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(in, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var option struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(in, binary.BigEndian, &option); err != nil {
			return err
		}
		if option.Magic != optionMagic {
			return fmt.Errorf("an option begins with %#x", option.Magic)
		}
		if _, err := io.CopyN(io.Discard, in, int64(option.Length)); err != nil {
			return err
		}
		reply := func(kind, length uint32) { write(out, uint64(replyMagic), option.Option, kind, length) }
		switch option.Option {
		case optionGo:
			reply(replyInfo, 12)
			write(out, uint16(infoExport), uint64(s.size), uint16(transmission))
			reply(replyAck, 0)
			return out.Flush()
		case optionAbort:
			reply(replyAck, 0)
			return errors.Join(out.Flush(), io.EOF)
		default:
			reply(replyUnsupported, 0)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// request is one of the client's.
type request struct {
	Magic         uint32
	Flags, Type   uint16
	Handle, Start uint64
	Length        uint32
}

// answer does one request. What fails is the client's to know; an error here is
// the end of the conversation.
func (s *Server) answer(in io.Reader, out *bufio.Writer) error {
	var r request
	if err := binary.Read(in, binary.BigEndian, &r); err != nil {
		return err
	}
	if r.Magic != requestMagic {
		return fmt.Errorf("a request begins with %#x", r.Magic)
	}
	var data []byte
	if r.Type == commandRead || r.Type == commandWrite {
		if r.Length > maxLength {
			return fmt.Errorf("a request of %d bytes", r.Length)
		}
		data = make([]byte, r.Length)
	}
	if r.Type == commandWrite {
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
	}
	if r.Type == commandDisconnect {
		return io.EOF
	}
	code := uint32(0)
	if err := s.do(r, data); err != nil {
		code = uint32(unix.EIO)
	}
	write(out, uint32(simpleMagic), code, r.Handle)
	if r.Type == commandRead && code == 0 {
		write(out, data)
	}
	return nil
}

func (s *Server) do(r request, data []byte) (err error) {
	start, length := int64(r.Start), int64(r.Length)
	switch r.Type {
	case commandRead:
		_, err = s.ReadAt(data, start)
	case commandWrite:
		_, err = s.WriteAt(data, start)
	case commandTrim, commandWriteZeroes:
		err = s.Zero(start, length)
	case commandFlush:
		s.Flush()
	default:
		return fmt.Errorf("command %d", r.Type)
	}
	if err == nil && r.Flags&commandFUA != 0 {
		s.Settle(start, length)
	}
	return err
}

// write is for a bufio.Writer, which keeps its error until it is flushed.
func write(out io.Writer, values ...any) {
	for _, v := range values {
		_ = binary.Write(out, binary.BigEndian, v)
	}
}

// punch makes a range of a file read as zeros.
func punch(f *os.File, offset, length int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
}

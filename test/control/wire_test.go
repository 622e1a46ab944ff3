package control

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// wire is the network between the routers and an agent. The agent is reached through it at an address that stays.
type wire struct {
	address string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	// passing is closed while what is sent arrives; it is open in a network that swallows everything.
	passing chan struct{}
}

func newWire(address string) *wire {
	w := &wire{address: address, conns: map[net.Conn]bool{}, passing: make(chan struct{})}
	close(w.passing)
	return w
}

// connect leads to target from now on.
func (w *wire) connect(t *testing.T, target string) {
	t.Helper()
	l, err := net.Listen("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.listener = l
	w.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it was cut
			}
			go w.join(c, target)
		}
	}()
}

// cut has every connection reset, and every new one refused.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != nil {
		_ = w.listener.Close()
		w.listener = nil
	}
	w.reset()
}

// reset ends all connections; w.mu is held.
func (w *wire) reset() {
	for c := range w.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		delete(w.conns, c)
	}
}

// swallow has everything that is sent vanish without a word, as a cut cable does. The end of it resets connections.
func (w *wire) swallow(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.passing:
		if on {
			w.passing = make(chan struct{})
		}
	default:
		if !on {
			w.reset()
			close(w.passing)
		}
	}
}

func (w *wire) join(from net.Conn, target string) {
	if !w.add(from) {
		return
	}
	<-w.gate()
	to, err := net.Dial("tcp", target)
	if err != nil {
		w.drop(from)
		return
	}
	if !w.add(to) {
		w.drop(from)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { w.pump(from, to) })
	both.Go(func() { w.pump(to, from) })
	both.Wait()
	w.drop(from)
	w.drop(to)
}

// pump brings what one end sends to the other until one of them ends.
func (w *wire) pump(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		<-w.gate()
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				err = errors.Join(err, failed)
			}
		}
		if err != nil {
			_ = from.Close()
			_ = to.Close()
			return
		}
	}
}

func (w *wire) gate() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.passing
}

// add keeps a connection to be reset, unless the wire was cut.
func (w *wire) add(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener == nil {
		_ = c.Close()
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = c.Close()
	delete(w.conns, c)
}

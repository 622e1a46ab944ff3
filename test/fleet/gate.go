package main

import (
	"net"
	"sync"
)

// gate stands before the connections of a machine. Shut, nothing comes through in either direction, and new connections are
// accepted by the kernel and hear nothing, as with a machine whose kernel is alive and whose processes are stopped. It is as near to
// a machine without power as the loopback interface comes: there, nothing ends a connection but the router's own patience.
type gate struct {
	mu    sync.Mutex
	opens chan struct{} // closed while the gate is open
	conns map[*gated]bool
}

func newGate() *gate {
	g := &gate{opens: make(chan struct{}), conns: map[*gated]bool{}}
	close(g.opens)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opens = make(chan struct{})
}

// open ends the connections that were behind the shut gate: the machine has been started anew.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.end()
		_ = c.Conn.Close() // nobody is at its other end
	}
	close(g.opens)
}

// pass waits until the gate is open, or is false when the connection has ended.
func (g *gate) pass(ended <-chan struct{}) bool {
	g.mu.Lock()
	opens := g.opens
	g.mu.Unlock()
	select {
	case <-ended:
		return false
	case <-opens:
		return true
	}
}

// listener is a listener behind a gate.
type listener struct {
	net.Listener
	gate *gate
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &gated{Conn: raw, gate: l.gate, ended: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.ended) })
	l.gate.mu.Lock()
	defer l.gate.mu.Unlock()
	l.gate.conns[c] = true
	return c, nil
}

// gated is a connection behind a gate.
type gated struct {
	net.Conn
	gate  *gate
	ended chan struct{}
	end   func()
}

// Read implements net.Conn. What comes when the gate has been shut meanwhile is kept back.
func (c *gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.gate.pass(c.ended) {
		return 0, net.ErrClosed
	}
	return n, err
}

// Write implements net.Conn.
func (c *gated) Write(b []byte) (int, error) {
	if !c.gate.pass(c.ended) {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *gated) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	c.end()
	return c.Conn.Close()
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opens:
		return false
	default:
		return true
	}
}

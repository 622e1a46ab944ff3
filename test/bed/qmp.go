package bed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// qmp is a connection to QEMU's control socket.
type qmp struct {
	conn net.Conn

	mu      sync.Mutex
	nextID  int
	pending map[int]chan message
	watches map[chan message]bool
	closed  error // set once the connection has ended
}

// message is anything QEMU sends: an answer, or an event.
type message struct {
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Device string `json:"device"`
		Status string `json:"status"`
	} `json:"data"`
}

// args are a command's arguments, and QEMU's objects in general.
type args map[string]any

// newQMP greets QEMU over conn.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, pending: map[int]chan message{}, watches: map[chan message]bool{}}
	go q.read()
	return q, q.do(ctx, "qmp_capabilities", nil)
}

// read hands out messages until the connection ends.
func (q *qmp) read() {
	lines := bufio.NewReader(q.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			q.fail(err)
			return
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			q.fail(fmt.Errorf("message %q: %w", line, err))
			return
		}
		q.dispatch(m)
	}
}

func (q *qmp) dispatch(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.ID != nil {
		if to, ok := q.pending[*m.ID]; ok {
			delete(q.pending, *m.ID)
			to <- m
		}
		return
	}
	for watch := range q.watches {
		select {
		case watch <- m:
		default: // a watch has room for far more events than any command causes
		}
	}
}

// fail ends every call that waits.
func (q *qmp) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("QEMU closed its control socket")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = err
	for id, to := range q.pending {
		delete(q.pending, id)
		close(to)
	}
	for watch := range q.watches {
		delete(q.watches, watch)
		close(watch)
	}
}

// do runs a command whose result is of no interest.
func (q *qmp) do(ctx context.Context, command string, arguments args) error {
	return q.ask(ctx, command, arguments, nil)
}

// ask runs a command and decodes its result.
func (q *qmp) ask(ctx context.Context, command string, arguments args, result any) error {
	answer, err := q.send(command, arguments)
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("QMP %s: %w", command, q.end())
		case m.Error != nil:
			return fmt.Errorf("QMP %s %v: %s", command, arguments, m.Error.Desc)
		case result != nil:
			return json.Unmarshal(m.Return, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w", command, ctx.Err())
	}
}

func (q *qmp) send(command string, arguments args) (<-chan message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return nil, q.closed
	}
	q.nextID++
	msg := args{"execute": command, "id": q.nextID}
	if arguments != nil {
		msg["arguments"] = arguments
	}
	raw, err := json.Marshal(msg)
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	q.pending[q.nextID] = answer
	_, err = q.conn.Write(append(raw, '\n'))
	return answer, err
}

func (q *qmp) end() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// watch returns a function that waits for an event for which is returns true. Events count from the call of watch
// on, so that it is called before the command that causes the event. stop must be called.
func (q *qmp) watch(is func(message) bool) (wait func(context.Context) error, stop func()) {
	events := make(chan message, 256)
	q.mu.Lock()
	if q.closed != nil {
		close(events)
	} else {
		q.watches[events] = true
	}
	q.mu.Unlock()
	wait = func(ctx context.Context) error {
		for {
			select {
			case m, ok := <-events:
				if !ok {
					return q.end()
				}
				if is(m) {
					return nil
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.watches, events)
	}
}

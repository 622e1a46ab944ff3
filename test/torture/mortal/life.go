// Package mortal makes agents that die on purpose: before, in the middle of or
// after a certain one of the changes that they make to their host, or whose
// command dies and not they themselves.
//
// It counts and it kills. What is to be true afterwards is none of its business.
package mortal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrDead is what an agent in the process of a test gets to see that was killed.
var ErrDead = errors.New("the agent is dead")

// ErrCut is what an agent gets to see of a change that was cut off.
var ErrCut = errors.New("killed in the middle")

// How says what dies of a change, and when.
type How string

// The ways to die. On a host in memory a change takes no time: there is nothing
// between its beginning and its effect.
const (
	// Before: the agent, just before the change.
	Before How = "agent before"
	// During: the agent, while the change goes on, and takes effect.
	During How = "agent during"
	// After: the agent, after the change, of which it does not hear.
	After How = "agent after"
	// Cut: the command, before it takes effect; the agent lives.
	Cut How = "command early"
	// CutLate: the command, when it has taken effect; the agent lives.
	CutLate How = "command late"
	// Half: the command, when LVM has written down a thin and its pool has not made
	// it; the agent lives. It is for hosts in memory, where nothing takes time.
	Half How = "command halfway"
)

// Ways are all that a true host knows.
var Ways = []How{Before, During, After, Cut, CutLate}

// KillsAgent says that the agent must be started again.
func (h How) KillsAgent() bool { return h == Before || h == During || h == After }

// Deed is one death.
type Deed struct {
	// At is the number of the change, counted from the moment it is ordered.
	At  int
	How How
	// Delay is how long the command may run, on a true host.
	Delay time.Duration
}

// Life counts the changes that one agent makes to its host, and ends, or cuts
// one of them off, as it was ordered to.
type Life struct {
	// Kill ends the process that the agent is, and does not return; CutOff ends
	// the command that it runs. Both are nil for an agent in a test's process.
	Kill   func()
	CutOff func()
	// Doomed, where set, is told that Kill will come when the change has ended, at
	// the latest.
	Doomed func()
	// Orders, where set, is called before each change, to bring new orders.
	Orders func(*Life)
	// Halve undoes the half of the last change that Half leaves out.
	Halve func()
	// Note, where set, is told of each change that has ended.
	Note func(what string, took time.Duration)

	mu      sync.Mutex
	dead    bool
	changes []string
	reads   int
	deed    *Deed
	// base is how many changes there were when the deed was ordered.
	base int
	// struck is closed when the deed is done.
	struck chan struct{}
}

// EndAt orders a death. struck is closed once it has come.
func (l *Life) EndAt(d Deed) (struck <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deed, l.base, l.struck = &d, len(l.changes), make(chan struct{})
	return l.struck
}

// Spare takes the order back.
func (l *Life) Spare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deed = nil
}

// Die keeps everything that the agent still does from having an effect.
func (l *Life) Die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

// begin counts a change and says how it is to go, "" for well.
func (l *Life) begin(what string) (Deed, error) {
	if l.Orders != nil {
		l.Orders(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return Deed{}, ErrDead
	}
	l.changes = append(l.changes, what)
	if l.deed == nil || len(l.changes)-l.base < l.deed.At {
		return Deed{}, nil
	}
	d := *l.deed
	if l.Kill != nil { // It is done now, and once.
		l.deed = nil
	}
	return d, nil
}

// did notes that the deed is done.
func (l *Life) did(d Deed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deed == nil {
		return ErrDead
	}
	l.deed = nil
	close(l.struck)
	if d.How.KillsAgent() {
		l.dead = true
		return ErrDead
	}
	return ErrCut
}

// alive is nil, or ErrDead.
func (l *Life) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return ErrDead
	}
	return nil
}

// Change makes one change, unless it is ordered otherwise. The error is ErrDead
// or ErrCut; what the change itself says is its own business.
func (l *Life) Change(what string, change func()) error {
	d, err := l.begin(what)
	if err != nil {
		return err
	}
	if l.Kill != nil {
		l.changeTruly(what, d, change)
		return nil
	}
	if d.How == Before || d.How == Cut {
		return l.did(d)
	}
	change()
	if d.How == Half {
		l.Halve()
	}
	if d.How != "" {
		return l.did(d)
	}
	return l.alive()
}

// changeTruly is Change for an agent that is a process of its own.
func (l *Life) changeTruly(what string, d Deed, change func()) {
	if l.Doomed != nil && d.How.KillsAgent() {
		l.Doomed()
	}
	switch d.How {
	case Before:
		l.Kill()
	case During:
		defer time.AfterFunc(d.Delay, l.Kill).Stop()
	case Cut, CutLate:
		defer time.AfterFunc(d.Delay, l.CutOff).Stop()
	case After:
	}
	began := time.Now()
	change()
	if l.Note != nil {
		l.Note(what, time.Since(began))
	}
	if d.How == After || d.How == During {
		l.Kill()
	}
}

// before and after are Change in two parts, for a host in memory that calls
// them around its changes.
func (l *Life) before(what string) error {
	d, err := l.begin(what)
	if err == nil && (d.How == Before || d.How == Cut) {
		err = l.did(d)
	}
	return err
}

func (l *Life) after() error {
	l.mu.Lock()
	var d Deed
	if l.deed != nil && len(l.changes)-l.base >= l.deed.At {
		d = *l.deed
	}
	l.mu.Unlock()
	if d.How != "" {
		return l.did(d)
	}
	return l.alive()
}

// read counts a command that changes nothing.
func (l *Life) read() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return ErrDead
	}
	l.reads++
	return nil
}

// Take says which changes of LVM were made since the last time, and how many
// reports of it.
func (l *Life) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(slices.DeleteFunc(l.changes, func(s string) bool { return strings.Contains(s, ":") }), " ")
	if l.reads > 0 {
		text += fmt.Sprintf(" + %d reports", l.reads)
	}
	l.changes, l.reads, l.base = nil, 0, 0
	return text
}

// Made are the changes of all kinds that were made since the last Take.
func (l *Life) Made() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.changes)
}

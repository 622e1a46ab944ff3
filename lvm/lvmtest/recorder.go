package lvmtest

import (
	"context"
	"sync"

	"github.com/lvme/lvme/internal/run"
)

// Recorder passes commands on to Next and remembers them.
type Recorder struct {
	Next run.Runner

	mu   sync.Mutex
	cmds []run.Cmd
}

var _ run.Runner = (*Recorder)(nil)

// Run implements run.Runner.
func (r *Recorder) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	r.mu.Lock()
	r.cmds = append(r.cmds, c)
	r.mu.Unlock()
	return r.Next.Run(ctx, c)
}

// Take gives the commands since the last Take and forgets them.
func (r *Recorder) Take() Commands {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.cmds
	r.cmds = nil
	return taken
}

// Commands are commands in the order in which they were started.
type Commands []run.Cmd

// Changes counts the LVM commands that change something.
func (c Commands) Changes() int { return c.count(true) }

// Reads counts the LVM commands that change nothing, such as reports.
func (c Commands) Reads() int { return c.count(false) }

func (c Commands) count(changes bool) int {
	n := 0
	for _, cmd := range c {
		if cmd.Name == "lvm" && cmd.Changes == changes {
			n++
		}
	}
	return n
}

// Verbs are the LVM commands by their verbs.
func (c Commands) Verbs() []string {
	var verbs []string
	for _, cmd := range c {
		if cmd.Name == "lvm" {
			verbs = append(verbs, cmd.Args[0])
		}
	}
	return verbs
}

// Command demo shows the whole of lvme on one bare-metal node, a virtual one: it boots a node with two NVMe drives,
// runs the agent in it, and does through the agent's CSI socket what Kubernetes' sidecars and a kubelet would, from an
// empty drive to an empty drive. Each step says what it has verified, with the node's own tools wherever they can tell.
// The first mismatch ends it with a non-zero exit code, the agent's log and the node's console.
//
// It is no test of every case; those are beside the code and in the other directories here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

func main() {
	limit := flag.Duration("timeout", 15*time.Minute, "end after this `time`, the building of the node's image not counted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, newScreen(os.Stdout), *limit)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run plays all steps and shows the table of them.
func run(ctx context.Context, s *screen, limit time.Duration) (err error) {
	if err := bed.Build(ctx, bed.Options{}, s.note); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "lvme-demo-")
	if err != nil {
		return err
	}
	p := &play{screen: s, dir: dir, log: &rig.Tail{}, console: &rig.Tail{}, sums: map[*rig.Volume]string{}}
	defer func() { err = errors.Join(err, p.close()) }()
	start := time.Now()
	if err := p.perform(ctx); err != nil {
		s.fault("the agent's log ends with", p.log.Lines(40))
		s.fault("the node's console ends with", p.console.Lines(25))
		return err
	}
	s.summary(time.Since(start))
	return nil
}

// close ends what the play has started.
func (p *play) close() error {
	if p.agent != nil {
		p.agent.Kill()
	}
	var err error
	if p.node != nil {
		err = p.node.Close()
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

package mortal

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/lvme/lvme/internal/mount/mounttest"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/node"
	"github.com/lvme/lvme/volume"
)

// cutCode is the exit code of a program that SIGKILL ended.
const cutCode = 128 + 9

// Runner runs the programs of an agent that may die.
type Runner struct {
	Next run.Runner
	Life *Life
}

// Run implements run.Runner.
func (r Runner) Run(ctx context.Context, c run.Cmd) (res run.Result, err error) {
	if !c.Changes {
		if err := r.Life.read(); err != nil {
			return run.Result{}, err
		}
		return r.Next.Run(ctx, c)
	}
	fate := r.Life.Change(nameOf(c), func() { res, err = r.Next.Run(ctx, c) })
	switch {
	case errors.Is(fate, ErrCut):
		return run.Result{Code: cutCode}, nil
	case fate != nil:
		return run.Result{}, fate
	}
	return res, err
}

// nameOf is a command's name for a person: LVM's verb, or the program after
// "run:".
func nameOf(c run.Cmd) string {
	if c.Name == "lvm" && len(c.Args) > 0 {
		return c.Args[0]
	}
	return "run:" + filepath.Base(c.Name)
}

// Blocks does the same for what is overwritten.
type Blocks struct {
	Next volume.Blocks
	Life *Life
}

func (b Blocks) step(what string, do func() error) (err error) {
	fate := b.Life.Change("blocks:"+what, func() { err = do() })
	return errors.Join(fate, err)
}

// Discard implements volume.Blocks.
func (b Blocks) Discard(ctx context.Context, path string) error {
	return b.step("discard", func() error { return b.Next.Discard(ctx, path) })
}

// Zero implements volume.Blocks.
func (b Blocks) Zero(ctx context.Context, path string, offset, length int64) error {
	return b.step("zero", func() error { return b.Next.Zero(ctx, path, offset, length) })
}

// ZeroShared implements volume.Blocks.
func (b Blocks) ZeroShared(ctx context.Context, path string, offset, length int64) error {
	return b.step("zero", func() error { return b.Next.ZeroShared(ctx, path, offset, length) })
}

// Mounts does the same for what a true host changes without a program.
type Mounts struct {
	node.Host
	Life *Life
}

func (m Mounts) step(what string, do func() error) (err error) {
	fate := m.Life.Change("mount:"+what, func() { err = do() })
	return errors.Join(fate, err)
}

// Bind implements node.Host.
func (m Mounts) Bind(ctx context.Context, source, target string, dir, readOnly bool) error {
	return m.step("bind", func() error { return m.Host.Bind(ctx, source, target, dir, readOnly) })
}

// Remove implements node.Host.
func (m Mounts) Remove(path string) error {
	return m.step("remove", func() error { return m.Host.Remove(path) })
}

// Rule has a host in memory make no change without the life's leave. The life
// is that of whoever is the agent at the moment.
func Rule(h *mounttest.Host, life func() *Life) {
	h.Before = func(op string) error { return life().before("mount:" + op) }
	h.After = func(string) error { return life().after() }
}

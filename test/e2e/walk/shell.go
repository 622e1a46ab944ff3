package walk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Shell is the shell that the blocks are typed into. It ends at the first command that fails.
type Shell struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	dir   string
}

// StartShell starts a shell with that environment.
func StartShell(env []string) (*Shell, error) {
	dir, err := os.MkdirTemp("", "lvme-walk-")
	if err != nil {
		return nil, err
	}
	s := &Shell{dir: dir, cmd: exec.Command("bash", "-e", "-o", "pipefail")}
	s.cmd.Env = env
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.cmd.Stdout
	s.out = bufio.NewReader(stdout)
	return s, s.cmd.Start()
}

// Close ends the shell and what it has started.
func (s *Shell) Close() error {
	s.kill()
	_ = s.cmd.Wait() // it was killed
	return os.RemoveAll(s.dir)
}

func (s *Shell) kill() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }

// ended is printed by the shell after a block.
const ended = "--walk-block-ended--"

// Type runs a script and returns what it prints, on standard output and standard error. The error says that a command
// failed, or that the time was over; the shell is of no use then.
func (s *Shell) Type(ctx context.Context, script string) (string, error) {
	file := filepath.Join(s.dir, "block.sh")
	if err := os.WriteFile(file, []byte(script+"\n"), 0o600); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(s.stdin, "source %s </dev/null\necho; echo %s\n", file, ended); err != nil {
		return "", fmt.Errorf("the shell has ended: %w", err)
	}
	stop := context.AfterFunc(ctx, s.kill)
	defer stop()
	var said bytes.Buffer
	for {
		line, err := s.out.ReadString('\n')
		if strings.TrimSuffix(line, "\n") == ended {
			return strings.TrimSuffix(said.String(), "\n"), nil
		}
		said.WriteString(line)
		if ctx.Err() != nil {
			return said.String(), context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) {
			return said.String(), errors.New("a command failed")
		}
		if err != nil {
			return said.String(), err
		}
	}
}

// Step is a block that was run.
type Step struct {
	Block
	Have string
	Took time.Duration
	Err  error
}

// Run types the blocks until one does not do what it must, and tells of each when it has ended. Each has that time.
func Run(ctx context.Context, shell *Shell, blocks []Block, limit time.Duration, told func(Step)) error {
	for _, b := range blocks {
		step := Step{Block: b}
		began := time.Now()
		blockCtx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %s", limit))
		step.Have, step.Err = shell.Type(blockCtx, b.Script)
		cancel()
		step.Took = time.Since(began)
		if step.Err == nil && b.Shown && !Matches(b.Want, step.Have) {
			step.Err = errors.New("prints something else")
		}
		told(step)
		if step.Err != nil {
			return fmt.Errorf("line %d (%s): %w\n--- typed\n%s\n--- must print\n%s\n--- prints\n%s",
				b.Line, b.Section, step.Err, b.Script, b.Want, step.Have)
		}
	}
	return nil
}

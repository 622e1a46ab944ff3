package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/lvme/lvme/test/bed"
)

// workDir is where a test runs in the guest, on its disk: test binaries are large, and its memory is not.
const workDir = "/work"

// inNode starts a node, does one of the commands exec, run and shell in it, and ends it.
func (c *config) inNode(ctx context.Context, command string) (code int, err error) {
	console := io.Writer(nil)
	if c.console != "" {
		f, err := os.Create(c.console)
		if err != nil {
			return failed, err
		}
		defer f.Close()
		console = f
	}
	n, err := bed.Start(ctx, c.options(console))
	if err != nil {
		return failed, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := c.copyIn(ctx, n); err != nil {
		return failed, err
	}
	cmd, err := c.command(ctx, n, command)
	if err != nil {
		return failed, err
	}
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	if cmd.TTY {
		defer rawTerminal()()
	}
	code, err = n.Run(ctx, cmd)
	if err != nil {
		return failed, err
	}
	if err := c.copyOut(ctx, n); err != nil && code == 0 {
		return failed, err // what failed need not have written its files
	}
	return code, nil
}

// command prepares what is to be run.
func (c *config) command(ctx context.Context, n *bed.Node, command string) (bed.Cmd, error) {
	cmd := bed.Cmd{Args: c.args, Env: environment(n), Dir: "/root", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	switch command {
	case "exec":
		cmd.Stdin = nil
		return cmd, c.prepareTest(ctx, n, &cmd)
	case "shell":
		cmd.Args = []string{"bash", "-l"}
		cmd.TTY = true
		cmd.Rows, cmd.Cols = terminalSize()
	}
	return cmd, nil
}

// environment is what a command in the node gets: this process's LVME_ variables, and that it is on the bed.
func environment(n *bed.Node) []string {
	var env []string
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LVME_") && !strings.HasPrefix(v, "LVME_BED") {
			env = append(env, v)
		}
	}
	return append(env, "LVME_BED=1", "LVME_BED_DRIVES="+strings.Join(n.Serials(), ","))
}

func (c *config) copyIn(ctx context.Context, n *bed.Node) error {
	for _, p := range c.put {
		info, err := os.Stat(p[0])
		if err != nil {
			return err
		}
		if err := n.Put(ctx, p[0], p[1], info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

func (c *config) copyOut(ctx context.Context, n *bed.Node) error {
	var errs []error
	for _, p := range c.get {
		errs = append(errs, n.Get(ctx, p[0], p[1]))
	}
	return errors.Join(errs...)
}

// prepareTest copies the test binary and its testdata, and makes the files that the test writes come back.
func (c *config) prepareTest(ctx context.Context, n *bed.Node, cmd *bed.Cmd) error {
	cmd.Dir = workDir
	binary := path.Join(workDir, filepath.Base(c.args[0]))
	if err := n.Put(ctx, c.args[0], binary, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat("testdata"); err == nil {
		if err := n.PutDir(ctx, "testdata", path.Join(workDir, "testdata")); err != nil {
			return err
		}
	}
	args, outputs, limit := testArgs(c.args[1:])
	c.get = append(c.get, outputs...)
	if c.timeout == 0 && limit > 0 {
		c.timeout = limit + 30*time.Second // the test's own end tells more
	}
	cmd.Args = append([]string{binary}, args...)
	return nil
}

// testArgs adapts a test binary's arguments: the files that it shall write (profiles) get a place in the guest, and
// are to be copied to where go test wants them.
func testArgs(argv []string) (args []string, outputs pairs, timeout time.Duration) {
	outputDir := ""
	files := map[string]string{}
	for _, arg := range argv {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		switch name {
		case "test.outputdir":
			outputDir = value
			continue
		case "test.coverprofile", "test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile", "test.trace":
			guest := path.Join(workDir, name)
			files[guest] = value
			arg = fmt.Sprintf("-%s=%s", name, guest)
		case "test.gocoverdir":
			arg = "-test.gocoverdir=" + workDir
		case "test.timeout":
			timeout, _ = time.ParseDuration(value) // the test binary complains about a wrong one
		}
		args = append(args, arg)
	}
	for guest, host := range files {
		if !filepath.IsAbs(host) {
			host = filepath.Join(outputDir, host)
		}
		outputs = append(outputs, [2]string{guest, host})
	}
	return args, outputs, timeout
}

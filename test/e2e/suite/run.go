package suite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Runner runs specs in the cluster of a kubeconfig.
type Runner struct {
	Program    string // e2e.test
	Kubectl    string
	Kubeconfig string
	Dir        string // gets a log for each spec
	FS         string // ext4 or xfs
	Jobs       int    // how many specs at a time
	Limit      time.Duration
	// Started and Ended are told of each spec, not at the same time.
	Started func(spec string)
	Ended   func(Result)
}

// listed is a line of e2e.test -list-tests: where, and the name.
var listed = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)$`)

// List returns the names of all specs for the driver, in the suite's order. It needs no cluster.
func (r Runner) List(ctx context.Context) ([]string, error) {
	cmd, err := r.command(ctx, "-list-tests")
	if err != nil {
		return nil, err
	}
	var said, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("list the suite's specs: %w: %s%s", err, tail(complaint.String()), tail(said.String()))
	}
	return parseList(said.String()), nil
}

func parseList(said string) []string {
	var specs []string
	lines := bufio.NewScanner(strings.NewReader(said))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := listed.FindStringSubmatch(lines.Text()); m != nil && strings.Contains(m[1], "External Storage [Driver: ") {
			specs = append(specs, strings.TrimSpace(m[1]))
		}
	}
	return specs
}

// tail is the end of a long text.
func tail(text string) string { return text[max(0, len(text)-4000):] }

// command is e2e.test with what it always needs.
func (r Runner) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return nil, err
	}
	driver, err := writeFiles(r.Dir, r.FS)
	if err != nil {
		return nil, err
	}
	always := []string{
		"-storage.testdriver=" + driver, "-kubeconfig=" + r.Kubeconfig, "-kubectl-path=" + r.Kubectl,
		"-provider=skeleton", "-ginkgo.no-color", "-ginkgo.v", "-num-nodes=2",
	}
	cmd := exec.CommandContext(ctx, r.Program, slices.Concat(always, args)...)
	cmd.Dir = r.Dir
	// It ends a spec and cleans up when it is interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 2 * time.Minute
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// Run runs specs until all are run or the time has come; no spec is started whose kind of time is not left: after
// deadline none is. Specs that want to be alone come last. The results are in the order of their ends.
func (r Runner) Run(ctx context.Context, specs []string, deadline time.Time) []Result {
	var together, serial []string
	for _, spec := range specs {
		if alone(spec) {
			serial = append(serial, spec)
		} else {
			together = append(together, spec)
		}
	}
	results := r.pool(ctx, together, max(1, r.Jobs), deadline)
	return append(results, r.pool(ctx, serial, 1, deadline)...)
}

// pool runs specs, some at a time.
func (r Runner) pool(ctx context.Context, specs []string, jobs int, deadline time.Time) []Result {
	next := make(chan string)
	var (
		work    sync.WaitGroup
		mu      sync.Mutex
		results []Result
	)
	for range jobs {
		work.Go(func() {
			for spec := range next {
				result := Result{Spec: spec, FS: r.FS, Outcome: NotRun}
				if ctx.Err() == nil && time.Now().Before(deadline) {
					mu.Lock()
					r.Started(spec)
					mu.Unlock()
					result = r.one(ctx, spec)
				}
				mu.Lock()
				r.Ended(result)
				results = append(results, result)
				mu.Unlock()
			}
		})
	}
	for _, spec := range specs {
		next <- spec
	}
	close(next)
	work.Wait()
	return results
}

// unfit are the characters of a spec's name that a file name should not have.
var unfit = regexp.MustCompile(`[^A-Za-z0-9]+`)

// one runs one spec.
func (r Runner) one(ctx context.Context, spec string) Result {
	began := time.Now()
	name := strings.Trim(unfit.ReplaceAllString(short(spec), "-"), "-")
	result := Result{Spec: spec, FS: r.FS, Outcome: Failed, Log: filepath.Join(r.Dir, r.FS+"-"+name[:min(len(name), 150)]+".log")}
	ctx, cancel := context.WithTimeout(ctx, r.Limit)
	defer cancel()
	said, err := r.exec(ctx, spec, result.Log)
	result.Took = time.Since(began)
	if err != nil {
		result.Why = err.Error()
		return result
	}
	result.Outcome, result.Why = judge(said)
	return result
}

// exec runs one spec into a log, and returns what it said.
func (r Runner) exec(ctx context.Context, spec, log string) (string, error) {
	cmd, err := r.command(ctx, "-ginkgo.focus="+focus(spec), "-ginkgo.timeout="+r.Limit.String())
	if err != nil {
		return "", err
	}
	file, err := os.Create(log)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("ended after %s", r.Limit)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	if _, err := file.Seek(0, 0); err != nil {
		return "", err
	}
	_, err = said.ReadFrom(file)
	return said.String(), err
}

// focus is the expression of ginkgo that selects this spec alone.
func focus(spec string) string { return regexp.QuoteMeta(spec) + "$" }

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// observer asks the agent what it is asked at rest, and watches it from beside.
type observer struct {
	node  *bed.Node
	agent *rig.Agent
	used  []*rig.Volume
	web   http.Client
}

// seen is what was observed.
type seen struct {
	window         time.Duration
	calls, scrapes int
	// commands are LVM commands by the agent's metrics, programs those that the node started by the kernel's trace.
	commands    int
	programs    []string
	residentKiB int
	peakKiB     int
	cpu         time.Duration
	slowdown    float64 // of the node's CPU against this host's
}

const (
	// tracing has the kernel note every program that is started. The shell that switches it on reads on without
	// starting one.
	tracing = `cd /sys/kernel/tracing; echo 0 >tracing_on; : >trace; echo 1 >events/sched/sched_process_exec/enable; echo 1 >tracing_on`
	traced  = `cd /sys/kernel/tracing; echo 0 >tracing_on; echo 0 >events/sched/sched_process_exec/enable; cat trace`
	mount   = `mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing`
	process = `read -r stat </proc/$1/stat; echo "$stat"; while read -r line; do case $line in VmRSS:*|VmHWM:*) echo "$line";; esac; done </proc/$1/status`

	// maxSlowdown is that of an emulated CPU on an idle host. On a busy one a short piece of work tells more, which would
	// flatter the agent.
	maxSlowdown = 16
)

// observe asks for statistics and metrics for a while, and says what that cost.
func (o *observer) observe(ctx context.Context, window time.Duration) (seen, error) {
	o.web.Transport = &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return o.node.Dial(ctx, "tcp", address)
	}}
	s := seen{window: window}
	if err := o.settle(ctx); err != nil {
		return s, err
	}
	pid, err := o.agent.PID(ctx)
	if err != nil {
		return s, err
	}
	if _, err := rig.Sh(ctx, o.node, mount); err != nil {
		return s, err
	}
	before, err := o.commands(ctx)
	if err != nil {
		return s, err
	}
	earlier, err := rig.Sh(ctx, o.node, process+"; "+tracing, pid)
	if err != nil {
		return s, err
	}
	if err := o.ask(ctx, &s); err != nil {
		return s, err
	}
	later, err := rig.Sh(ctx, o.node, process+"; "+traced, pid)
	if err != nil {
		return s, err
	}
	after, err := o.commands(ctx)
	if err != nil {
		return s, err
	}
	s.commands = after - before
	if s.slowdown, err = o.slowdown(ctx); err != nil {
		return s, err
	}
	return s, s.read(earlier, later)
}

// restAfter is longer than the agent waits before it copies the metadata of a volume group that was changed.
const restAfter = 40 * time.Second

// settle waits until the agent has come to rest.
func (o *observer) settle(ctx context.Context) error {
	last, since := -1, time.Now()
	for time.Since(since) < restAfter {
		n, err := o.commands(ctx)
		if err != nil {
			return err
		}
		if n != last {
			last, since = n, time.Now()
		}
		time.Sleep(2 * time.Second) // nothing tells that nothing will happen
	}
	return nil
}

// slowdown is how many times more CPU time a piece of work takes on the node than on this host: the node's CPU is
// emulated, and other work on this host slows it down further.
func (o *observer) slowdown(ctx context.Context) (float64, error) {
	const work = `TIMEFORMAT=%U; time for ((i = 0; i < 300000; i++)); do :; done`
	var there, here float64
	text, err := rig.Sh(ctx, o.node, "{ "+work+"; } 2>&1")
	if err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "bash", "-c", work).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("measure this host's CPU: %w", err)
	}
	_, err = fmt.Sscan(text+" "+string(out), &there, &here)
	if err != nil || here <= 0 || there <= 0 {
		return 0, fmt.Errorf("the CPUs' speed is not told in %q and %q: %w", text, out, err)
	}
	return min(there/here, maxSlowdown), nil
}

// ask is the load of a node at rest.
func (o *observer) ask(ctx context.Context, s *seen) error {
	stats, scrape := time.NewTicker(statsEvery), time.NewTicker(scrapeEvery)
	defer stats.Stop()
	defer scrape.Stop()
	end := time.After(s.window)
	for {
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-scrape.C:
			if _, err := o.scrape(ctx); err != nil {
				return err
			}
			s.scrapes++
		case <-stats.C:
			for _, v := range o.used {
				if _, err := o.agent.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: v.ID, VolumePath: v.Target()}); err != nil {
					return fmt.Errorf("statistics of %s: %w", v.Name, err)
				}
				s.calls++
			}
		}
	}
}

// scrape reads the agent's metrics.
func (o *observer) scrape(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+rig.Metrics+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := o.web.Do(req)
	if err != nil {
		return "", fmt.Errorf("scrape: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("scrape: %s: %s", resp.Status, body)
	}
	return string(body), err
}

var commandCount = regexp.MustCompile(`(?m)^lvme_lvm_command_duration_seconds_count\{.*\} (\d+)$`)

// commands is how many LVM commands the agent has run in its life, by its metrics.
func (o *observer) commands(ctx context.Context) (n int, err error) {
	text, err := o.scrape(ctx)
	if err != nil {
		return 0, err
	}
	for _, m := range commandCount.FindAllStringSubmatch(text, -1) {
		one, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, err
		}
		n += one
	}
	if n < volumes {
		return n, fmt.Errorf("the metrics count %d LVM commands after the creation of %d volumes: %s", n, volumes, text)
	}
	return n, nil
}

var program = regexp.MustCompile(`sched_process_exec: filename=(\S+)`)

// read takes the figures out of what the node's shell said before and after.
func (s *seen) read(earlier, later string) error {
	first, err := rig.ParseCPU(earlier)
	if err != nil {
		return err
	}
	last, err := rig.ParseCPU(later)
	if err != nil {
		return err
	}
	s.cpu = last - first
	for _, m := range program.FindAllStringSubmatch(later, -1) {
		s.programs = append(s.programs, m[1])
	}
	// The shell that ends the trace was itself started, and nothing else may have been.
	if n := len(s.programs); n == 0 || !strings.HasSuffix(s.programs[n-1], "/bash") {
		return fmt.Errorf("the kernel's trace does not end with the shell that reads it: %q", s.programs)
	}
	s.programs = s.programs[:len(s.programs)-1]
	s.residentKiB, s.peakKiB, err = rig.ParseMemory(later)
	return err
}

// raw is the part of one CPU that was used, as the node counts it.
func (s seen) raw() float64 { return s.cpu.Seconds() / s.window.Seconds() }

// share is what that would be of a CPU of this host.
func (s seen) share() float64 { return s.raw() / s.slowdown }

// String is the table of what was observed.
func (s seen) String() string {
	return fmt.Sprintf(`observed for %.0f s: %d calls for statistics (each volume every %.0f s, six times as often as a kubelet), %d scrapes

                                     seen        limit
LVM commands by the agent's metrics  %-10d  0
programs started on the node         %-10d  0        by the kernel's trace, whoever starts them
resident memory                      %-10s  %d MiB   peak %.1f MiB
CPU                                  %-10s  %.0f %%      raw %.2f %% (%.2f s in %.0f s) of an emulated CPU, %.0f times slower`,
		s.window.Seconds(), s.calls, statsEvery.Seconds(), s.scrapes,
		s.commands, len(s.programs),
		fmt.Sprintf("%.1f MiB", float64(s.residentKiB)/1024), maxResidentKiB>>10, float64(s.peakKiB)/1024,
		fmt.Sprintf("%.2f %%", 100*s.share()), 100*maxCPU, 100*s.raw(), s.cpu.Seconds(), s.window.Seconds(), s.slowdown)
}

// judge says which limits are broken.
func (s seen) judge() error {
	var broken []error
	if s.calls == 0 || s.scrapes == 0 {
		broken = append(broken, fmt.Errorf("the agent was asked nothing: %d calls, %d scrapes in %s", s.calls, s.scrapes, s.window))
	}
	if s.commands != 0 {
		broken = append(broken, fmt.Errorf("the agent ran %d LVM commands", s.commands))
	}
	if len(s.programs) != 0 {
		broken = append(broken, fmt.Errorf("programs were started: %q", s.programs))
	}
	if s.residentKiB > maxResidentKiB {
		broken = append(broken, fmt.Errorf("resident memory is %d KiB, more than %d", s.residentKiB, maxResidentKiB))
	}
	if s.share() > maxCPU {
		broken = append(broken, fmt.Errorf("CPU share is %.2f %%, more than %.0f %%", 100*s.share(), 100*maxCPU))
	}
	return errors.Join(broken...)
}

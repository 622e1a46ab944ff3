package fault

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/e2e/bench"
)

// Play is a fault and what is expected of it.
type Play struct {
	Name string
	// Quick ones are part of every run.
	Quick bool
	do    func(ctx context.Context, s *scene) error
}

// Plays are all of them, in an order in which none depends on the one before.
var Plays = []Play{
	{"agent killed while it provisions", true, agentKilled},
	{"agent's pod deleted in the middle of a slow lvcreate", true, slowCreate},
	{"both controllers killed while they provision", true, controllersKilled},
	{"lvme upgraded under pods that write", true, upgraded},
	{"network cut between the nodes", false, networkCut},
	{"API server down for a minute", false, apiDown},
	{"node powered off and back", false, powerCut},
	{"node deleted, and back with its drives", false, nodeDeleted},
}

// Report is told of a play that has ended: what it took, and the figures of the comparison after it.
type Report struct {
	Name, Figures string
	Took          time.Duration
	Err           error
}

// Limits of waiting. The nodes' CPUs are emulated.
const (
	podLimit    = 10 * time.Minute
	waveLimit   = 6 * time.Minute
	settleLimit = 5 * time.Minute
)

// Run plays until deadline, and tells of each play. It returns the names of those that were not begun. An upgrade is
// from one of the releases to another.
func Run(ctx context.Context, b *bench.Bench, releases []cluster.Release, plays []Play, deadline time.Time, told func(Report)) (missed []string, err error) {
	s := &scene{Bench: b, releases: releases}
	began := time.Now()
	if err := s.furnish(ctx); err != nil {
		return nil, fmt.Errorf("make the residents: %w", err)
	}
	told(Report{Name: "residents with data", Took: time.Since(began), Figures: fmt.Sprintf("%d pods", len(s.contents))})
	for _, p := range plays {
		if time.Now().After(deadline) || ctx.Err() != nil {
			missed = append(missed, p.Name)
			continue
		}
		r := s.play(ctx, p)
		told(r)
		if r.Err != nil {
			return missed, fmt.Errorf("%s: %w", r.Name, r.Err)
		}
	}
	began = time.Now()
	figures, err := s.clear(ctx)
	told(Report{Name: "all deleted", Took: time.Since(began), Figures: figures, Err: err})
	return missed, err
}

// scene is what a play has: the cluster, and the residents.
type scene struct {
	*bench.Bench
	releases []cluster.Release
	contents []bench.Content
	homes    map[string]string // the node of each resident
	note     string            // what the play that runs tells beside the comparison
}

// play runs one play, and compares.
func (s *scene) play(ctx context.Context, p Play) Report {
	r := Report{Name: p.Name}
	began := time.Now()
	s.note = ""
	r.Err = p.do(ctx, s)
	if r.Err == nil {
		v, err := s.Settle(ctx, settleLimit, s.contents)
		r.Figures, r.Err = v.String(), err
	}
	if s.note != "" {
		r.Figures += "; " + s.note
	}
	r.Took = time.Since(began)
	return r
}

//go:embed residents.yaml
var residents string

// furnish makes the residents.
func (s *scene) furnish(ctx context.Context) error {
	if err := s.Apply(ctx, strings.ReplaceAll(residents, "${REPLICAS}", fmt.Sprint(len(s.Nodes)))); err != nil {
		return err
	}
	if err := s.residentsReady(ctx); err != nil {
		return err
	}
	s.homes = map[string]string{}
	for i := range s.Nodes {
		pod := fmt.Sprintf("resident-%d", i)
		if _, err := s.Kubectl(ctx, "exec", pod, "--", "sh", "-c", "dd if=/dev/urandom of=/data/file bs=1M count=8 2>/dev/null; sync"); err != nil {
			return err
		}
		sum, err := s.Kubectl(ctx, "exec", pod, "--", "sha256sum", "/data/file")
		if err != nil {
			return err
		}
		node, err := s.Kubectl(ctx, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
		if err != nil {
			return err
		}
		s.homes[pod] = string(node)
		digest, _, _ := strings.Cut(string(sum), " ")
		s.contents = append(s.contents, bench.Content{Pod: pod, File: "/data/file", SHA256: digest})
	}
	return nil
}

// residentsReady waits until all residents run.
func (s *scene) residentsReady(ctx context.Context) error {
	_, err := s.Kubectl(ctx, "rollout", "status", "statefulset/resident", "--timeout="+podLimit.String())
	return err
}

// clear deletes the residents, after which nothing may be left.
func (s *scene) clear(ctx context.Context) (figures string, err error) {
	for _, argv := range [][]string{
		{"delete", "statefulset", "resident"},
		{"delete", "pvc", "-l", "app=resident"},
		{"delete", "storageclass", "fault"},
	} {
		if _, err := s.Kubectl(ctx, argv...); err != nil {
			return "", err
		}
	}
	v, err := s.Empty(ctx, settleLimit)
	return v.String(), err
}

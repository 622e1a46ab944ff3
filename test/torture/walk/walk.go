package walk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/torture/model"
)

// Options say how to walk.
type Options struct {
	// Name is the walk's in its report.
	Name string
	Dice Dice
	// Steps and Time end the walk, whichever is first; 0 for no such end.
	Steps int
	Time  time.Duration
	// Calm makes calls only: no fault is chosen.
	Calm bool
	// FaultEvery: one step in so many has a fault, 8 if 0.
	FaultEvery int
	// Moments is how long a call may take until it is struck at any moment; 0
	// where calls take no time.
	Moments time.Duration
	// Objects is how many volumes and snapshots there are at most, LookEvery
	// after how many steps without a fault everything is compared.
	Objects, LookEvery int
	// Audit looks into every filesystem before it is deleted at the end.
	Audit bool
	// thorough: every volume that can be used is used before it is deleted.
	thorough bool
	// Log is told of every step.
	Log func(format string, args ...any)
}

// errFound ends a walk that has found something.
var errFound = errors.New("found")

// Walk is one walk.
type Walk struct {
	Options
	host   Host
	agent  Agent
	model  *model.Model
	report *Report
	// named counts the names that were given out.
	named int
	// capacity and used are those of the empty node.
	capacity map[string]int64
	used     map[string]int64
	writers  map[*model.Object]Writer
}

// Run walks over a host without volumes, whose agent does not run, and leaves
// it so. The error is of the host, and not of what is tormented.
func Run(ctx context.Context, h Host, o Options) (*Report, error) {
	w, err := begin(ctx, h, o)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	err = w.walk(ctx, began)
	if err == nil {
		err = w.finish(ctx)
	}
	w.report.Took = time.Since(began)
	if err != nil && len(w.report.Findings) > 0 {
		err = nil // what came of it
	}
	return w.report, errors.Join(err, h.Kill(ctx))
}

// begin starts the agent of an empty node and notes how that is.
func begin(ctx context.Context, h Host, o Options) (*Walk, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	o.FaultEvery, o.Objects, o.LookEvery = orElse(o.FaultEvery, 8), orElse(o.Objects, 12), orElse(o.LookEvery, 1)
	w := &Walk{Options: o, host: h, report: newReport(o.Name), writers: map[*model.Object]Writer{}}
	var err error
	if w.agent, err = h.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	w.model = model.New(nil)
	sight, err := w.wiped(ctx)
	if err != nil {
		return nil, err
	}
	w.model, w.used = model.New(sight.Foreign), poolUse(sight)
	w.capacity, err = w.capacities(ctx)
	return w, err
}

func orElse(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}

func (w *Walk) walk(ctx context.Context, began time.Time) error {
	for step := 1; !w.Dice.Worn() && (w.Steps == 0 || step <= w.Steps) && (w.Time == 0 || time.Since(began) < w.Time); step++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		a := w.choose()
		var f *fault
		if !a.alone {
			f = w.chooseFault()
		}
		w.report.Steps++
		w.Log("step %d: %s%s", step, a, f)
		if err := w.execute(ctx, a, f); err != nil {
			return fmt.Errorf("step %d: %s%s: %w", step, a, f, err)
		}
		if f == nil && step%w.LookEvery != 0 {
			continue
		}
		err := w.look(ctx)
		if err == nil && f != nil {
			err = w.sample(ctx)
		}
		if err != nil {
			return fmt.Errorf("after step %d: %s%s: %w", step, a, f, err)
		}
	}
	return nil
}

// found notes a finding; the error ends the walk.
func (w *Walk) found(k model.Kind, format string, args ...any) error {
	f := model.Finding{Kind: k, Text: fmt.Sprintf(format, args...)}
	w.Log("found: %s", f)
	w.report.Findings = append(w.report.Findings, f)
	return errFound
}

// look compares everything. The agent runs.
func (w *Walk) look(ctx context.Context) error {
	if err := w.host.Settled(ctx); err != nil {
		return w.found(model.Stuck, "commands do not end: %v", err)
	}
	sight, err := w.host.Look(ctx)
	if err != nil {
		return fmt.Errorf("look: %w", err)
	}
	return w.compare(ctx, sight)
}

// compare compares what is there, and what the agent lists, with the model.
func (w *Walk) compare(ctx context.Context, sight model.Sight) error {
	answers, err := w.list(ctx)
	if err != nil {
		return w.found(model.Stuck, "the agent cannot list: %v", err)
	}
	w.report.Looks++
	w.report.Volumes += len(w.model.Objects)
	findings := w.model.Judge(sight, answers)
	for _, f := range findings {
		w.Log("found: %s", f)
	}
	if w.report.Findings = append(w.report.Findings, findings...); len(findings) > 0 {
		return errFound
	}
	return nil
}

// list is what the agent lists, page by page.
func (w *Walk) list(ctx context.Context) (model.Answers, error) {
	all := model.Answers{}
	err := w.insist(ctx, func(ctx context.Context) error {
		clear(all)
		for token, more := "", true; more; more = token != "" {
			r, err := w.agent.ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: 5, StartingToken: token})
			if err != nil {
				return err
			}
			for _, e := range r.GetEntries() {
				all[e.GetVolume().GetVolumeId()] = e.GetVolume().GetCapacityBytes()
			}
			token = r.GetNextToken()
		}
		for token, more := "", true; more; more = token != "" {
			r, err := w.agent.ListSnapshots(ctx, &csi.ListSnapshotsRequest{MaxEntries: 5, StartingToken: token})
			if err != nil {
				return err
			}
			for _, e := range r.GetEntries() {
				all[e.GetSnapshot().GetSnapshotId()] = e.GetSnapshot().GetSizeBytes()
			}
			token = r.GetNextToken()
		}
		return nil
	})
	return all, err
}

// capacities are what can be made of each type.
func (w *Walk) capacities(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	for _, kind := range []string{"thin", "thick"} {
		r, err := w.agent.GetCapacity(ctx, &csi.GetCapacityRequest{Parameters: map[string]string{"type": kind}})
		if err != nil {
			return nil, fmt.Errorf("capacity of %s volumes: %w", kind, err)
		}
		all[kind] = r.GetAvailableCapacity()
	}
	return all, nil
}

func poolUse(s model.Sight) map[string]int64 {
	used := map[string]int64{}
	for vg, status := range s.Pools {
		used[vg] = status.DataUsed
	}
	return used
}

// wipePause is how long the agent waits after a wipe that failed.
const wipePause = time.Minute

// wiped waits until what was deleted is gone, and says what is there then.
func (w *Walk) wiped(ctx context.Context) (model.Sight, error) {
	end := time.Now().Add(w.host.Patience() + wipePause)
	for {
		sight, err := w.host.Look(ctx)
		if err != nil {
			return sight, fmt.Errorf("look: %w", err)
		}
		doomed := doomedLVs(sight)
		if len(doomed) == 0 {
			return sight, nil
		}
		if time.Now().After(end) {
			return sight, w.found(model.Stuck, "not wiped within %s: %s", w.host.Patience()+wipePause, strings.Join(doomed, ", "))
		}
		if err := pause(ctx, w.host.Patience()/1000); err != nil {
			return sight, err
		}
	}
}

func doomedLVs(s model.Sight) []string {
	var doomed []string
	for _, vg := range s.VGs {
		for _, lv := range vg.LVs {
			if strings.HasPrefix(vg.Name, "lvme-") && strings.HasPrefix(lv.Name, "w-") {
				doomed = append(doomed, vg.Name+"/"+lv.Name)
			}
		}
	}
	return doomed
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

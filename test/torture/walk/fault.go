package walk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/test/torture/model"
	"github.com/lvme/lvme/test/torture/mortal"
)

// The faults beside the deaths of package mortal.
const (
	restarted = "agent killed at rest"
	stopped   = "agent stopped and started"
	anyMoment = "agent at any moment"
	powerCut  = "power cut"
)

// fault is one that comes in the middle of a call, or before it.
type fault struct {
	// what is one of the faults above, or "" for deed.
	what string
	deed mortal.Deed
	// moment is when it comes, where calls take time.
	moment time.Duration
	// wipes: the fault may come when the call has been answered.
	wipes bool
	// retried: the call is made again afterwards.
	retried bool
	// again is the death of the agent that starts after it, At 0 for none.
	again mortal.Deed
}

// kind is the fault in the report.
func (f *fault) kind() string {
	if f.what != "" {
		return f.what
	}
	return string(f.deed.How)
}

// String is the fault in the log.
func (f *fault) String() string {
	if f == nil {
		return ""
	}
	text := " / " + f.kind()
	if f.deed.At > 0 {
		text += fmt.Sprintf(" change %d", f.deed.At)
	}
	if f.moment > 0 {
		text += fmt.Sprintf(" after %s", f.moment.Round(time.Millisecond))
	}
	if f.again.At > 0 {
		text += fmt.Sprintf(", at the start %s change %d", f.again.How, f.again.At)
	}
	if f.retried {
		text += ", retried"
	}
	return text
}

// quiet says that it comes between calls.
func (f *fault) quiet() bool { return f.what == restarted || f.what == stopped }

// chooseFault is mostly none.
func (w *Walk) chooseFault() *fault {
	if w.Calm || w.Dice.IntN(w.FaultEvery) > 0 {
		return nil
	}
	f := &fault{retried: w.Dice.IntN(2) > 0}
	switch n := w.Dice.IntN(10); {
	case n < 6:
		f.deed = mortal.Deed{At: 1 + w.Dice.IntN(3), How: one(w.Dice, mortal.Ways)}
	case n == 6:
		f.what = one(w.Dice, []string{restarted, stopped})
	case n == 7 && w.Moments > 0:
		f.what = anyMoment
	default:
		f.what = powerCut
	}
	if w.Dice.IntN(4) == 0 {
		f.again = mortal.Deed{At: 1 + w.Dice.IntN(2), How: one(w.Dice, []mortal.How{mortal.Before, mortal.During, mortal.After})}
	}
	switch {
	case w.Moments > 0 && !f.quiet():
		f.moment = time.Duration(w.Dice.IntN(256)) * w.Moments / 256
		f.deed.Delay = f.moment / 4
	case f.what == powerCut:
		f.deed = mortal.Deed{At: 1 + w.Dice.IntN(3), How: one(w.Dice, []mortal.How{mortal.Before, mortal.After})}
	}
	return f
}

// rest has the fault come between two calls.
func (w *Walk) rest(ctx context.Context, f *fault) error {
	end := w.host.Kill
	if f.what == stopped {
		end = w.host.Stop
	}
	if err := end(ctx); err != nil {
		return w.found(model.Stuck, "%s: %v", f.what, err)
	}
	w.report.Faults[f.kind()]++
	return w.start(ctx, f.again)
}

// outcome is the answer of a call with a fault in its middle, and whether that
// came.
type outcome struct {
	answer proto.Message
	err    error
	struck bool
}

// strike makes the call with the fault in its middle.
func (w *Walk) strike(ctx context.Context, a action, f *fault) outcome {
	call := func() (o outcome) {
		ctx, cancel := context.WithTimeout(ctx, w.host.Patience())
		defer cancel()
		o.answer, o.err = a.call(ctx, w.agent)
		return o
	}
	if f.deed.At > 0 {
		if err := w.host.Doom(ctx, f.deed); err != nil {
			return outcome{err: err}
		}
		o := call()
		var err error
		if o.struck, err = w.spare(ctx, f); err != nil {
			w.Log("spare: %v", err)
		}
		return o
	}
	if f.what == powerCut {
		if err := w.startWriters(ctx); err != nil {
			return outcome{err: err}
		}
	}
	done := make(chan outcome, 1)
	go func() { done <- call() }()
	_ = pause(ctx, f.moment)
	if err := w.strikeNow(ctx, f); err != nil {
		w.Log("strike: %v", err)
	}
	o := <-done
	o.struck = true
	return o
}

// spare takes the order of a death back and says whether it was too late. Where
// the call goes on in the background it waits for that.
func (w *Walk) spare(ctx context.Context, f *fault) (struck bool, err error) {
	for end := time.Now().Add(w.host.Patience()); f.wipes; {
		if struck, err := w.host.Struck(ctx); struck || err != nil || time.Now().After(end) {
			break
		}
		if sight, err := w.host.Look(ctx); err != nil || len(doomedLVs(sight)) == 0 {
			break
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return false, err
		}
	}
	if err := w.host.Spare(ctx); err != nil {
		return false, err
	}
	return w.host.Struck(ctx)
}

func (w *Walk) strikeNow(ctx context.Context, f *fault) error {
	if f.what == powerCut {
		return w.host.PowerCut(ctx)
	}
	return w.host.Kill(ctx)
}

// afterwards brings the node back as far as it does not come back by itself:
// an agent is started by whoever keeps it running.
func (w *Walk) afterwards(ctx context.Context, f *fault) error {
	switch {
	case f.what == "" && !f.deed.How.KillsAgent():
		return nil
	case f.what == powerCut:
		if f.deed.At > 0 {
			if err := w.host.PowerCut(ctx); err != nil {
				return err
			}
		}
		w.model.PowerCut()
	default:
		if err := w.host.Kill(ctx); err != nil {
			return err
		}
	}
	if err := w.start(ctx, f.again); err != nil {
		return err
	}
	return w.readRecords(ctx)
}

// atStart is a death in the report.
const atStart = "agent at its start"

// start starts the agent, which may die of it once.
func (w *Walk) start(ctx context.Context, death mortal.Deed) error {
	if err := w.host.Settled(ctx); err != nil {
		return w.found(model.Stuck, "commands of a killed agent do not end: %v", err)
	}
	if death.At > 0 {
		if err := w.host.Doom(ctx, death); err != nil {
			return err
		}
	}
	var err error
	w.agent, err = w.host.Start(ctx)
	if death.At > 0 {
		if spareErr := w.host.Spare(ctx); spareErr != nil {
			return spareErr
		}
		struck, lookErr := w.host.Struck(ctx)
		if lookErr != nil {
			return lookErr
		}
		if struck {
			w.report.Faults[atStart]++
			return errors.Join(w.host.Kill(ctx), w.start(ctx, mortal.Deed{}))
		}
	}
	if err != nil {
		return w.found(model.Stuck, "the agent does not start: %v", err)
	}
	return nil
}

// startWriters has programs write to published filesystems.
func (w *Walk) startWriters(ctx context.Context) error {
	for _, o := range w.model.Pick(func(o *model.Object) bool { return o.FS != "" && o.Published == model.Yes && o.Usable() }) {
		if len(w.writers) == 2 {
			break
		}
		writer, err := w.host.Write(ctx, &o.Volume)
		if err != nil || writer == nil {
			return err
		}
		w.writers[o], o.Records = writer, ""
	}
	if len(w.writers) > 0 {
		return pause(ctx, w.host.Patience()/60) // so that they have something to lose
	}
	return nil
}

// readRecords verifies what writers were told to be safe. Their node has lost
// its power.
func (w *Walk) readRecords(ctx context.Context) error {
	for o, writer := range w.writers {
		delete(w.writers, o)
		writer.End()
		if w.model.Objects[o.LV()] != o || o.Doomed {
			continue
		}
		o.Records = writer.Records()
		if err := w.audit(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

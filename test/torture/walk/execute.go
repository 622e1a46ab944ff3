package walk

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/test/torture/model"
)

// action is one call, or several that belong together, and what the model
// thinks of it.
type action struct {
	verb, on string
	// call makes it. A nil answer is none that can be compared.
	call func(context.Context, Agent) (proto.Message, error)
	// may are the refusals that the model allows, refused that one must come.
	may     []codes.Code
	refused bool
	// then takes a good answer over into the model; its error is what is wrong
	// with the answer. doubt notes that nobody knows whether it took effect.
	then  func(ctx context.Context, answer proto.Message) error
	doubt func()
	// excused verifies a refusal that is allowed.
	excused func(context.Context) error
	// copies: it is made so often at once.
	copies int
	// mounted: it needs what a power cut takes away.
	mounted bool
	// adds: there is one volume or snapshot more afterwards.
	adds bool
	// alone: no fault can come in its middle.
	alone bool
}

// String is the action in the log.
func (a action) String() string {
	text := a.verb
	if a.on != "" {
		text += " " + a.on
	}
	if a.copies > 1 {
		text += fmt.Sprintf(", %d times at once", a.copies)
	}
	return text
}

// passing are the answers after which sidecars and kubelets call again and that
// are no failure of ours.
var passing = []codes.Code{codes.Aborted, codes.DeadlineExceeded, codes.Unavailable}

// insist calls until the answer is none that passes, or one of those that are
// final here.
func (w *Walk) insist(ctx context.Context, call func(context.Context) error, final ...codes.Code) error {
	ctx, cancel := context.WithTimeout(ctx, w.host.Patience())
	defer cancel()
	wait := time.Millisecond
	for {
		err := call(ctx)
		if code := status.Code(err); err == nil || ctx.Err() != nil || !slices.Contains(passing, code) || slices.Contains(final, code) {
			return err
		}
		if pauseErr := pause(ctx, wait); pauseErr != nil {
			return err
		}
		wait = min(2*wait, time.Second)
	}
}

// execute makes a call, with a fault in its middle if there is one.
func (w *Walk) execute(ctx context.Context, a action, f *fault) error {
	w.report.Verbs[a.verb]++
	if f == nil {
		return w.make(ctx, a)
	}
	if f.quiet() {
		if err := w.rest(ctx, f); err != nil {
			return err
		}
		return w.make(ctx, a)
	}
	if a.doubt != nil {
		a.doubt()
	}
	o := w.strike(ctx, a, f)
	if !o.struck {
		return w.judge(ctx, a, o.answer, o.err)
	}
	w.report.Faults[f.kind()]++
	if o.err == nil { // It was answered before the fault came.
		if err := w.take(ctx, a, o.answer); err != nil {
			return err
		}
	}
	if err := w.afterwards(ctx, f); err != nil {
		return err
	}
	if lost := f.what == powerCut && (a.mounted || a.refused); o.err != nil && f.retried && !lost {
		return w.make(ctx, a)
	}
	return nil
}

// make makes the call until its answer is none that passes, and judges it.
func (w *Walk) make(ctx context.Context, a action) error {
	answer, err := w.call(ctx, a)
	return w.judge(ctx, a, answer, err)
}

// call makes the call, several times at once where that is wanted: all good
// answers must be the same.
func (w *Walk) call(ctx context.Context, a action) (proto.Message, error) {
	n := max(1, a.copies)
	answers, errs, done := make([]proto.Message, n), make([]error, n), make(chan int, n)
	for i := range n {
		go func() {
			errs[i] = w.insist(ctx, func(ctx context.Context) (err error) {
				answers[i], err = a.call(ctx, w.agent)
				return err
			}, a.may...)
			done <- i
		}()
	}
	for range n {
		<-done
	}
	for i := 1; i < n; i++ {
		if status.Code(errs[i]) != status.Code(errs[0]) || errs[0] == nil && answers[0] != nil && !proto.Equal(answers[0], answers[i]) {
			return nil, w.found(model.Wrong, "%s was answered with %v, %v and with %v, %v", a, answers[0], errs[0], answers[i], errs[i])
		}
	}
	return answers[0], errs[0]
}

// judge holds the answer of a call that nothing disturbed against the model.
func (w *Walk) judge(ctx context.Context, a action, answer proto.Message, err error) error {
	code := status.Code(err)
	switch {
	case err == errFound: //nolint:errorlint // it is never wrapped
		return err
	case err == nil:
		return w.take(ctx, a, answer)
	case slices.Contains(a.may, code) && a.excused != nil:
		return a.excused(ctx)
	case slices.Contains(a.may, code):
		return nil
	case slices.Contains(passing, code):
		return w.found(model.Stuck, "%s was not done within %s: %v", a, w.host.Patience(), err)
	}
	return w.found(model.Wrong, "%s was answered with %v; allowed are %v", a, err, a.may)
}

// take takes a good answer over.
func (w *Walk) take(ctx context.Context, a action, answer proto.Message) error {
	if a.refused {
		return w.found(model.Wrong, "%s was not refused", a)
	}
	if a.then == nil {
		return nil
	}
	return a.then(ctx, answer)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/test/demo/rig"
)

// act is the run of one step. As with testing.T the first failure ends it, so that a step reads as what it does.
type act struct {
	*play
	ctx context.Context
	err error
}

// run runs the step to its end or its first failure.
func (a *act) run(do func(*act) string) (verified string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		verified = do(a)
	}()
	<-done
	return verified
}

// must ends the step with that error, if it is one.
func (a *act) must(err error) {
	if err == nil {
		return
	}
	if a.ctx.Err() != nil {
		err = errors.Join(context.Cause(a.ctx), err)
	}
	a.err = err
	runtime.Goexit()
}

// fail ends the step.
func (a *act) fail(format string, args ...any) { a.must(fmt.Errorf(format, args...)) }

// equal compares what there is with what must be.
func (a *act) equal(what string, have, want any) { a.must(equal(what, have, want)) }

func equal(what string, have, want any) error {
	if have == want {
		return nil
	}
	return fmt.Errorf("%s: is %v, must be %v", what, have, want)
}

// refused verifies that a call was answered with that code.
func (a *act) refused(what string, err error, want codes.Code) {
	if have := status.Code(err); have != want {
		a.fail("%s: must be answered with %s, was with %s: %w", what, want, have, err)
	}
}

// eventually asks again and again until the answer is nil, for a minute. It is for what the agent does by itself,
// which nothing announces on the outside.
func (a *act) eventually(ask func() error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := ask()
		if err == nil {
			return
		}
		if a.ctx.Err() != nil || time.Now().After(end) {
			a.must(err)
		}
	}
}

// call makes a call of CSI.
func call[Q, R any](a *act, rpc func(context.Context, Q, ...grpc.CallOption) (R, error), request Q) R {
	response, err := rpc(a.ctx, request)
	a.must(err)
	return response
}

// sh runs a script on the node.
func (a *act) sh(script string, args ...string) string {
	out, err := rig.Sh(a.ctx, a.node, script, args...)
	a.must(err)
	return out
}

// lvme runs an operator's command on the node.
func (a *act) lvme(args ...string) string {
	return a.sh(`"$@"`, append([]string{rig.Binary}, args...)...)
}

// show runs an operator's command and shows what it prints.
func (a *act) show(args ...string) { a.screen.table("lvme "+strings.Join(args, " "), a.lvme(args...)) }

func (a *act) create(s rig.Spec) *rig.Volume {
	v, err := a.agent.Create(a.ctx, s)
	a.must(err)
	return v
}

func (a *act) publish(volumes ...*rig.Volume) {
	for _, v := range volumes {
		a.must(a.agent.Publish(a.ctx, v))
	}
}

func (a *act) unpublish(v *rig.Volume) { a.must(a.agent.Unpublish(a.ctx, v)) }

// remove deletes a volume that was in use, twice: what is gone is deleted.
func (a *act) remove(v *rig.Volume) {
	a.unpublish(v)
	for range 2 {
		a.must(a.agent.Delete(a.ctx, v))
	}
}

func (a *act) available(kind string) int64 {
	bytes, err := a.agent.Available(a.ctx, kind)
	a.must(err)
	return bytes
}

// size writes bytes as people do.
func size(bytes int64) string {
	if bytes >= gib {
		return fmt.Sprintf("%.4g GiB", float64(bytes)/float64(gib))
	}
	return fmt.Sprintf("%.4g MiB", float64(bytes)/float64(mib))
}

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

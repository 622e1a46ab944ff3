package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard()) // nodes die on purpose, and gRPC has much to say of it
	os.Exit(m.Run())
}

// startHere starts a role in this process.
func startHere(ctx context.Context, role, dir string) (*peer, error) {
	orders, in := io.Pipe()
	out, answers := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := roles[role](context.WithoutCancel(ctx), dir, orders, answers)
		ended <- errors.Join(err, answers.Close(), orders.Close())
	}()
	return newPeer(in, out, func() error { return <-ended }), nil
}

// TestFleet is a small round: it says nothing of times, but no call for a healthy node may fail, no capacity may be an error, kept
// ones are asked of nobody, deaths are noticed, and in the end each volume is there once and nothing else is.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("a silent death takes a quarter of a minute to be noticed")
	}
	o := options{
		Agents: 20, Volumes: 200, Rounds: 1, Dead: 4, Hung: 2, Calls: 8, Callers: 4, Window: 200 * time.Millisecond, Command: time.Millisecond,
		refresh: time.Hour,
	}
	r, err := measure(t.Context(), o, startHere, func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.judge(); err != nil {
		t.Error(err)
	}
	f := r.Faults
	for _, s := range []sample{f.NoticeDied, f.NoticeSilent, f.EmptyDied, f.EmptySilent} {
		if s.Calls != 2 {
			t.Errorf("of 2 deaths, %d were noticed", s.Calls)
		}
	}
	if f.Asked.Calls == 0 || f.Bad.Codes["Aborted"] == 0 || f.Bad.Codes["Unavailable"] == 0 {
		t.Errorf("bad nodes were asked for %d capacities, and for volumes they answered %v", f.Asked.Calls, f.Bad.Codes)
	}
	if want := o.Dead + o.Hung*perHung; f.Healed.Calls != want {
		t.Errorf("%d volumes were made on healed nodes, want %d", f.Healed.Calls, want)
	}
	for _, s := range []sample{r.Quick.Direct, r.Quick.Routed} {
		if s.Calls != o.Calls || s.P50 <= 0 || s.P99 < s.P50 {
			t.Errorf("a way of creating %d volumes took %+v", o.Calls, s)
		}
	}
	checkFormats(t, r)
}

func checkFormats(t *testing.T, r *report) {
	t.Helper()
	var text, encoded bytes.Buffer
	if err := errors.Join(r.write(&text, "table"), r.write(&encoded, "json")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"20 agents, 200 volumes", "GetCapacity", "0 deletions are owed"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the tables do not say %q:\n%s", want, text.String())
		}
	}
	var back report
	if err := json.Unmarshal(encoded.Bytes(), &back); err != nil || back.Listed != 200 {
		t.Errorf("read back from JSON, %d volumes were listed: %v", back.Listed, err)
	}
	if r.write(io.Discard, "yaml") == nil {
		t.Error("wrote a format that there is not")
	}
}

func TestJudge(t *testing.T) {
	good := func() *report {
		one := sample{Calls: 1}
		return &report{
			Options: options{Agents: 10, Volumes: 3, Rounds: 1, Dead: 1, Window: time.Second}, Fill: one, Listed: 3, Present: 3,
			Capacity: capacities{First: one, One: one, Many: one, Forwarded: 20},
			Faults:   faults{Before: one, During: one, After: one, Asked: one},
		}
	}
	if err := good().judge(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*report){
		"a failed creation":            func(r *report) { r.Fill.Failed = 1 },
		"a capacity that is an error":  func(r *report) { r.Faults.Asked.Failed = 1 },
		"a healthy node that starves":  func(r *report) { r.Faults.After.Calls = 0 },
		"a lost volume":                func(r *report) { r.Listed, r.Present = 2, 2 },
		"a volume left behind":         func(r *report) { r.Present = 4 },
		"an incomplete list":           func(r *report) { r.Listed = 2 },
		"a debt":                       func(r *report) { r.Tombstones = 1 },
		"capacities that are not kept": func(r *report) { r.Capacity.Forwarded = 21 },
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			spoil(r)
			if r.judge() == nil {
				t.Error("nothing was wrong with it")
			}
		})
	}
}

func TestMiddle(t *testing.T) {
	m := middle([]sample{{Calls: 1, P50: 9, P99: 90, PerSecond: 3}, {Calls: 2, P50: 1, P99: 10, PerSecond: 1, Failed: 1, Max: 7}, {Calls: 4, P50: 5, P99: 50, PerSecond: 2}})
	if m.Calls != 7 || m.P50 != 5 || m.P99 != 50 || m.PerSecond != 2 || m.Failed != 1 || m.Max != 7 {
		t.Errorf("the middle is %+v", m)
	}
	var took []time.Duration
	for i := range 200 {
		took = append(took, time.Duration(200-i)*time.Millisecond)
	}
	if s := sampleOf(took); s.P50 != 100 || s.P99 != 198 || s.Max != 200 || s.Calls != 200 {
		t.Errorf("of 1 to 200 ms: %+v", s)
	}
	if s := sampleOf([]time.Duration{time.Millisecond}); s.P50 != 1 || s.P99 != 1 {
		t.Errorf("of one: %+v", s)
	}
}

func TestOptions(t *testing.T) {
	good := options{Agents: 10, Volumes: 10, Rounds: 1, Dead: 3, Hung: 2, Calls: 1, Callers: 1, Window: time.Second}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*options){
		"no agents":         func(o *options) { o.Agents = 0 },
		"too few volumes":   func(o *options) { o.Volumes = 9 },
		"no rounds":         func(o *options) { o.Rounds = 0 },
		"no time":           func(o *options) { o.Window = 0 },
		"mostly bad nodes":  func(o *options) { o.Hung = 3 },
		"a negative number": func(o *options) { o.Dead = -1 },
	} {
		o := good
		spoil(&o)
		if o.validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestGate: through a shut gate nothing comes, a connection behind it can be closed, and none outlives its opening.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := newGate()
	served := make(chan error, 1)
	go func() {
		c, err := listener{l, g}.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
		}
		served <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo := func(wait time.Duration) error {
		if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Write([]byte("x"))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		return err
	}
	if err := echo(time.Minute); err != nil {
		t.Fatalf("through the open gate: %v", err)
	}
	g.shut()
	if err := echo(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("through the shut gate: %v, want nothing", err)
	}
	if !g.isShut() {
		t.Error("the gate does not know that it is shut")
	}
	g.open()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection ended with %v", err)
	}
	if g.isShut() {
		t.Error("the gate does not know that it is open")
	}
}

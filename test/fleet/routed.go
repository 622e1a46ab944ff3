package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
)

// socket is where the router is served, below the directory of the run, and tlsDir where a role's certificate is.
func socket(dir string) string             { return filepath.Join(dir, "s", "csi.sock") }
func tlsDir(role mtls.Role) string         { return string(role) + "-tls" }
func tlsOf(dir string, r mtls.Role) string { return filepath.Join(dir, tlsDir(r)) }

// routed is the process that is the router, as `lvme controller` makes it, with a cluster and a ledger in memory.
type routed struct {
	cluster  routertest.Cluster
	ledger   routertest.Ledger
	registry *prometheus.Registry
	profile  *os.File
}

// runRouter is the router until nobody tells it to be.
func runRouter(ctx context.Context, dir string, in io.Reader, out io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &routed{registry: prometheus.NewRegistry()}
	served := make(chan error, 1)
	served <- nil
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	return obey(in, out, func(o order) (answer, error) {
		if o.Do == "start" {
			<-served
			return answer{}, r.start(ctx, dir, o.Delay, served)
		}
		return r.do(o)
	})
}

func (r *routed) start(ctx context.Context, dir string, refresh time.Duration, served chan<- error) error {
	source := mtls.FromDir(tlsOf(dir, mtls.Router), klog.FromContext(ctx))
	rt, err := router.New(router.Config{
		Cluster: &r.cluster, Ledger: r.ledger.Replica(), Registerer: r.registry, Refresh: refresh,
		Credentials: credentials.NewTLS(source.Client(mtls.Agent)),
	})
	if err != nil {
		served <- nil
		return err
	}
	l, err := driver.Listen(socket(dir))
	if err != nil {
		served <- nil
		return err
	}
	server := driver.NewServer(driver.Services{Identity: driver.NewIdentity(rt.Ready), Controller: rt}, driver.NewMetrics(r.registry))
	go func() {
		var work sync.WaitGroup
		work.Go(func() { rt.Run(ctx) })
		work.Go(func() { rt.Watch(ctx, func(router.News) {}) }) // as the replica does that leads
		err := driver.Serve(ctx, server, l, time.Second)
		work.Wait()
		served <- err
	}()
	return nil
}

func (r *routed) do(o order) (a answer, err error) {
	switch o.Do {
	case "endpoints":
		r.cluster.SetEndpoints(o.Endpoints...)
	case "count":
		a.Counts, err = r.count()
	case "process":
		a.Process, err = takes()
	case "profile":
		err = r.startProfile(o.Path)
	case "heap":
		err = writeHeap(o.Path)
	default:
		err = fmt.Errorf("%w: %s", errOrder, o.Do)
	}
	return a, err
}

// count is what the router's own metrics say: each without its common prefix, with the value of its label.
func (r *routed) count() (map[string]int, error) {
	families, err := r.registry.Gather()
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			counts[key] = int(m.GetGauge().GetValue() + m.GetCounter().GetValue())
		}
	}
	return counts, nil
}

// startProfile ends the CPU profile that is being taken, if any, and begins another unless path is empty.
func (r *routed) startProfile(path string) (err error) {
	if r.profile != nil {
		pprof.StopCPUProfile()
		err = r.profile.Close()
		r.profile = nil
	}
	if path == "" || err != nil {
		return err
	}
	if r.profile, err = os.Create(path); err != nil {
		return err
	}
	return pprof.StartCPUProfile(r.profile)
}

func writeHeap(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}

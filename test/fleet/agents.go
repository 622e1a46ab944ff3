package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
)

// farm is the process that is all agents.
type farm struct {
	dir      string
	ground   *ground
	machines []*machine
}

// runAgents is all agents until nobody tells them to be.
func runAgents(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	f := &farm{dir: dir, ground: &ground{
		source: mtls.FromDir(filepath.Join(dir, tlsDir(mtls.Agent)), klog.FromContext(ctx)), metrics: driver.NewMetrics(prometheus.NewRegistry()), calls: map[string]int{},
	}}
	defer f.stop()
	return obey(in, out, func(o order) (answer, error) { return f.do(ctx, o) })
}

func (f *farm) do(ctx context.Context, o order) (a answer, err error) {
	switch o.Do {
	case "start":
		a.Nodes, err = f.start(ctx, o.Count)
	case "die":
		err = f.each(o.Nodes, (*machine).die)
	case "silence":
		err = f.each(o.Nodes, (*machine).silence)
	case "hang":
		err = f.each(o.Nodes, (*machine).hang)
	case "heal":
		err = f.each(o.Nodes, (*machine).heal)
	case "delay":
		f.ground.delay.Store(int64(o.Delay))
	case "count":
		a.Counts, err = f.count(ctx)
	case "process":
		a.Process, err = takes()
	default:
		err = fmt.Errorf("%w: %s", errOrder, o.Do)
	}
	return a, err
}

// starters is how many machines are made at a time.
const starters = 4

func (f *farm) start(ctx context.Context, n int) ([]node, error) {
	f.machines = make([]*machine, n)
	errs := make([]error, n)
	next := make(chan int)
	var work sync.WaitGroup
	for range starters {
		work.Go(func() {
			for i := range next {
				f.machines[i], errs[i] = newMachine(ctx, f.ground, f.dir, i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	work.Wait()
	var nodes []node
	for _, m := range f.machines {
		if m != nil {
			nodes = append(nodes, node{Name: m.name, Address: m.address, Store: m.store.Key()})
		}
	}
	return nodes, errors.Join(errs...)
}

func (f *farm) each(which []int, do func(*machine) error) error {
	var errs []error
	for _, i := range which {
		errs = append(errs, do(f.machines[i]))
	}
	return errors.Join(errs...)
}

// volumesCount stands beside the methods: how many volumes all stores have.
const volumesCount = "volumes"

func (f *farm) count(ctx context.Context) (map[string]int, error) {
	f.ground.mu.Lock()
	counts := maps.Clone(f.ground.calls)
	f.ground.mu.Unlock()
	counts[volumesCount] = 0
	for _, m := range f.machines {
		all, err := m.store.Volumes(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		counts[volumesCount] += len(all)
	}
	return counts, nil
}

func (f *farm) stop() {
	for _, m := range f.machines {
		if m != nil && m.server != nil {
			m.server.Stop()
			m.store.Close()
		}
	}
}

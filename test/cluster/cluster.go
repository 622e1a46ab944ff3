package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/cluster/parts"
	"github.com/lvme/lvme/test/cluster/plane"
)

// Options describe a cluster.
type Options struct {
	Dir       string      // holds the cluster's files: empty, or not there
	Nodes     int         // 2 when 0
	Drives    []bed.Drive // of each node, which puts its number before the serial numbers; two of 8 GiB, A and B, when empty
	MemoryMiB int         // of each node; 3072 when 0
	CPUs      int         // of each node; 2 when 0
	// Parts are images that the nodes shall have besides those of the sidecars, as parts.ImageAgnhost.
	Parts []parts.Part
	Log   func(format string, args ...any) // gets lines of progress
}

// withDefaults fills in what is left out.
func (o Options) withDefaults() Options {
	o.Nodes = cmp.Or(o.Nodes, 2)
	o.MemoryMiB = cmp.Or(o.MemoryMiB, 3072)
	if len(o.Drives) == 0 {
		o.Drives = []bed.Drive{{Serial: "A", Size: 8 << 30}, {Serial: "B", Size: 8 << 30}}
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o
}

// allParts are the parts of such a cluster: first what takes longest to make.
func (o Options) allParts() []parts.Part {
	list := append(parts.Control(), nodeParts()...)
	return append(append(list, parts.Helm), o.Parts...)
}

// machine is what the bed is told of every node.
func (o Options) machine(set *parts.Set) bed.Options {
	return bed.Options{
		MemoryMiB: o.MemoryMiB,
		CPUs:      o.CPUs,
		Flavour:   nodeImage(set, append(nodeParts(), o.Parts...)),
	}
}

// Build makes what such a cluster consists of, unless it is there. It uses the network of the machine, so that it comes
// before a process is isolated.
func Build(ctx context.Context, opts Options) error {
	opts = opts.withDefaults()
	set, err := parts.Open(opts.Log)
	if err != nil {
		return err
	}
	fetched := make(chan error, 1)
	go func() { fetched <- bed.Fetch(ctx, opts.machine(set), opts.Log) }() // it waits, where the parts compute
	if err := errors.Join(set.Ensure(ctx, opts.allParts()...), <-fetched); err != nil {
		return err
	}
	return bed.Build(ctx, opts.machine(set), opts.Log)
}

// Cluster is a control plane and its nodes.
type Cluster struct {
	*plane.Plane

	opts  Options
	set   *parts.Set
	nodes []*Node

	mu   sync.Mutex
	cuts map[cut]bool
}

// Up makes a cluster and returns when its nodes are ready. The process must be in a network namespace of
// its own (see Isolate), which has one cluster at a time.
func Up(ctx context.Context, opts Options) (*Cluster, error) {
	opts = opts.withDefaults()
	set, err := parts.Open(opts.Log)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	c := &Cluster{opts: opts, set: set, cuts: map[cut]bool{}}
	if err := makeNetwork(opts.Nodes); err != nil {
		return nil, fmt.Errorf("make the cluster's network: %w", err)
	}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bring the cluster up: %w", err), c.Down())
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context) error {
	// The machines start while the control plane does: neither needs the other yet.
	control, machines := make(chan error, 1), make(chan error, 1)
	go func() { control <- c.timed("control plane", func() error { return c.startPlane(ctx) }) }()
	go func() { machines <- c.timed("nodes", func() error { return c.startNodes(ctx) }) }()
	if err := errors.Join(<-control, <-machines); err != nil {
		return err
	}
	return c.timed("nodes ready", func() error {
		if err := c.each(func(n *Node) error { return n.join(ctx) }); err != nil {
			return err
		}
		return c.awaitNodes(ctx)
	})
}

// timed does a step and tells how long it took.
func (c *Cluster) timed(what string, do func() error) error {
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c.opts.Log("%s: %.1fs", what, time.Since(start).Seconds())
	return nil
}

func (c *Cluster) startPlane(ctx context.Context) error {
	var names []string
	for i := 1; i <= c.opts.Nodes; i++ {
		names = append(names, nodeName(i))
	}
	p, err := plane.Start(ctx, plane.Config{
		Parts:   c.set,
		Dir:     filepath.Join(c.opts.Dir, "plane"),
		Address: netip.MustParseAddr(HostAddress),
		Nodes:   names,
		Log:     c.opts.Log,
	})
	c.Plane = p
	return err
}

// startNodes starts the machines, one after another: two at once take as long.
func (c *Cluster) startNodes(ctx context.Context) error {
	for i := 1; i <= c.opts.Nodes; i++ {
		n, err := c.startNode(ctx, i)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// each does something with all nodes at once.
func (c *Cluster) each(do func(*Node) error) error {
	results := make(chan error)
	for _, n := range c.nodes {
		go func() { results <- do(n) }()
	}
	var errs []error
	for range c.nodes {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// awaitNodes waits until all nodes are ready for pods.
func (c *Cluster) awaitNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for _, n := range c.nodes {
		if err := c.await(ctx, "condition=Ready", "node/"+n.Name); err != nil {
			return err
		}
	}
	return nil
}

// await waits for a condition of an object, in the words of kubectl wait. The object may be yet to come.
func (c *Cluster) await(ctx context.Context, condition string, object ...string) error {
	for {
		_, err := c.Kubectl(ctx, nil, append([]string{"wait", "--for=" + condition, "--timeout=20s"}, object...)...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of %v: %w", condition, object, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Node returns the node of a number, from 1.
func (c *Cluster) Node(number int) *Node {
	return c.nodes[number-1]
}

// Nodes are all nodes, by number.
func (c *Cluster) Nodes() []*Node {
	return c.nodes
}

// Program is the path of one of the programs that came with the cluster, as parts.Helm.
func (c *Cluster) Program(p parts.Part) string {
	return c.set.Path(p)
}

// Down ends the cluster. Its directory stays, with logs and without drives.
func (c *Cluster) Down() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Close())
	}
	if c.Plane != nil {
		c.Plane.Stop()
	}
	errs = append(errs, removeNetwork(c.opts.Nodes))
	return errors.Join(errs...)
}

// Import puts an image, an OCI archive, into the stores of all nodes.
func (c *Cluster) Import(ctx context.Context, archive string) error {
	return c.each(func(n *Node) error { return importImage(ctx, n.Node, archive) })
}

// createLog opens a file for a log.
func (c *Cluster) createLog(name string) (io.WriteCloser, error) {
	dir := filepath.Join(c.opts.Dir, "log")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(dir, name))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/router"
)

// patience bounds what is waited for: a call, all agents being served, a death being noticed.
const patience = time.Minute

// bench is the fleet, the router before it, and what was measured so far.
type bench struct {
	options
	dir            string
	say            func(string)
	agents, router *peer
	nodes          []node
	// routed is the router as sidecars have it: one connection to its socket. direct are agents as the router has them.
	routed csi.ControllerClient
	source *mtls.Source
	direct map[int]csi.ControllerClient
	conns  []*grpc.ClientConn
	report *report

	mu    sync.Mutex
	names int
}

// measure makes the fleet, measures all there is to measure, and takes it down.
func measure(ctx context.Context, o options, start starter, say func(string)) (r *report, err error) {
	dir, err := os.MkdirTemp("", "lvme-fleet-") // short: a socket is in it
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir, say: say, direct: map[int]csi.ControllerClient{}, report: &report{Date: time.Now().UTC().Truncate(time.Minute), Where: where(), Options: o}}
	if err := b.certify(); err != nil {
		return nil, err
	}
	b.agents, err = start(ctx, agentsRole, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.agents.end()) }()
	b.router, err = start(ctx, routerRole, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.router.end()) }()
	defer b.hangUp()
	for _, stage := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"make the agents", b.populate},
		{"connect the router", b.connect},
		{"fill", b.fill},
		{"ask for capacity", b.capacity},
		{"rest", b.rest},
		{"compare", b.compare},
		{"list", b.list},
		{"break", b.breakNodes},
		{"look what is left", b.last},
	} {
		say(stage.name)
		if err := b.profiled(ctx, stage.name, stage.do); err != nil {
			return nil, fmt.Errorf("%s: %w", stage.name, err)
		}
	}
	return b.report, nil
}

// profiled is a stage, with a CPU profile of the router if it is asked for.
func (b *bench) profiled(ctx context.Context, name string, stage func(context.Context) error) error {
	if b.profiles == "" {
		return stage(ctx)
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	if _, err := b.router.ask(order{Do: "profile", Path: filepath.Join(b.profiles, name+".cpu")}); err != nil {
		return err
	}
	err := stage(ctx)
	_, stopped := b.router.ask(order{Do: "profile"})
	_, heap := b.router.ask(order{Do: "heap", Path: filepath.Join(b.profiles, name+".heap")})
	return errors.Join(err, stopped, heap)
}

// certify makes the certificates: one for the router, and one that all agents share, as in a cluster.
func (b *bench) certify() error {
	now := time.Now()
	authority, err := mtls.NewAuthority(now)
	if err != nil {
		return err
	}
	for _, role := range []mtls.Role{mtls.Router, mtls.Agent} {
		pair, err := authority.Issue(role, now, mtls.LeafLife)
		if err != nil {
			return err
		}
		dir := tlsOf(b.dir, role)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		for name, text := range map[string][]byte{mtls.CertFile: pair.Cert, mtls.KeyFile: pair.Key, mtls.CAFile: authority.Cert()} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				return err
			}
		}
	}
	b.source = mtls.FromDir(tlsOf(b.dir, mtls.Router), klog.Background())
	return nil
}

func (b *bench) populate(context.Context) error {
	begun := time.Now()
	a, err := b.agents.ask(order{Do: "start", Count: b.Agents})
	b.nodes = a.Nodes
	b.report.Populate = inMS(time.Since(begun))
	return err
}

// connect starts the router and tells it of all agents at once.
func (b *bench) connect(ctx context.Context) error {
	if _, err := b.router.ask(order{Do: "start", Delay: b.refresh}); err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix://"+socket(b.dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	b.conns, b.routed = append(b.conns, conn), csi.NewControllerClient(conn)
	if err := b.weigh("started, no agents"); err != nil {
		return err
	}
	var endpoints []router.Endpoint
	for _, n := range b.nodes {
		endpoints = append(endpoints, router.Endpoint{Node: n.Name, Address: n.Address})
	}
	begun := time.Now()
	if _, err := b.router.ask(order{Do: "endpoints", Endpoints: endpoints}); err != nil {
		return err
	}
	if err := b.await(ctx, servingAgents, b.Agents); err != nil {
		return err
	}
	b.report.Connect = inMS(time.Since(begun))
	return b.weigh("connected")
}

// The router's metrics that are looked at.
const (
	servingAgents = "lvme_router_agents serving"
	awayAgents    = "lvme_router_agents away"
	tombstones    = "lvme_router_tombstones"
)

// await waits until a metric of the router has that value.
func (b *bench) await(ctx context.Context, metric string, value int) error {
	end := time.Now().Add(2 * patience)
	for {
		a, err := b.router.ask(order{Do: "count"})
		switch {
		case err != nil:
			return err
		case a.Counts[metric] == value:
			return nil
		case time.Now().After(end) || ctx.Err() != nil:
			return fmt.Errorf("%s is %d, not %d", metric, a.Counts[metric], value)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// weigh notes what the router takes now.
func (b *bench) weigh(when string) error {
	a, err := b.router.ask(order{Do: "process"})
	b.report.Memory = append(b.report.Memory, weight{When: when, process: a.Process})
	return err
}

// agent is a connection to an agent itself, with the router's certificate.
func (b *bench) agent(i int) (csi.ControllerClient, error) {
	if c := b.direct[i]; c != nil {
		return c, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+b.nodes[i].Address, grpc.WithTransportCredentials(credentials.NewTLS(b.source.Client(mtls.Agent))))
	if err != nil {
		return nil, err
	}
	b.conns, b.direct[i] = append(b.conns, conn), csi.NewControllerClient(conn)
	return b.direct[i], nil
}

func (b *bench) hangUp() {
	for _, c := range b.conns {
		_ = c.Close() // nothing is left to say
	}
}

// name is a new name for a volume.
func (b *bench) name() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names++
	return fmt.Sprintf("pvc-%08x-0000-4000-8000-%012x", b.names, b.names)
}

// volumeBytes is small enough for a node's share of all volumes and those of a round.
const volumeBytes = 64 << 20

// request is what csi-provisioner asks for, of a volume that may be on these nodes.
func (b *bench) request(name string, nodes ...int) *csi.CreateVolumeRequest {
	req := &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: volumeBytes},
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "xfs"}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		}},
		Parameters: map[string]string{
			"csi.storage.k8s.io/pvc/name": name, "csi.storage.k8s.io/pvc/namespace": "default", "csi.storage.k8s.io/pv/name": name,
		},
	}
	if len(nodes) > 0 {
		req.AccessibilityRequirements = &csi.TopologyRequirement{}
	}
	for _, i := range nodes {
		t := driver.Topology(b.nodes[i].Store)
		req.AccessibilityRequirements.Requisite = append(req.AccessibilityRequirements.Requisite, t)
		req.AccessibilityRequirements.Preferred = append(req.AccessibilityRequirements.Preferred, t)
	}
	return req
}

// create creates a volume and returns its id.
func create(ctx context.Context, c csi.ControllerClient, req *csi.CreateVolumeRequest) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := c.CreateVolume(ctx, req)
	return resp.GetVolume().GetVolumeId(), err
}

func remove(ctx context.Context, c csi.ControllerClient, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
	return err
}

// crowd has so many callers do something over and over, until one of them cannot or there is no more.
func crowd(n int, do func(caller int) (more bool, err error)) error {
	errs := make([]error, n)
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			for more := true; more && errs[i] == nil; {
				more, errs[i] = do(i)
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

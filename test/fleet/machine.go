package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/controller"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm/lvmtest"
	"github.com/lvme/lvme/volume"
)

// driveBytes is the one drive of a machine.
const driveBytes = 100 << 30

// machine is a simulated node.
type machine struct {
	name    string
	ground  *ground
	store   *volume.Store
	gate    *gate
	address string
	server  *grpc.Server

	mu sync.Mutex
	// hung is closed when the machine hangs no longer; nil while it does not.
	hung chan struct{}
}

// ground is what all machines share.
type ground struct {
	source  *mtls.Source
	metrics *driver.Metrics
	delay   atomic.Int64 // of each changing command

	mu    sync.Mutex
	calls map[string]int // by method
}

// newMachine makes a machine whose drive has been taken and which serves.
func newMachine(ctx context.Context, g *ground, dir string, i int) (*machine, error) {
	m := &machine{name: fmt.Sprintf("node-%04d", i+1), ground: g, gate: newGate(), address: fmt.Sprintf("127.0.%d.%d:0", 1+i/250, 1+i%250)}
	fake := lvmtest.New()
	d := drive.Drive{
		Name: "nvme0n1", Path: "/dev/nvme0n1", ID: fmt.Sprintf("eui.%032x", i+1), NGUID: fmt.Sprintf("%032x", i+1), Serial: m.name, Model: "Simulated",
		Bytes: driveBytes, LogicalBlock: 512, PhysicalBlock: 512, Transport: "pcie", State: "live", Content: drive.Content{Probed: true, Blank: true},
	}
	fake.AddDrive(d.Path, d.Bytes)
	host := agent.Host{
		Runner: slow{fake, &g.delay}, Kernel: fake, Blocks: noBlocks{}, Machine: hostrecord.Machine{ID: fmt.Sprintf("%032x", i+1)},
		Drives: func(context.Context) ([]drive.Drive, error) { return []drive.Drive{d}, nil },
	}
	var err error
	if m.store, err = volume.Open(ctx, host.StoreOptions(filepath.Join(dir, m.name), drive.DefaultConfig())); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	if err := m.store.Init(ctx, m.store.Plan(nil), func(string) {}); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	return m, m.serve(ctx)
}

// serve has the agent of the machine listen as the true one does.
func (m *machine) serve(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", m.address)
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	m.address = l.Addr().String()
	identity := driver.NewIdentity(func(context.Context) error { return nil }).WithManifest(func() map[string]string {
		return map[string]string{driver.ManifestNode: m.name, driver.ManifestStore: m.store.Key()}
	})
	// As the agent's cluster listener has them.
	m.server = driver.NewServer(driver.Services{Identity: identity, Controller: controller.New(m.store, nil), Node: health{store: m.store}}, m.ground.metrics,
		grpc.ChainUnaryInterceptor(m.intercept), grpc.Creds(credentials.NewTLS(m.ground.source.Server(mtls.Router))), grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))
	go func(s *grpc.Server) { _ = s.Serve(listener{l, m.gate}) }(m.server) // it ends when it is told to
	return nil
}

// health is what the agent serves a router of the node service.
type health struct {
	csi.UnimplementedNodeServer
	store *volume.Store
}

// NodeGetStorageHealth implements csi.NodeServer.
func (h health) NodeGetStorageHealth(ctx context.Context, _ *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	all, _ := h.store.StorageHealth(ctx)
	return driver.StorageHealth(all), nil
}

// intercept counts the calls, and holds them while the machine hangs.
func (m *machine) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	m.ground.mu.Lock()
	m.ground.calls[method]++
	m.ground.mu.Unlock()
	m.mu.Lock()
	hung := m.hung
	m.mu.Unlock()
	if hung != nil && !strings.Contains(info.FullMethod, ".Identity/") {
		select {
		case <-hung:
		case <-ctx.Done():
			return nil, driver.ToStatus(ctx.Err())
		}
	}
	return next(ctx, req)
}

// The ways in which a machine goes bad, and how it gets well.

// die ends the agent with its listener and connections, and the kernel tells the router so.
func (m *machine) die() error { m.server.Stop(); return nil }

// silence takes the machine away without a word.
func (m *machine) silence() error { m.gate.shut(); return nil }

// hang has no call of the controller and the node service end.
func (m *machine) hang() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hung = make(chan struct{})
	return nil
}

// heal undoes any of them.
func (m *machine) heal() error {
	m.mu.Lock()
	if m.hung != nil {
		close(m.hung)
		m.hung = nil
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	if m.gate.isShut() {
		m.gate.open()
		return nil
	}
	return m.serve(context.Background())
}

// slow has changing commands of the fake take as long as those of LVM.
type slow struct {
	*lvmtest.Fake
	delay *atomic.Int64
}

// Run implements run.Runner.
func (s slow) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if d := time.Duration(s.delay.Load()); c.Changes && d > 0 {
		time.Sleep(d)
	}
	return s.Fake.Run(ctx, c)
}

// noBlocks are devices that nobody reads.
type noBlocks struct{}

// Discard implements volume.Blocks.
func (noBlocks) Discard(context.Context, string) error { return nil }

// Zero implements volume.Blocks.
func (noBlocks) Zero(context.Context, string, int64, int64) error { return nil }

// ZeroShared implements volume.Blocks.
func (noBlocks) ZeroShared(context.Context, string, int64, int64) error { return nil }

var errOrder = errors.New("nobody knows such an order")

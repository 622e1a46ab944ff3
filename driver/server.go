package driver

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
)

// Services are the CSI services of one process; nil ones are not served.
type Services struct {
	Identity   csi.IdentityServer
	Controller csi.ControllerServer
	Node       csi.NodeServer
}

// NewServer returns a server of these services with everything that surrounds
// a call: log, metrics, error codes, recovery. Handlers return plain errors.
func NewServer(s Services, m *Metrics, opts ...grpc.ServerOption) *grpc.Server {
	opts = append(opts, grpc.ChainUnaryInterceptor(logCall, m.measure, convert, rescue))
	srv := grpc.NewServer(opts...)
	if s.Identity != nil {
		csi.RegisterIdentityServer(srv, s.Identity)
	}
	if s.Controller != nil {
		csi.RegisterControllerServer(srv, s.Controller)
	}
	if s.Node != nil {
		csi.RegisterNodeServer(srv, s.Node)
	}
	return srv
}

// Serve serves l until ctx ends. It then takes no new calls and lets the
// running ones end for at most grace, after which their contexts end and Serve
// returns without them. LVM commands that are still running are the Store's
// to wait for.
func Serve(ctx context.Context, srv *grpc.Server, l net.Listener, grace time.Duration) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop(ctx, srv, grace)
	return nil
}

func stop(ctx context.Context, srv *grpc.Server, grace time.Duration) {
	stopped := make(chan struct{})
	go func() { srv.GracefulStop(); close(stopped) }()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
		klog.FromContext(ctx).Info("calls were still running at the end of the grace period", "grace", grace)
		srv.Stop()
	}
}

package driver

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// How soon router and agents notice that the other has gone without a word, as
// a machine does that loses its power. gRPC lets a client ask every 10 seconds
// at most.
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
)

// AskForLife has a client notice that its server is gone.
func AskForLife() grpc.DialOption {
	return grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true})
}

// ShowLife has a server put up with AskForLife, which it would hang up on
// otherwise, and notice itself that a client is gone.
func ShowLife() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 3 * keepaliveTime, Timeout: keepaliveTimeout}),
	}
}

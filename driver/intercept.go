package driver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/kubernetes-csi/csi-lib-utils/protosanitizer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

// requestIDHeader carries a request's id from the process that got it first to
// the one that serves it, so that both logs name it.
const requestIDHeader = "lvme-request-id"

// detail is the verbosity for requests and for calls that change nothing.
const detail = 4

// quiet are the calls that somebody makes every few seconds or minutes.
var quiet = map[string]bool{
	"Probe": true, "GetPluginInfo": true, "GetPluginCapabilities": true,
	"ControllerGetCapabilities": true, "NodeGetCapabilities": true, "NodeGetInfo": true, "NodeGetVolumeStats": true,
	"NodeGetVolumeHealth": true, "NodeGetStorageHealth": true,
	"GetCapacity": true, "ListVolumes": true, "ListSnapshots": true, "ControllerGetVolume": true, "GetSnapshot": true,
}

type requestIDKey struct{}

// RequestID is the id of the request that ctx belongs to, "" for none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// WithRequestID has a call made with the context returned carry the request id
// of ctx to the process it is sent to.
func WithRequestID(ctx context.Context) context.Context {
	if id := RequestID(ctx); id != "" {
		return metadata.AppendToOutgoingContext(ctx, requestIDHeader, id)
	}
	return ctx
}

var requestIDForm = regexp.MustCompile(`^[a-zA-Z0-9-]{1,64}$`)

// requestID takes the caller's id if it is fit to be logged, else a new one.
func requestID(ctx context.Context) string {
	if ids := metadata.ValueFromIncomingContext(ctx, requestIDHeader); len(ids) == 1 && requestIDForm.MatchString(ids[0]) {
		return ids[0]
	}
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}

// logCall gives each call an id and a logger that names it, and logs how the
// call ended. It is the only place where a failed call is logged.
func logCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	id, name := requestID(ctx), method(info)
	log := klog.FromContext(ctx).WithValues("method", name, "request", id)
	ctx = klog.NewContext(context.WithValue(ctx, requestIDKey{}, id), log)
	log.V(detail).Info("call", "content", protosanitizer.StripSecrets(req))
	start := time.Now()
	resp, err := next(ctx, req)
	log = log.WithValues("took", time.Since(start).Round(time.Microsecond), "code", status.Code(err))
	switch {
	case err != nil:
		log.Error(err, "call failed")
	case quiet[name]:
		log.V(detail).Info("call done", "content", protosanitizer.StripSecrets(resp))
	default:
		log.Info("call done")
	}
	return resp, err
}

// convert gives every error of a handler its gRPC code.
func convert(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err != nil {
		return nil, ToStatus(err)
	}
	return resp, nil
}

// rescue turns a panic into an error: the process serves the calls of many
// volumes and keeps their locks.
func rescue(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s panicked: %v", method(info), p)
			klog.FromContext(ctx).Error(nil, "panic", "value", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	return next(ctx, req)
}

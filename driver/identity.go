package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Identity is the CSI identity service.
type Identity struct {
	csi.UnimplementedIdentityServer
	ready    func(context.Context) error
	manifest func() map[string]string
}

var _ csi.IdentityServer = (*Identity)(nil)

// NewIdentity returns the identity service of a process whose health ready
// tells: nil when it can serve, an ErrStarting while it gets ready, any other
// error when it needs help. Ready is called for each Probe and must be cheap.
func NewIdentity(ready func(context.Context) error) *Identity {
	return &Identity{ready: ready, manifest: func() map[string]string { return nil }}
}

// WithManifest has GetPluginInfo answer with what manifest says at that moment.
// It must be cheap too.
func (i *Identity) WithManifest(manifest func() map[string]string) *Identity {
	i.manifest = manifest
	return i
}

// GetPluginInfo implements csi.IdentityServer.
func (i *Identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: Name, VendorVersion: Version(), Manifest: i.manifest()}, nil
}

// GetPluginCapabilities implements csi.IdentityServer.
func (i *Identity) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		{Type: &csi.PluginCapability_VolumeExpansion_{
			VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE},
		}},
	}}, nil
}

func service(t csi.PluginCapability_Service_Type) *csi.PluginCapability {
	return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}}}
}

// Probe implements csi.IdentityServer. The specification tells "still
// initializing" (OK, ready false) from "unhealthy" (FailedPrecondition): the
// caller waits for the one and restarts the process for the other.
func (i *Identity) Probe(ctx context.Context, _ *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	err := i.ready(ctx)
	if err != nil && !errors.Is(err, ErrStarting) {
		return nil, status.Error(codes.FailedPrecondition, message(err))
	}
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(err == nil)}, nil
}

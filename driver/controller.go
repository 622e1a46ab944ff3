package driver

import (
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// volumeCalls are offered by every store, thinCalls by one that has thin
// volumes: CSI callers snapshot whatever they can create.
var (
	volumeCalls = []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	thinCalls = []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
	}
)

// ControllerCapabilities are those of a controller service, of one store or of
// a whole cluster, with or without thin volumes.
func ControllerCapabilities(thin bool) *csi.ControllerGetCapabilitiesResponse {
	calls := volumeCalls
	if thin {
		calls = slices.Concat(volumeCalls, thinCalls)
	}
	resp := new(csi.ControllerGetCapabilitiesResponse)
	for _, t := range calls {
		resp.Capabilities = append(resp.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return resp
}

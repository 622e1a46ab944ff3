package driver

import (
	"runtime/debug"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

const (
	// Name is the CSI driver's name and the provisioner in a StorageClass.
	Name = "csi.lvme.dev"
	// TopologyKey is the one topology key; its value is a store key.
	TopologyKey = "topology.lvme.dev/store"
)

// What an agent's GetPluginInfo says of itself in its manifest, once its store
// is open: a router learns from it whom it talks to.
const (
	// ManifestStore is the key of the store that the agent serves.
	ManifestStore = "lvme.dev/store"
	// ManifestNode is the agent's node_id.
	ManifestNode = "lvme.dev/node"
)

// The parameters of a StorageClass; docs/parameters.md tells people of them.
const (
	ParamDriveClass      = "driveClass"
	ParamType            = "type"
	ParamProfile         = "profile"
	ParamMkfsOptions     = "mkfsOptions"
	ParamAllowModeChange = "allowModeChange"

	// ParamFSType is Kubernetes' name for the filesystem. csi-provisioner puts
	// it into the capability and takes it out; other callers leave it here.
	ParamFSType = sidecarPrefix + "fstype"
)

// sidecarPrefix is reserved for what Kubernetes' sidecars add to parameters,
// such as the names of the claim and of the snapshot object.
const sidecarPrefix = "csi.storage.k8s.io/"

// IsSidecarParameter says that Kubernetes' sidecars own this parameter, which
// is tolerated and not read.
func IsSidecarParameter(key string) bool { return strings.HasPrefix(key, sidecarPrefix) }

// Topology is the topology of everything in that store.
func Topology(storeKey string) *csi.Topology {
	return &csi.Topology{Segments: map[string]string{TopologyKey: storeKey}}
}

// version is set by the build: -ldflags "-X github.com/lvme/lvme/driver.version=v1.2.3".
var version string

// Version is the version of this binary: the one given to the build, else the
// one that Go recorded, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

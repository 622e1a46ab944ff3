// Package parts makes what a Kubernetes cluster consists of: the programs of the control plane and of the nodes, the CSI
// sidecars, the test suite, and the container images that stand in for those of a registry. The only sources are the Go
// module proxy and Debian's packages; nothing is pulled.
//
// Each part is a stage of the bed's cache (package stage), built once and kept until its recipe changes: the pinned
// module in modules/, the flags, and the parts that it needs. A build that is interrupted goes on with the part that it
// was at, and Go's own cache keeps what of that part was compiled.
//
// It runs nothing of what it makes, and knows nothing of lvme: its image is made by deploy/image.
//
// modules/ holds a go.mod and go.sum per build. They are named .txt so that they are data here and modules only in the
// directory of a build. The one of Kubernetes is the release's own list of requirements, with its staging modules
// replaced by their releases. The one of the sidecars replaces everything that Kubernetes uses too by Kubernetes'
// version, so that it is compiled once; only gRPC, CSI and what Kubernetes does not have are the sidecars' own.
package parts

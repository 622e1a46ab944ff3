package parts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// program is a Go program of some module.
type program struct {
	part   Part
	module string // below modules/
	pkg    string // its import path
	tests  bool   // it is the package's tests
	// versioned gives the linker flags for the version that the program tells; nil if it has none.
	versioned func(m module) (string, error)
}

// programs are all that are built from modules.
var programs = []program{
	{part: APIServer, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", versioned: kubernetesVersion},
	{part: ControllerManager, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", versioned: kubernetesVersion},
	{part: Scheduler, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", versioned: kubernetesVersion},
	{part: Kubectl, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kubectl", versioned: kubernetesVersion},
	{part: Kubelet, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kubelet", versioned: kubernetesVersion},
	{part: agnhost, module: "kubernetes", pkg: "k8s.io/kubernetes/test/images/agnhost", versioned: kubernetesVersion},
	{part: E2ETest, module: "kubernetes", pkg: "k8s.io/kubernetes/test/e2e", tests: true, versioned: kubernetesVersion},
	{part: Ginkgo, module: "kubernetes", pkg: "github.com/onsi/ginkgo/v2/ginkgo"},
	{part: Etcd, module: "etcd", pkg: "go.etcd.io/etcd/server/v3"},
	{part: Helm, module: "helm", pkg: "helm.sh/helm/v4/cmd/helm"},
	{part: provisioner, module: "sidecars", pkg: provisionerModule + "/cmd/csi-provisioner", versioned: sidecarVersion(provisionerModule)},
	{part: resizer, module: "sidecars", pkg: resizerModule + "/cmd/csi-resizer", versioned: sidecarVersion(resizerModule)},
	{part: snapshotter, module: "sidecars", pkg: snapshotterModule + "/cmd/csi-snapshotter", versioned: sidecarVersion(snapshotterModule)},
	{part: SnapshotController, module: "sidecars", pkg: snapshotterModule + "/cmd/snapshot-controller", versioned: sidecarVersion(snapshotterModule)},
}

// The modules whose versions are also those of images.
const (
	kubernetesModule  = "k8s.io/kubernetes"
	provisionerModule = "github.com/kubernetes-csi/external-provisioner/v6"
	resizerModule     = "github.com/kubernetes-csi/external-resizer/v2"
	snapshotterModule = "github.com/kubernetes-csi/external-snapshotter/v8"
)

// kubernetesVersion are the linker flags for a program of Kubernetes, which otherwise takes itself for v0.0.0 and is
// refused by others.
func kubernetesVersion(m module) (string, error) {
	version, err := m.version(kubernetesModule)
	if err != nil {
		return "", err
	}
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	var flags strings.Builder
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{"gitVersion=" + version, "gitMajor=" + numbers[0], "gitMinor=" + numbers[1], "gitTreeState=clean"} {
			fmt.Fprintf(&flags, " -X %s.%s", pkg, set)
		}
	}
	return flags.String(), nil
}

// sidecarVersion are the linker flags for a sidecar of that module.
func sidecarVersion(path string) func(m module) (string, error) {
	return func(m module) (string, error) {
		version, err := m.version(path)
		return " -X main.version=" + version, err
	}
}

// addPrograms describes the programs.
func (s *Set) addPrograms() error {
	for _, p := range programs {
		m, err := readModule(p.module)
		if err != nil {
			return fmt.Errorf("read the module of %s: %w", p.part, err)
		}
		flags := "-s -w"
		if p.versioned != nil {
			version, err := p.versioned(m)
			if err != nil {
				return fmt.Errorf("find the version of %s: %w", p.part, err)
			}
			flags += version
		}
		argv := []string{"build", "-trimpath", "-ldflags", flags}
		if p.tests {
			argv = []string{"test", "-c", "-trimpath", "-ldflags", flags}
		}
		s.recipes[p.part] = recipe{
			lines: []string{"1", m.recipe(), strings.Join(argv, " "), p.pkg},
			file:  string(p.part),
			make: func(ctx context.Context, dir string) error {
				return s.makeProgram(ctx, m, argv, p.pkg, filepath.Join(dir, string(p.part)))
			},
		}
	}
	return nil
}

// makeProgram builds one program and tells what it took.
func (s *Set) makeProgram(ctx context.Context, m module, argv []string, pkg, file string) error {
	_, cmd, err := m.in(ctx, append(argv, "-o", file, pkg)...)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.cache.Log("%s: %.0f s of CPU, %d MB", filepath.Base(file), used.Seconds(), info.Size()/1e6)
	return nil
}

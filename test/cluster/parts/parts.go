package parts

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/lvme/lvme/test/bed/stage"
)

// Part is one thing that can be made. Its value is also the name of its stage.
type Part string

// Programs of the control plane, which run on the host. SnapshotController is one of them here: natively it costs next
// to nothing, while a pod would run on an emulated CPU.
const (
	APIServer          Part = "kube-apiserver"
	Etcd               Part = "etcd"
	ControllerManager  Part = "kube-controller-manager"
	Scheduler          Part = "kube-scheduler"
	Kubectl            Part = "kubectl"
	SnapshotController Part = "snapshot-controller"
)

// Parts of other kinds.
const (
	Kubelet Part = "kubelet"  // the nodes' program, linked statically
	Helm    Part = "helm"     // installs charts
	E2ETest Part = "e2e.test" // Kubernetes' own test suite
	Ginkgo  Part = "ginkgo"   // runs the suite in parallel
	CRDs    Part = "crds"     // the directory with the definitions of the snapshot API
)

// Images, as tar files that containerd imports.
const (
	ImagePause              Part = "image-pause"
	ImageBusybox            Part = "image-busybox"
	ImageAgnhost            Part = "image-agnhost"
	ImageGNU                Part = "image-gnu"
	ImageProvisioner        Part = "image-csi-provisioner"
	ImageResizer            Part = "image-csi-resizer"
	ImageSnapshotter        Part = "image-csi-snapshotter"
	ImageSnapshotController Part = "image-snapshot-controller"
)

// Parts that others are made of.
const (
	busybox     Part = "busybox"
	coreutils   Part = "coreutils"
	pause       Part = "pause"
	agnhost     Part = "agnhost"
	provisioner Part = "csi-provisioner"
	resizer     Part = "csi-resizer"
	snapshotter Part = "csi-snapshotter"
)

// Control is what a control plane consists of, in the order in which it is best built: what takes longest is first, and
// the rest shares most of it.
func Control() []Part {
	return []Part{APIServer, Etcd, Kubectl, ControllerManager, Scheduler, SnapshotController, CRDs}
}

// Node is what every node needs.
func Node() []Part {
	return []Part{Kubelet, ImagePause, ImageBusybox}
}

// Sidecars are the images of the CSI sidecars.
func Sidecars() []Part {
	return []Part{ImageProvisioner, ImageResizer, ImageSnapshotter}
}

// E2E is what Kubernetes' own test suite needs, beyond a cluster.
func E2E() []Part {
	return []Part{ImageAgnhost, ImageGNU, E2ETest, Ginkgo}
}

// recipe says how a part is made.
type recipe struct {
	needs []Part   // made before it
	lines []string // what else decides on the result, and first the version of the code that makes it
	file  string   // the result in the stage's directory; the directory itself if empty
	make  func(ctx context.Context, dir string) error
}

// Set is the parts of one version of everything.
type Set struct {
	cache   *stage.Cache
	recipes map[Part]recipe
	refs    map[Part]string // of images
}

// Open returns the parts that this package describes, made or not, in the user's cache. The log gets lines of progress.
func Open(log func(format string, args ...any)) (*Set, error) {
	cache, err := stage.Open(log)
	if err != nil {
		return nil, err
	}
	s := &Set{cache: cache, recipes: map[Part]recipe{}, refs: map[Part]string{}}
	if err := s.addPrograms(); err != nil {
		return nil, err
	}
	if err := s.addImages(); err != nil {
		return nil, err
	}
	s.addBusybox()
	s.addCoreutils()
	s.addPause()
	return s, s.addCRDs()
}

// All are the names of all parts.
func (s *Set) All() []Part {
	return slices.Sorted(maps.Keys(s.recipes))
}

// Stage is the part's stage. A stage of others that contains the part should have its path in the recipe.
func (s *Set) Stage(p Part) stage.Stage {
	r := s.recipes[p]
	lines := slices.Clone(r.lines)
	for _, need := range r.needs {
		lines = append(lines, filepath.Base(s.cache.Path(s.Stage(need))))
	}
	return stage.Stage{Name: string(p), Recipe: lines, Make: r.make}
}

// Path is where the part is, or will be: a program, an image's tar file, or a directory.
func (s *Set) Path(p Part) string {
	return filepath.Join(s.cache.Path(s.Stage(p)), s.recipes[p].file)
}

// Has tells whether the part is made.
func (s *Set) Has(p Part) bool {
	return s.cache.Has(s.Stage(p))
}

// Ensure makes those of the parts that are not there, one after another, and before each what it needs.
func (s *Set) Ensure(ctx context.Context, list ...Part) error {
	for _, p := range list {
		r, ok := s.recipes[p]
		if !ok {
			return fmt.Errorf("there is no part %q of a cluster", p)
		}
		if s.Has(p) {
			continue
		}
		if err := s.Ensure(ctx, r.needs...); err != nil {
			return err
		}
		if err := s.cache.Ensure(ctx, s.Stage(p)); err != nil {
			return err
		}
	}
	return nil
}

// Clean removes all parts, of whatever version.
func (s *Set) Clean() error {
	names := make([]string, 0, len(s.recipes))
	for p := range s.recipes {
		names = append(names, string(p))
	}
	return s.cache.Clean(names...)
}

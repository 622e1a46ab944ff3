package parts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is a container image that stands in for one of a registry.
type image struct {
	part    Part
	ref     string // what the registry calls it; %s is the version of the module below
	module  string // of the sidecars' modules, or empty
	program Part
	shell   bool // on top of busybox and its applets
	gnu     bool // with what coreutils has and busybox has not
	extra   func(l *layer)
	cmd     []string // arguments of the program unless others are given
}

// images are all of them. The tags are those of the test suite (test/utils/image/manifest.go of Kubernetes), and pause's
// is the default of the kubelet as well.
var images = []image{
	{part: ImagePause, ref: "registry.k8s.io/pause:3.10.2", program: pause},
	{part: ImageBusybox, ref: "registry.k8s.io/e2e-test-images/busybox:1.37.0-1", shell: true},
	{part: ImageAgnhost, ref: "registry.k8s.io/e2e-test-images/agnhost:2.63.0", program: agnhost, shell: true, extra: agnhostFiles, cmd: []string{"pause"}},
	{part: ImageGNU, ref: "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0", shell: true, gnu: true},
	{part: ImageProvisioner, ref: "registry.k8s.io/sig-storage/csi-provisioner:%s", module: provisionerModule, program: provisioner},
	{part: ImageResizer, ref: "registry.k8s.io/sig-storage/csi-resizer:%s", module: resizerModule, program: resizer},
	{part: ImageSnapshotter, ref: "registry.k8s.io/sig-storage/csi-snapshotter:%s", module: snapshotterModule, program: snapshotter},
	{part: ImageSnapshotController, ref: "registry.k8s.io/sig-storage/snapshot-controller:%s", module: snapshotterModule, program: SnapshotController},
}

// Ref is the name of an image part in a cluster, and empty for other parts.
func (s *Set) Ref(p Part) string {
	return s.refs[p]
}

// addImages describes the images.
func (s *Set) addImages() error {
	sidecars, err := readModule("sidecars")
	if err != nil {
		return err
	}
	for _, img := range images {
		if img.module != "" {
			version, err := sidecars.version(img.module)
			if err != nil {
				return err
			}
			img.ref = fmt.Sprintf(img.ref, version)
		}
		s.refs[img.part] = img.ref
		s.recipes[img.part] = recipe{
			needs: img.needs(),
			lines: []string{"1", img.ref, strings.Join(img.cmd, " ")},
			file:  "image.tar",
			make: func(ctx context.Context, dir string) error {
				return s.makeImage(ctx, img, filepath.Join(dir, "image.tar"))
			},
		}
	}
	return nil
}

func (img image) needs() []Part {
	var needs []Part
	if img.shell {
		needs = append(needs, busybox)
	}
	if img.gnu {
		needs = append(needs, coreutils)
	}
	if img.program != "" {
		needs = append(needs, img.program)
	}
	return needs
}

// makeImage writes the image as containerd imports it: an OCI layout in a tar file.
func (s *Set) makeImage(ctx context.Context, img image, file string) error {
	layers, err := s.layers(ctx, img)
	if err != nil {
		return err
	}
	config := v1.Config{Cmd: img.cmd, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, WorkingDir: "/"}
	if img.program != "" {
		config.Entrypoint = []string{"/" + string(img.program)}
	} else {
		config.Cmd = []string{"sh"}
	}
	built, err := assemble(config, layers)
	if err != nil {
		return fmt.Errorf("make image %s: %w", img.ref, err)
	}
	if err := pack(built, img.ref, file); err != nil {
		return fmt.Errorf("write image %s: %w", img.ref, err)
	}
	return nil
}

// pack writes an image under a name into a tar file.
func pack(img v1.Image, ref, file string) error {
	tmp, err := os.MkdirTemp("", "lvme-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	to, err := layout.Write(tmp, empty.Index)
	if err != nil {
		return err
	}
	_, tag, _ := strings.Cut(filepath.Base(ref), ":")
	names := map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": tag}
	if err := to.AppendImage(img, layout.WithAnnotations(names)); err != nil {
		return err
	}
	return packDir(tmp, file)
}

// assemble makes an image of uncompressed layers: unpacking costs an emulated CPU more than the bytes do.
func assemble(config v1.Config, layers [][]byte) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer(l, types.OCIUncompressedLayer)); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = "amd64", "linux", config
	return mutate.ConfigFile(img, file)
}

// layers are the image's tar streams, from the lowest up. What images share is a layer of its own.
func (s *Set) layers(ctx context.Context, img image) ([][]byte, error) {
	var layers [][]byte
	add := func(fill func(l *layer) error) error {
		l := newLayer()
		if err := fill(l); err != nil {
			return err
		}
		raw, err := l.bytes()
		layers = append(layers, raw)
		return err
	}
	base := func(l *layer) error { baseFiles(l); return nil }
	if img.shell {
		base = func(l *layer) error { return s.shellFiles(ctx, l) }
	}
	if err := add(base); err != nil {
		return nil, fmt.Errorf("make the base of %s: %w", img.ref, err)
	}
	if img.gnu {
		if err := add(s.gnuFiles); err != nil {
			return nil, fmt.Errorf("put coreutils into %s: %w", img.ref, err)
		}
	}
	if img.program == "" {
		return layers, nil
	}
	err := add(func(l *layer) error {
		raw, err := os.ReadFile(s.Path(img.program))
		if err != nil {
			return err
		}
		l.file(string(img.program), 0o755, raw)
		if img.extra != nil {
			img.extra(l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("put %s into its image: %w", img.program, err)
	}
	return layers, nil
}

// baseFiles is what any image has.
func baseFiles(l *layer) {
	for _, dir := range []string{"dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "var"} {
		l.dir(dir, 0o755)
	}
	l.dir("tmp", 0o1777)
	l.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	l.file("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
}

// shellFiles is baseFiles with busybox and a link for each of its tools.
func (s *Set) shellFiles(ctx context.Context, l *layer) error {
	baseFiles(l)
	for _, dir := range []string{"bin", "sbin", "usr", "usr/bin", "usr/sbin", "var/run"} {
		l.dir(dir, 0o755)
	}
	raw, err := os.ReadFile(s.Path(busybox))
	if err != nil {
		return err
	}
	l.file("bin/busybox", 0o755, raw)
	applets, err := exec.CommandContext(ctx, s.Path(busybox), "--list-full").Output()
	if err != nil {
		return fmt.Errorf("ask busybox for its tools: %w", err)
	}
	for _, name := range strings.Fields(string(applets)) {
		if name != "bin/busybox" {
			l.link(name, "/bin/busybox")
		}
	}
	return nil
}

// gnuFiles is what is used of coreutils.
func (s *Set) gnuFiles(l *layer) error {
	for _, name := range slices.Sorted(maps.Keys(coreutilsFiles)) {
		raw, err := os.ReadFile(filepath.Join(s.Path(coreutils), name))
		if err != nil {
			return err
		}
		l.file(coreutilsFiles[name], 0o755, raw)
	}
	return nil
}

// agnhostFiles is what tests expect of agnhost's image beside the program: a second name for it, a directory, and a user
// with a group of the image's own.
func agnhostFiles(l *layer) {
	l.link("agnhost-2", "agnhost")
	l.dir("uploads", 0o755)
	l.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"+
		"user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"))
	l.file("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n"+
		"group-defined-in-image:x:50000:user-defined-in-image\n"))
}

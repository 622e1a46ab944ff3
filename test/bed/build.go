package bed

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lvme/lvme/test/bed/stage"
)

// suite is the Debian release of both the guest and QEMU. QEMU must be 10 or newer: bookworm's 7.2 crashes guests
// under multi-threaded TCG.
const suite = "trixie"

// toolPackages is what runs on the host. It is unpacked into a directory and run by its own dynamic loader, so that
// any distribution will do, without root and without a chroot.
const toolPackages = "qemu-system-x86,qemu-utils,e2fsprogs,libarchive13t64"

// rootPackages is the guest's userland.
const rootPackages = "lvm2,thin-provisioning-tools,xfsprogs,e2fsprogs,btrfs-progs,kmod,udev,util-linux,procps," +
	"iproute2,nvme-cli,fio,linux-image-cloud-amd64,busybox-static,dmsetup,psmisc,strace,ca-certificates"

// rootSize is the size of the guest's root disk. It is sparse.
const rootSize = "8G"

// guestSources is the daemon of the guests. It is built when an image is, so that its source is part of the recipe.
//
//go:embed guestd/*.go internal/wire/*.go
var guestSources embed.FS

// Flavour is what an image has that the plain one has not. It makes an image of its own.
type Flavour struct {
	Packages []string // of Debian, besides the plain ones
	// Prepare finishes the root disk in a guest that has booted and has no drives, and starts what shall run already when
	// a node is started: the guest is saved as Prepare leaves it. May be nil.
	Prepare func(context.Context, *Node) error
	Recipe  string // everything that decides on what Prepare does
}

// image is a complete set of stages for one shape of machine and one flavour.
type image struct {
	cache   *stage.Cache
	shape   shape
	flavour Flavour

	tools, root, boot, ready stage.Stage
}

// Build makes the images for nodes of these options unless they are there. It wants root (or user namespaces), a Go
// toolchain and Debian's mmdebstrap, which it installs itself when it is root on Debian.
func Build(ctx context.Context, opts Options, log func(format string, args ...any)) error {
	img, err := newImage(opts, log)
	if err != nil {
		return err
	}
	return img.build(ctx, img.tools, img.root, img.boot, img.ready)
}

// Fetch makes what Build makes, but for what wants the flavour's Prepare: mostly it waits for packages.
func Fetch(ctx context.Context, opts Options, log func(format string, args ...any)) error {
	img, err := newImage(opts, log)
	if err != nil {
		return err
	}
	return img.build(ctx, img.tools, img.root, img.boot)
}

// Clean removes the images of all recipes. Nodes that run go on, but cannot boot again.
func Clean() error {
	c, err := stage.Open(nil)
	if err != nil {
		return err
	}
	return c.Clean("tools", "root", "boot", "ready")
}

// newImage describes the image for these options without building anything.
func newImage(opts Options, log func(string, ...any)) (*image, error) {
	c, err := stage.Open(log)
	if err != nil {
		return nil, err
	}
	sources, err := readSources()
	if err != nil {
		return nil, err
	}
	img := &image{cache: c, shape: opts.shape(), flavour: opts.Flavour}
	img.tools = stage.Stage{Name: "tools", Recipe: []string{"1", suite, toolPackages}, Make: img.makeTools}
	img.root = stage.Stage{Name: "root", Recipe: []string{"1", suite, img.packages(), rootSize, strings.Join(unwanted, " ")}, Make: img.makeRoot}
	img.boot = stage.Stage{Name: "boot", Recipe: []string{"1", c.Path(img.root), sources, acpiTable}, Make: img.makeBoot}
	recipe := []string{"1", c.Path(img.tools), c.Path(img.boot), fmt.Sprint(img.machineArgs())}
	if img.flavour.Recipe != "" {
		recipe = append(recipe, img.flavour.Recipe)
	}
	img.ready = stage.Stage{Name: "ready", Recipe: recipe, Make: img.makeReady}
	return img, nil
}

// packages is what the root disk is made of.
func (img *image) packages() string {
	return strings.Join(append([]string{rootPackages}, img.flavour.Packages...), ",")
}

// build makes those of the stages that are missing. Each may need those before it.
func (img *image) build(ctx context.Context, stages ...stage.Stage) error {
	for _, s := range stages {
		if err := img.cache.Ensure(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// errNotBuilt tells how to get an image.
var errNotBuilt = errors.New("the bed's image is not built: run `go run ./test/bed/cmd/bed build`")

// ensureReady makes the saved state for this shape. Everything else must be there: downloading packages is not what
// a test is expected to do.
func (img *image) ensureReady(ctx context.Context) error {
	for _, s := range []stage.Stage{img.tools, img.root, img.boot} {
		if !img.cache.Has(s) {
			return errNotBuilt
		}
	}
	return img.cache.Ensure(ctx, img.ready)
}

// makeTools unpacks the host's tools.
func (img *image) makeTools(ctx context.Context, dir string) error {
	if err := ensureMmdebstrap(ctx, img.cache.Log); err != nil {
		return err
	}
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	// By way of a tar stream, since the directories that mmdebstrap makes for others than root belong to nobody.
	packed, unpacked := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, nil, unpacked, mmdebstrap("extract", toolPackages)...)
		unpacked.CloseWithError(err)
		result <- err
	}()
	err := run(ctx, packed, nil, "tar", "-x", "--no-same-owner", "--exclude=./dev", "-C", tree)
	packed.CloseWithError(err)
	return errors.Join(err, <-result)
}

// makeRoot makes the root disk: packages to a tar stream, filtered, to an ext4 file system.
func (img *image) makeRoot(ctx context.Context, dir string) error {
	if err := ensureMmdebstrap(ctx, img.cache.Log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	packed, unpacked := io.Pipe()
	filtered, filter := io.Pipe()
	results := make(chan error, 2)
	go func() {
		err := run(ctx, nil, unpacked, mmdebstrap("minbase", img.packages())...)
		unpacked.CloseWithError(err)
		results <- err
	}()
	go func() {
		err := filterRoot(packed, filter, dir)
		packed.CloseWithError(err)
		filter.CloseWithError(err)
		results <- err
	}()
	mke2fs := img.tool("sbin/mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", "-", filepath.Join(dir, "disk.img"), rootSize)
	err := run(ctx, filtered, nil, mke2fs...)
	filtered.CloseWithError(err)
	return errors.Join(err, <-results, <-results)
}

// makeBoot builds the daemon and the initrd that holds it.
func (img *image) makeBoot(ctx context.Context, dir string) error {
	src := filepath.Join(dir, "src")
	if err := writeSources(src); err != nil {
		return err
	}
	guestd := filepath.Join(dir, "guestd")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", guestd, "./test/bed/guestd")
	build.Dir = src
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build guestd: %w\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, acpiFile), []byte(acpiTable), 0o644); err != nil {
		return err
	}
	return writeInitrd(filepath.Join(dir, "initrd"), guestd, filepath.Join(img.cache.Path(img.root), rootDriver))
}

// readSources returns the daemon's source as one string.
func readSources() (string, error) {
	var all strings.Builder
	err := fs.WalkDir(guestSources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := guestSources.ReadFile(path)
		fmt.Fprintf(&all, "%s %d\n%s", path, len(raw), raw)
		return err
	})
	return all.String(), err
}

// writeSources lays the daemon's source out as a module of its own.
func writeSources(dir string) error {
	if err := os.CopyFS(filepath.Join(dir, "test", "bed"), guestSources); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/lvme/lvme\n\ngo 1.26.0\n"), 0o644)
}

// tool returns the command line for a program of the tools tree.
func (img *image) tool(name string, arguments ...string) []string {
	tree := filepath.Join(img.cache.Path(img.tools), "tree", "usr")
	libs := filepath.Join(tree, "lib", "x86_64-linux-gnu")
	return append([]string{
		filepath.Join(libs, "ld-linux-x86-64.so.2"), "--library-path", libs, filepath.Join(tree, name),
	}, arguments...)
}

// mmdebstrap is the command that writes a tree of Debian's packages as a tar
// stream, from the mirror of its own choice unless one is named.
func mmdebstrap(variant, packages string) []string {
	argv := []string{"env", "INITRD=No", "mmdebstrap", "--variant=" + variant, "--format=tar", "--include=" + packages, suite, "-"}
	if mirror := os.Getenv("LVME_BED_MIRROR"); mirror != "" {
		argv = append(argv, mirror)
	}
	return argv
}

// ensureMmdebstrap installs mmdebstrap where that is possible without asking.
func ensureMmdebstrap(ctx context.Context, log func(string, ...any)) error {
	if _, err := exec.LookPath("mmdebstrap"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return errors.New("building the bed's image needs mmdebstrap: apt-get install mmdebstrap (and uidmap, when not root)")
	}
	log("installing mmdebstrap")
	if err := run(ctx, nil, nil, "apt-get", "-q", "update"); err != nil {
		return err
	}
	return run(ctx, nil, nil, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "install", "--no-install-recommends", "mmdebstrap")
}

// run runs a command of the build. What it printed is part of the error.
func run(ctx context.Context, stdin io.Reader, stdout io.Writer, argv ...string) error {
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &log
	if stdout == nil {
		cmd.Stdout = &log
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, log.Bytes())
	}
	return nil
}

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	program = "usr/bin/lvme"
	// search is where commands are looked for. An agent has left its container
	// for the host, and what kubectl exec starts is there too: it finds the
	// program by the link that the agent offers in /run/lvme.
	search = "/run/lvme:/usr/bin:/usr/sbin:/bin:/sbin"
	// user runs what the pod gives no other user: nobody in particular. The
	// agent's pod says 0.
	user = "65532:65532"
)

// machines are the architectures of Go that an image can be for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// directories are there for volumes to be mounted on: a root that is read-only
// cannot get them later. Parents first.
var directories = []string{"etc/", "etc/lvme/", "etc/lvme/tls/", "run/", "run/lvme/", "usr/", "usr/bin/"}

// meta is what the labels say.
type meta struct {
	version, revision string
	created           time.Time
}

// labels are the labels of the image, as org.opencontainers.image has them.
func (m meta) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	l := map[string]string{
		prefix + "title":       "lvme",
		prefix + "description": "Local NVMe volumes on LVM for Kubernetes on bare metal",
		prefix + "source":      "https://github.com/lvme/lvme",
		prefix + "licenses":    "Apache-2.0",
		prefix + "version":     m.version,
		prefix + "created":     m.created.Format(time.RFC3339),
	}
	if m.revision != "" {
		l[prefix+"revision"] = m.revision
	}
	return l
}

// build makes an index with one image for each binary, in the order of their
// architectures.
func build(binaries map[string]string, m meta) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range slices.Sorted(maps.Keys(binaries)) {
		binary, err := readStatic(binaries[arch], arch)
		if err != nil {
			return nil, err
		}
		image, err := buildOne(binary, arch, m)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	labelled, ok := mutate.Annotations(index, m.labels()).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("index with annotations: is no index any more")
	}
	return labelled, nil
}

// readStatic reads a program and refuses what could not start in an empty image.
func readStatic(file, arch string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("program for %s: %w", arch, err)
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("program for %s: %s: %w", arch, file, err)
	}
	if f.Machine != machines[arch] {
		return nil, fmt.Errorf("program for %s: %s is for %s", arch, file, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("program for %s: %s needs a dynamic loader, which an empty image has not: build it with CGO_ENABLED=0", arch, file)
		}
	}
	return text, nil
}

// buildOne makes the image of one architecture.
func buildOne(binary []byte, arch string, m meta) (v1.Image, error) {
	layer, err := programLayer(binary, m.created)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{CreatedBy: "lvme", Created: v1.Time{Time: m.created}},
	})
	if err != nil {
		return nil, fmt.Errorf("append the layer: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Created = v1.Time{Time: m.created}
	config.Config = v1.Config{
		User: user, Entrypoint: []string{"/" + program}, WorkingDir: "/",
		Env: []string{"PATH=" + search}, Labels: m.labels(),
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return image, nil
}

// programLayer holds the program and the directories, each of root's and as old
// as the image.
func programLayer(binary []byte, created time.Time) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range directories {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: created}); err != nil {
			return nil, fmt.Errorf("directory %s: %w", dir, err)
		}
	}
	if err := writeFile(w, program, 0o755, created, binary); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end of the layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// writeFile adds a file to a tar.
func writeFile(w *tar.Writer, name string, mode int64, modified time.Time, text []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: modified, Size: int64(len(text))}); err != nil {
		return fmt.Errorf("file %s: %w", name, err)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("file %s: %w", name, err)
	}
	return nil
}

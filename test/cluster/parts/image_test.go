package parts

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func TestLayer(t *testing.T) {
	l := newLayer()
	l.dir("bin", 0o755)
	l.file("bin/a", 0o755, []byte("program"))
	l.link("bin/b", "/bin/a")
	raw, err := l.bytes()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for files := tar.NewReader(bytes.NewReader(raw)); ; {
		header, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		got[header.Name] = string(header.Typeflag) + string(content) + header.Linkname
	}
	want := map[string]string{"bin/": "5", "bin/a": "0program", "bin/b": "2/bin/a"}
	if !maps.Equal(got, want) {
		t.Errorf("the layer holds %v, want %v", got, want)
	}
}

func TestImageIsValid(t *testing.T) {
	l := newLayer()
	baseFiles(l)
	raw, err := l.bytes()
	if err != nil {
		t.Fatal(err)
	}
	img, err := assemble(v1.Config{Entrypoint: []string{"/a"}}, [][]byte{raw, raw[:1024]})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := pack(img, "registry.example.com/group/a:v1", file); err != nil {
		t.Fatal(err)
	}
	index := unpack(t, file)
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the index holds %v, %v", manifest, err)
	}
	names := manifest.Manifests[0].Annotations
	if names["io.containerd.image.name"] != "registry.example.com/group/a:v1" || names["org.opencontainers.image.ref.name"] != "v1" {
		t.Errorf("the image is called %v", names)
	}
	written, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := written.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	checkLayers(t, written, config.RootFS.DiffIDs, [][]byte{raw, raw[:1024]})
	if config.Architecture != "amd64" || config.OS != "linux" || !slices.Equal(config.Config.Entrypoint, []string{"/a"}) {
		t.Errorf("the image's configuration is %+v", config)
	}
}

// checkLayers fails unless the image's layers are these, and are announced as what they are.
func checkLayers(t *testing.T, img v1.Image, announced []v1.Hash, want [][]byte) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != len(want) || len(announced) != len(want) {
		t.Fatalf("the image has layers %v and announces %v, want %d; %v", layers, announced, len(want), err)
	}
	for i, l := range layers {
		blob, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(blob)
		if err != nil {
			t.Fatal(err)
		}
		digest, _, err := v1.SHA256(bytes.NewReader(want[i]))
		if err != nil {
			t.Fatal(err)
		}
		if stored, err := l.Digest(); err != nil || stored != digest || announced[i] != digest || !bytes.Equal(got, want[i]) {
			t.Errorf("layer %d is %s (%v) with %d bytes, announced as %s; want %s, %d bytes", i, stored, err, len(got), announced[i], digest, len(want[i]))
		}
	}
}

// unpack opens an image file as a layout.
func unpack(t *testing.T, file string) v1.ImageIndex {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dir := t.TempDir()
	for files := tar.NewReader(in); ; {
		header, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		raw, err := io.ReadAll(files)
		if err == nil {
			err = os.WriteFile(to, raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestExtract(t *testing.T) {
	l := newLayer()
	l.dir("usr/bin", 0o755)
	l.file("usr/share/busybox", 0o644, []byte("no program"))
	l.file("usr/bin/busybox", 0o755, []byte("program"))
	raw, err := l.bytes()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := extract(bytes.NewReader(raw), dir, "bin/busybox"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "busybox")); err != nil || string(got) != "program" {
		t.Errorf("extracted %q, %v", got, err)
	}
	if err := extract(bytes.NewReader(raw), dir, "bin/busybox", "bin/bash"); err == nil || !strings.Contains(err.Error(), "bin/bash") {
		t.Errorf("what is not there was extracted: %v", err)
	}
}

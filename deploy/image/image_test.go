package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// program64 writes a file that looks like a program for the machine, with some
// content and, if asked for, a dynamic loader.
func program64(t *testing.T, machine elf.Machine, dynamic bool) string {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64, Phoff: 64, Phentsize: 56, Phnum: 1}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD)}
	if dynamic {
		segment.Type = uint32(elf.PT_INTERP)
	}
	var buf bytes.Buffer
	for _, part := range []any{head, segment, bytes.Repeat([]byte("lvme "), 10_000)} {
		if err := binary.Write(&buf, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "lvme")
	if err := os.WriteFile(file, buf.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// made runs the command and returns what it printed and the archive.
func made(t *testing.T, args ...string) (printed, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "image.tar")
	var out bytes.Buffer
	if err := run(append(args, "--output", file), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), file
}

// unpacked is the archive as a directory.
func unpacked(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range entries(t, open(t, file)) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text.content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, file string) io.Reader {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(text)
}

// entry is one entry of a tar.
type entry struct {
	tar.Header
	content []byte
}

func entries(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = entry{*h, content}
	}
}

// index reads the one index of the layout.
func index(t *testing.T, dir string) (v1.ImageIndex, v1.Descriptor) {
	t.Helper()
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := root.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("index.json: %v, %+v, want one entry", err, manifest)
	}
	ix, err := root.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return ix, manifest.Manifests[0]
}

func TestReproducible(t *testing.T) {
	amd, arm := program64(t, elf.EM_X86_64, false), program64(t, elf.EM_AARCH64, false)
	args := []string{"--binary", "amd64=" + amd, "--binary", "arm64=" + arm, "--ref", "lvme/lvme:v1", "--version", "v1", "--created", "1700000000"}
	first, one := made(t, args...)
	// Neither the order of the flags nor the age of the files may matter.
	args[1], args[3] = args[3], args[1]
	again, two := made(t, args...)
	if first != again {
		t.Errorf("made twice: %s, then %s", first, again)
	}
	a, b := open(t, one), open(t, two)
	if x, y := must(io.ReadAll(a)), must(io.ReadAll(b)); !bytes.Equal(x, y) {
		t.Error("made twice: the archives differ")
	}
	if other, _ := made(t, append(args, "--version", "v2")...); other == first {
		t.Error("another version has the same digest")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestLayout reads the archive as ctr and skopeo do.
func TestLayout(t *testing.T) {
	printed, file := made(t, "--binary", "amd64="+program64(t, elf.EM_X86_64, false), "--binary", "arm64="+program64(t, elf.EM_AARCH64, false),
		"--ref", "lvme/lvme:v1", "--version", "v1", "--revision", "abc", "--created", "1700000000")
	ix, named := index(t, unpacked(t, file))
	if err := validate.Index(ix); err != nil {
		t.Error(err)
	}
	if want := "lvme/lvme:v1@" + named.Digest.String(); printed != want {
		t.Errorf("printed %q, want %q", printed, want)
	}
	if got := named.Annotations["io.containerd.image.name"]; got != "docker.io/lvme/lvme:v1" {
		t.Errorf("containerd's name is %q", got)
	}
	manifest := must(ix.IndexManifest())
	var platforms []string
	for _, d := range manifest.Manifests {
		platforms = append(platforms, d.Platform.String())
		checkImage(t, must(ix.Image(d.Digest)), d.Platform.Architecture)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms %q, want %q", platforms, want)
	}
}

// checkImage holds an image to what pods and people expect of it.
func checkImage(t *testing.T, image v1.Image, arch string) {
	t.Helper()
	if mt := must(image.MediaType()); mt != types.OCIManifestSchema1 {
		t.Errorf("media type %s, want OCI's", mt)
	}
	config := must(image.ConfigFile())
	if config.OS != "linux" || config.Architecture != arch || config.Created.Unix() != 1_700_000_000 {
		t.Errorf("configuration says %s/%s made %v", config.OS, config.Architecture, config.Created)
	}
	c := config.Config
	if !slices.Equal(c.Entrypoint, []string{"/usr/bin/lvme"}) || c.User != "65532:65532" || !slices.Contains(c.Env, "PATH=/run/lvme:/usr/bin:/usr/sbin:/bin:/sbin") {
		t.Errorf("configuration %+v", c)
	}
	for key, want := range map[string]string{"version": "v1", "revision": "abc", "created": "2023-11-14T22:13:20Z"} {
		if got := c.Labels["org.opencontainers.image."+key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
	layers := must(image.Layers())
	if len(layers) != 1 {
		t.Fatalf("%d layers, want one", len(layers))
	}
	files := entries(t, must(layers[0].Uncompressed()))
	want := append(slices.Clone(directories), program)
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("the image holds %q, want %q: nothing of a base image", got, want)
	}
	if p := files[program]; p.Mode != 0o755 || p.Uid != 0 || p.Gid != 0 || !bytes.HasPrefix(p.content, []byte(elf.ELFMAG)) {
		t.Errorf("program: mode %o, owner %d:%d, %d bytes", p.Mode, p.Uid, p.Gid, len(p.content))
	}
}

// TestDockerLoad reads the archive as docker load does that knows no OCI layouts.
func TestDockerLoad(t *testing.T) {
	_, file := made(t, "--binary", "amd64="+program64(t, elf.EM_X86_64, false), "--ref", "lvme/lvme:v1")
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	var manifest []dockerManifest
	if err := json.Unmarshal(entries(t, open(t, file))["manifest.json"].content, &manifest); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(manifest[0].RepoTags, []string{"lvme/lvme:v1"}) {
		t.Errorf("tags %q", manifest[0].RepoTags)
	}
}

func TestRefuses(t *testing.T) {
	amd := program64(t, elf.EM_X86_64, false)
	out := filepath.Join(t.TempDir(), "image.tar")
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "no --binary"},
		{"no output", []string{"--binary", "amd64=" + amd}, "no --output"},
		{"an argument", []string{"--binary", "amd64=" + amd, "x"}, `"x" is no flag`},
		{"an unknown architecture", []string{"--binary", "s390x=" + amd, "--output", out}, "must be amd64=FILE"},
		{"a program for another", []string{"--binary", "arm64=" + amd, "--output", out}, "is for EM_X86_64"},
		{"a dynamic program", []string{"--binary", "amd64=" + program64(t, elf.EM_X86_64, true), "--output", out}, "dynamic loader"},
		{"no program", []string{"--binary", "amd64=image_test.go", "--output", out}, "image_test.go"},
		{"no file", []string{"--binary", "amd64=/nowhere", "--output", out}, "/nowhere"},
		{"a bad name", []string{"--binary", "amd64=" + amd, "--ref", "Lvme:x", "--output", out}, "name of the image"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := run(tc.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a file was left: %v", err)
			}
		})
	}
}

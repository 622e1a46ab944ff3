package parts

import (
	"archive/tar"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lvme/lvme/test/bed"
)

// addBusybox describes the shell and the small tools of the test images.
func (s *Set) addBusybox() {
	s.recipes[busybox] = recipe{
		lines: []string{"1", "busybox-static"},
		file:  "busybox",
		make: func(ctx context.Context, dir string) error {
			return s.fromPackages(ctx, dir, "busybox-static", "bin/busybox")
		},
	}
}

// The files of coreutils and where they are in an image. Some specs want a dd that knows nocache, which busybox's does
// not; and a shell that looks for programs in PATH, where busybox's takes its own.
var coreutilsFiles = map[string]string{
	"dash":                 "bin/sh",
	"dd":                   "usr/local/bin/dd",
	"ld-linux-x86-64.so.2": "lib64/ld-linux-x86-64.so.2",
	"libc.so.6":            "usr/lib/x86_64-linux-gnu/libc.so.6",
}

// addCoreutils describes them. The part is their directory.
func (s *Set) addCoreutils() {
	s.recipes[coreutils] = recipe{
		lines: []string{"1", "coreutils,dash"},
		make: func(ctx context.Context, dir string) error {
			return s.fromPackages(ctx, dir, "coreutils,dash", "bin/dash", "bin/dd", "/ld-linux-x86-64.so.2", "/libc.so.6")
		},
	}
}

// fromPackages puts those files of Debian packages, and of what they depend on, into a directory whose paths end so.
func (s *Set) fromPackages(ctx context.Context, dir, names string, suffixes ...string) error {
	packed, unpacked := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := bed.Packages(ctx, names, unpacked, s.cache.Log)
		unpacked.CloseWithError(err)
		result <- err
	}()
	err := extract(packed, dir, suffixes...)
	packed.CloseWithError(err)
	return errors.Join(err, <-result)
}

// extract writes the files whose paths end so out of a tar stream into a directory, and reads the stream to its end.
func extract(stream io.Reader, dir string, suffixes ...string) error {
	files := tar.NewReader(stream)
	missing := slices.Clone(suffixes)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read Debian's packages: %w", err)
		}
		i := slices.IndexFunc(missing, func(suffix string) bool { return strings.HasSuffix(header.Name, suffix) })
		if header.Typeflag != tar.TypeReg || i < 0 {
			continue
		}
		raw, err := io.ReadAll(files)
		if err != nil {
			return fmt.Errorf("read %s: %w", header.Name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(header.Name)), raw, 0o755); err != nil {
			return err
		}
		missing = slices.Delete(missing, i, i+1)
	}
	if len(missing) > 0 {
		return fmt.Errorf("no package of Debian holds %s", strings.Join(missing, ", "))
	}
	_, err := io.Copy(io.Discard, stream) // an archive is followed by padding
	return err
}

// pauseSource is the program of the pause image.
//
//go:embed pause/main.go
var pauseSource []byte

// addPause describes the program of the pause image.
func (s *Set) addPause() {
	s.recipes[pause] = recipe{
		lines: []string{"1", string(pauseSource)},
		file:  "pause",
		make: func(ctx context.Context, dir string) error {
			src, err := os.MkdirTemp("", "lvme-pause-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(src)
			for name, content := range map[string][]byte{"go.mod": []byte("module pause\n\ngo 1.26.0\n"), "main.go": pauseSource} {
				if err := os.WriteFile(filepath.Join(src, name), content, 0o644); err != nil {
					return err
				}
			}
			_, _, err = goCommand(ctx, src, "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "pause"), ".")
			return err
		},
	}
}

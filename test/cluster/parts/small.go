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
	"strings"

	"github.com/lvme/lvme/test/bed"
)

// addBusybox describes the shell and the small tools of the test images.
func (s *Set) addBusybox() {
	s.recipes[busybox] = recipe{
		lines: []string{"1", "busybox-static"},
		file:  "busybox",
		make: func(ctx context.Context, dir string) error {
			packed, unpacked := io.Pipe()
			result := make(chan error, 1)
			go func() {
				err := bed.Packages(ctx, "busybox-static", unpacked, s.cache.Log)
				unpacked.CloseWithError(err)
				result <- err
			}()
			err := extract(packed, "bin/busybox", filepath.Join(dir, "busybox"))
			packed.CloseWithError(err)
			return errors.Join(err, <-result)
		},
	}
}

// extract writes the file whose path ends so out of a tar stream, and reads the stream to its end.
func extract(stream io.Reader, suffix, file string) error {
	files := tar.NewReader(stream)
	found := false
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read Debian's packages: %w", err)
		}
		if header.Typeflag != tar.TypeReg || !strings.HasSuffix(header.Name, suffix) {
			continue
		}
		raw, err := io.ReadAll(files)
		if err != nil {
			return fmt.Errorf("read %s: %w", header.Name, err)
		}
		if err := os.WriteFile(file, raw, 0o755); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("no package of Debian holds %s", suffix)
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

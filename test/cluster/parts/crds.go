package parts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// crdModule holds the definitions of the snapshot API.
const crdModule = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// addCRDs describes the definitions of the snapshot API.
func (s *Set) addCRDs() error {
	m, err := readModule("sidecars")
	if err != nil {
		return err
	}
	version, err := m.version(crdModule)
	if err != nil {
		return err
	}
	s.recipes[CRDs] = recipe{
		lines: []string{"1", version},
		make: func(ctx context.Context, dir string) error {
			return copyCRDs(ctx, version, dir)
		},
	}
	return nil
}

// copyCRDs copies the definitions out of the module's directory.
func copyCRDs(ctx context.Context, version, dir string) error {
	from, err := download(ctx, crdModule, version)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(from, "config", "crd", "*.storage.k8s.io_*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no definitions in %s %s: %w", crdModule, version, os.ErrNotExist)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !strings.Contains(string(raw), "kind: CustomResourceDefinition") {
			return fmt.Errorf("%s is no definition", file)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), raw, 0o644); err != nil {
			return err
		}
	}
	return nil
}

package suite

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed testdriver.yaml
var testdriver string

//go:embed storageclass.yaml
var storageclass string

// writeFiles writes what the suite is told of the driver, for one filesystem, into a directory, and returns the file
// for -storage.testdriver.
func writeFiles(dir, fs string) (string, error) {
	class := filepath.Join(dir, "storageclass-"+fs+".yaml")
	driver := filepath.Join(dir, "testdriver-"+fs+".yaml")
	fill := strings.NewReplacer("${FS}", fs, "${CLASS}", class)
	for file, text := range map[string]string{class: storageclass, driver: testdriver} {
		if err := os.WriteFile(file, []byte(fill.Replace(text)), 0o644); err != nil {
			return "", fmt.Errorf("tell the suite of the driver: %w", err)
		}
	}
	return driver, nil
}

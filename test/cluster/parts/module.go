package parts

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

//go:embed modules
var moduleFiles embed.FS

// module is a Go module of which nothing is ours but the requirements.
type module struct {
	name string
	mod  []byte // go.mod
	sum  []byte // go.sum
}

func readModule(name string) (module, error) {
	mod, err := moduleFiles.ReadFile("modules/" + name + "/go.mod.txt")
	if err != nil {
		return module{}, err
	}
	sum, err := moduleFiles.ReadFile("modules/" + name + "/go.sum.txt")
	return module{name, mod, sum}, err
}

// recipe is what decides on the module's content: go.sum only confirms it.
func (m module) recipe() string {
	return string(m.mod)
}

// version returns the version that the module requires of another: the first that its go.mod names, which must be the
// requirement.
func (m module) version(path string) (string, error) {
	found := regexp.MustCompile(`(?m)^(?:require\s+|\s+)` + regexp.QuoteMeta(path) + `\s+(v\S+)`).FindSubmatch(m.mod)
	if found == nil {
		return "", fmt.Errorf("module %s does not require %s", m.name, path)
	}
	return string(found[1]), nil
}

// in runs a go command in the module, and returns what it printed. The requirements are not changed: what is missing from
// them is an error.
func (m module) in(ctx context.Context, argv ...string) ([]byte, *exec.Cmd, error) {
	dir, err := m.layOut()
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	return goCommand(ctx, dir, argv...)
}

// layOut writes the module into a new directory, which is the caller's to remove.
func (m module) layOut() (string, error) {
	dir, err := os.MkdirTemp("", "lvme-parts-")
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{"go.mod": m.mod, "go.sum": m.sum} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// goCommand runs the go command for the machines of the bed. It gets an interrupt when the context ends, and ends then
// with its compilers.
func goCommand(ctx context.Context, dir string, argv ...string) ([]byte, *exec.Cmd, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false", "GOTOOLCHAIN=local")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil {
		return nil, cmd, fmt.Errorf("go %s: %w\n%s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return stdout.Bytes(), cmd, nil
}

package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// principals are the modules for whose sake a module of ours is: their versions are chosen, everything else follows.
var principals = []struct {
	module string
	paths  []string
}{
	{"kubernetes", []string{kubernetesModule}}, // the first: others follow it
	{"etcd", []string{"go.etcd.io/etcd/server/v3"}},
	{"helm", []string{"helm.sh/helm/v4"}},
	{"sidecars", []string{provisionerModule, resizerModule, snapshotterModule, crdModule}},
}

// own are the modules that the sidecars have in versions of their own, though Kubernetes uses them as well: what they
// speak with drivers.
var own = []string{"google.golang.org/grpc", "github.com/container-storage-interface/spec", kubernetesModule}

// goMod is what go mod edit -json tells of a go.mod.
type goMod struct {
	Go      string
	Require []required
	Replace []struct{ Old, New required }
}

type required struct{ Path, Version string }

// Pin makes modules/ in a directory anew from the versions of the principal modules that stand there: to raise one, its
// version is changed in the go.mod.txt before. It needs the network.
func Pin(ctx context.Context, dir string) error {
	var kubernetes []byte
	for _, p := range principals {
		m, err := readModule(p.module)
		if err != nil {
			return err
		}
		if p.module == "sidecars" {
			m, err = pinSidecars(ctx, m, p.paths, kubernetes)
		} else {
			m, err = pinRelease(ctx, m, p.paths[0])
		}
		if err == nil {
			m, err = m.complete(ctx)
		}
		if err != nil {
			return fmt.Errorf("pin the module %s: %w", p.module, err)
		}
		if p.module == "kubernetes" {
			kubernetes = m.mod
		}
		for file, content := range map[string][]byte{"go.mod.txt": m.mod, "go.sum.txt": m.sum} {
			if err := os.WriteFile(filepath.Join(dir, p.module, file), content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// pinRelease has the requirements of a module's release. Kubernetes' staging modules, which it names no version of, are
// replaced by their releases.
func pinRelease(ctx context.Context, m module, path string) (module, error) {
	version, err := m.version(path)
	if err != nil {
		return m, err
	}
	dir, err := download(ctx, path, version)
	if err != nil {
		return m, err
	}
	upstream, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return m, err
	}
	requirements, err := parseMod(ctx, upstream)
	if err != nil {
		return m, err
	}
	if m.sum, err = os.ReadFile(filepath.Join(dir, "go.sum")); err != nil {
		return m, err
	}
	staging := "v0" + strings.TrimPrefix(version, "v1")
	var mod bytes.Buffer
	fmt.Fprintf(&mod, "module bed/%s\n\ngo %s\n\n", m.name, requirements.Go)
	if bytes.Contains(upstream, []byte("\ngodebug default=go")) {
		fmt.Fprintf(&mod, "godebug default=go%s\n\n", requirements.Go[:strings.LastIndex(requirements.Go, ".")])
	}
	fmt.Fprintf(&mod, "require %s %s\n\n", path, version)
	for _, r := range requirements.Require {
		if r.Version == "v0.0.0" {
			r.Version = staging
		}
		fmt.Fprintf(&mod, "require %s %s // indirect\n", r.Path, r.Version)
	}
	for _, r := range requirements.Replace {
		if r.New.Version != "" {
			return m, fmt.Errorf("%s replaces %s by %s: that is not foreseen", path, r.Old.Path, r.New.Path)
		}
		if strings.HasPrefix(r.New.Path, "./staging/") {
			fmt.Fprintf(&mod, "replace %s => %s %s\n", r.Old.Path, r.Old.Path, staging)
		}
	}
	m.mod = mod.Bytes()
	return m, nil
}

// pinSidecars replaces everything that Kubernetes uses too, but for what is their own, by what Kubernetes uses.
func pinSidecars(ctx context.Context, m module, paths []string, kubernetes []byte) (module, error) {
	requirements, err := parseMod(ctx, kubernetes)
	if err != nil {
		return m, err
	}
	var mod bytes.Buffer
	fmt.Fprintf(&mod, "module bed/%s\n\ngo %s\n\n", m.name, requirements.Go)
	for _, path := range paths {
		version, err := m.version(path)
		if err != nil {
			return m, err
		}
		fmt.Fprintf(&mod, "require %s %s\n", path, version)
	}
	for _, r := range requirements.Require {
		if !slices.Contains(own, r.Path) && !requirements.replaces(r.Path) {
			fmt.Fprintf(&mod, "replace %s => %s %s\n", r.Path, r.Path, r.Version)
		}
	}
	for _, r := range requirements.Replace {
		fmt.Fprintf(&mod, "replace %s => %s %s\n", r.Old.Path, r.New.Path, r.New.Version)
	}
	m.mod = mod.Bytes()
	return m, nil
}

func (g goMod) replaces(path string) bool {
	for _, r := range g.Replace {
		if r.Old.Path == path {
			return true
		}
	}
	return false
}

// complete lets go add what the module's programs need beyond what it has.
func (m module) complete(ctx context.Context) (module, error) {
	argv := []string{"list", "-mod=mod", "-deps"}
	for _, p := range programs {
		if p.module == m.name && p.tests {
			argv = append(argv, "-test")
		}
	}
	for _, p := range programs {
		if p.module == m.name {
			argv = append(argv, p.pkg)
		}
	}
	dir, err := m.layOut()
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	if _, _, err := goCommand(ctx, dir, argv...); err != nil {
		return m, err
	}
	if _, _, err := goCommand(ctx, dir, "mod", "edit", "-fmt"); err != nil {
		return m, err
	}
	if m.mod, err = os.ReadFile(filepath.Join(dir, "go.mod")); err != nil {
		return m, err
	}
	m.sum, err = os.ReadFile(filepath.Join(dir, "go.sum"))
	return m, err
}

// download returns the directory of a module's version.
func download(ctx context.Context, path, version string) (string, error) {
	out, _, err := goCommand(ctx, os.TempDir(), "mod", "download", "-json", path+"@"+version)
	if err != nil {
		return "", err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		return "", fmt.Errorf("read what go mod download says: %w", err)
	}
	return downloaded.Dir, nil
}

func parseMod(ctx context.Context, content []byte) (goMod, error) {
	dir, err := module{mod: content}.layOut()
	if err != nil {
		return goMod{}, err
	}
	defer os.RemoveAll(dir)
	out, _, err := goCommand(ctx, dir, "mod", "edit", "-json")
	if err != nil {
		return goMod{}, err
	}
	var parsed goMod
	err = json.Unmarshal(out, &parsed)
	return parsed, err
}

package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lvme/lvme/test/cluster/parts"
)

// Namespace is where lvme is installed.
const Namespace = "lvme-system"

// driverName is the name that an agent registers with its kubelet.
const driverName = "csi.lvme.dev"

// repository is the image's name without its tag.
const repository = "docker.io/lvme/lvme"

// installLimit is how long it may take until lvme is ready on every node, once its image is there.
const installLimit = 10 * time.Minute

// chartValues are the values of the chart that a cluster of this package needs.
//
//go:embed values.yaml
var chartValues []byte

// Release is lvme as it is to be installed.
type Release struct {
	Archive string // the image, an OCI archive
	Tag     string // of the image
	Chart   string // directory of the Helm chart
}

// releaseFile holds a Release, in JSON, in the directory where its image is.
const releaseFile = "release.json"

// ReadRelease returns what MakeRelease put into a directory.
func ReadRelease(dir string) (Release, error) {
	var r Release
	raw, err := os.ReadFile(filepath.Join(dir, releaseFile))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(raw, &r)
}

// MakeRelease builds lvme from the source tree in which the working directory is, as the version of that name, and puts
// the image into a directory. The image's tag changes with the program.
func MakeRelease(ctx context.Context, dir, version string) (Release, error) {
	mod, err := command(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return Release{}, err
	}
	source := filepath.Dir(strings.TrimSpace(string(mod)))
	if dir, err = filepath.Abs(dir); err != nil {
		return Release{}, err
	}
	binary := filepath.Join(dir, "lvme")
	build := []string{"env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X github.com/lvme/lvme/driver.version=" + version, "-o", binary, "./cmd/lvme"}
	if _, err := command(ctx, source, build...); err != nil {
		return Release{}, err
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		return Release{}, err
	}
	sum := sha256.Sum256(raw)
	r := Release{Archive: filepath.Join(dir, "image.tar"), Tag: hex.EncodeToString(sum[:6]), Chart: filepath.Join(source, "deploy", "chart", "lvme")}
	if _, err = command(ctx, source, "go", "run", "./deploy/image", "--binary", "amd64="+binary,
		"--ref", repository+":"+r.Tag, "--version", r.Tag, "--output", r.Archive); err != nil {
		return r, err
	}
	if raw, err = json.Marshal(r); err != nil {
		return r, err
	}
	return r, os.WriteFile(filepath.Join(dir, releaseFile), raw, 0o644)
}

// Install installs a release by its Helm chart, or upgrades to it, and returns when every node's agent is registered and
// the controller is ready.
func (c *Cluster) Install(ctx context.Context, r Release) error {
	if err := c.timed("image imported", func() error { return c.Import(ctx, r.Archive) }); err != nil {
		return err
	}
	return c.timed("lvme ready", func() error {
		ctx, cancel := context.WithTimeout(ctx, installLimit)
		defer cancel()
		if err := c.helm(ctx, r); err != nil {
			return err
		}
		return c.awaitLvme(ctx)
	})
}

// helm runs Helm on a release.
func (c *Cluster) helm(ctx context.Context, r Release) error {
	values := filepath.Join(c.opts.Dir, "values.yaml")
	if err := os.WriteFile(values, chartValues, 0o644); err != nil {
		return err
	}
	_, err := command(ctx, "", c.set.Path(parts.Helm), "--kubeconfig", c.Kubeconfig(), "--namespace", Namespace,
		"upgrade", "--install", "--create-namespace", "--values", values,
		"--set", "image.repository="+repository, "--set-string", "image.tag="+r.Tag, "lvme", r.Chart)
	return err
}

// awaitLvme waits until the driver is what the cluster can use.
func (c *Cluster) awaitLvme(ctx context.Context) error {
	for _, n := range c.nodes {
		registered := fmt.Sprintf(`jsonpath={.spec.drivers[?(@.name=="%s")].name}=%s`, driverName, driverName)
		if err := c.await(ctx, registered, "csinode/"+n.Name); err != nil {
			return err
		}
	}
	for _, workload := range []string{"daemonset/lvme-agent", "deployment/lvme-controller"} {
		if _, err := c.Kubectl(ctx, nil, "--namespace", Namespace, "rollout", "status", workload); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program and returns what it printed. What it said besides is part of the error.
func command(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", strings.Join(argv, " "), err, stderr.Bytes(), stdout.Bytes())
	}
	return stdout.Bytes(), nil
}

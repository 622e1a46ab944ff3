package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/lvme/lvme/test/bed"
)

// nodePackages are what makes a node of the bed a node of Kubernetes, besides the kubelet.
var nodePackages = []string{"containerd", "crun", "containernetworking-plugins", "iptables"}

// nodeScript sets a guest up; see there.
//
//go:embed node.sh
var nodeScript []byte

// guestDir is where the files of a cluster are in the guests, and guestScript is nodeScript there.
const (
	guestDir    = "/usr/local/lib/lvme-cluster"
	guestScript = guestDir + "/node.sh"
)

// nodeImage is the image of the cluster's nodes: containerd runs and has the images, the kubelet is there.
func nodeImage(kubelet string, images []string) (bed.Flavour, error) {
	recipe := sha256.New()
	recipe.Write(nodeScript)
	for _, file := range append([]string{kubelet}, images...) {
		fmt.Fprintln(recipe, filepath.Base(file))
		if err := digest(recipe, file); err != nil {
			return bed.Flavour{}, err
		}
	}
	return bed.Flavour{
		Packages: nodePackages,
		Recipe:   hex.EncodeToString(recipe.Sum(nil)),
		Prepare:  func(ctx context.Context, n *bed.Node) error { return prepare(ctx, n, kubelet, images) },
	}, nil
}

func digest(to io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// prepare makes a booted guest a node to be.
func prepare(ctx context.Context, n *bed.Node, kubelet string, images []string) error {
	if err := putScript(ctx, n); err != nil {
		return err
	}
	if err := n.Put(ctx, kubelet, "/usr/local/bin/kubelet", 0o755); err != nil {
		return err
	}
	if err := script(ctx, n, "prepare"); err != nil {
		return err
	}
	for _, image := range images {
		if err := importImage(ctx, n, image); err != nil {
			return err
		}
	}
	return script(ctx, n, "settle")
}

// putScript puts nodeScript into a guest.
func putScript(ctx context.Context, n *bed.Node) error {
	f, err := os.CreateTemp("", "lvme-cluster-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(nodeScript)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return n.Put(ctx, f.Name(), guestScript, 0o755)
}

// importImage puts an image, an OCI archive, into the store of a guest's containerd.
func importImage(ctx context.Context, n *bed.Node, archive string) error {
	in := path.Join("/var/tmp", filepath.Base(archive))
	if err := n.Put(ctx, archive, in, 0o644); err != nil {
		return err
	}
	return script(ctx, n, "import", in)
}

// script runs nodeScript in a guest.
func script(ctx context.Context, n *bed.Node, args ...string) error {
	var out bytes.Buffer
	code, err := n.Run(ctx, bed.Cmd{Args: append([]string{guestScript}, args...), Stdout: &out, Stderr: &out})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("node.sh %q: exit %d: %s", args, code, out.Bytes())
	}
	return nil
}

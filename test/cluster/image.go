package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/cluster/parts"
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

// nodeParts are the parts that a node has.
func nodeParts() []parts.Part {
	return append(parts.Node(), parts.Sidecars()...)
}

// nodeImage is the image of the cluster's nodes: containerd runs and has the images of the parts, the kubelet is there.
func nodeImage(set *parts.Set, have []parts.Part) bed.Flavour {
	recipe := sha256.New()
	recipe.Write(nodeScript)
	for _, part := range have {
		fmt.Fprintln(recipe, set.Path(part)) // it is named after how it was made
	}
	return bed.Flavour{
		Packages: nodePackages,
		Recipe:   hex.EncodeToString(recipe.Sum(nil)),
		Prepare:  func(ctx context.Context, n *bed.Node) error { return prepare(ctx, n, set, have) },
	}
}

// prepare makes a booted guest a node to be.
func prepare(ctx context.Context, n *bed.Node, set *parts.Set, have []parts.Part) error {
	if err := put(ctx, n, nodeScript, guestScript, 0o755); err != nil {
		return err
	}
	if err := script(ctx, n, "prepare"); err != nil {
		return err
	}
	for _, part := range have {
		if part == parts.Kubelet {
			if err := n.Put(ctx, set.Path(part), "/usr/local/bin/kubelet", 0o755); err != nil {
				return err
			}
			continue
		}
		if err := importImage(ctx, n, set.Path(part)); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file in a guest.
func put(ctx context.Context, n *bed.Node, content []byte, guestPath string, mode os.FileMode) error {
	f, err := os.CreateTemp("", "lvme-cluster-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return n.Put(ctx, f.Name(), guestPath, mode)
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

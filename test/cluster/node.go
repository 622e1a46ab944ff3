package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/lvme/lvme/test/bed"
)

// Node is a node of a cluster. What the bed can do with a machine can be done with it.
type Node struct {
	*bed.Node

	Name   string // in Kubernetes, and the host name
	Number int    // from 1

	cluster *Cluster
	console io.Closer
}

func nodeName(number int) string {
	return fmt.Sprintf("node%d", number)
}

// startNode starts a machine, which is no node of the cluster yet.
func (c *Cluster) startNode(ctx context.Context, number int) (*Node, error) {
	n := &Node{Name: nodeName(number), Number: number, cluster: c}
	console, err := c.createLog(n.Name + ".console")
	if err != nil {
		return nil, err
	}
	n.console = console
	opts := c.opts.machine(c.set)
	opts.Name = n.Name
	opts.Console = console
	opts.Card = card(number)
	for _, d := range c.opts.Drives {
		d.Serial = n.Name + "-" + d.Serial
		opts.Drives = append(opts.Drives, d)
	}
	if n.Node, err = bed.Start(ctx, opts); err != nil {
		return nil, errors.Join(err, console.Close())
	}
	return n, nil
}

// join starts on a machine that runs what makes it a node of the cluster.
func (n *Node) join(ctx context.Context) error {
	kubeconfig, err := n.cluster.NodeKubeconfig(n.Name)
	if err != nil {
		return err
	}
	for guest, host := range map[string]string{"kubeconfig": kubeconfig, "ca.crt": n.cluster.CA()} {
		raw, err := os.ReadFile(host)
		if err != nil {
			return err
		}
		if err := put(ctx, n.Node, raw, guestDir+"/"+guest, 0o600); err != nil {
			return err
		}
	}
	return script(ctx, n.Node, "join", strconv.Itoa(n.Number), strconv.Itoa(n.cluster.opts.Nodes), card(n.Number).MAC)
}

// Boot switches a node on that is off, and returns when its kubelet has been started.
func (n *Node) Boot(ctx context.Context) error {
	if err := n.Node.Boot(ctx); err != nil {
		return err
	}
	return n.join(ctx)
}

// Reboot shuts the node down cleanly and boots it again.
func (n *Node) Reboot(ctx context.Context) error {
	if err := n.Node.Reboot(ctx); err != nil {
		return err
	}
	return n.join(ctx)
}

// AwaitReady waits until the node is ready for pods. One that was cut off is taken for ready for some 40 seconds more.
func (n *Node) AwaitReady(ctx context.Context) error {
	return n.cluster.await(ctx, "condition=Ready", "node/"+n.Name)
}

// Close ends the machine and removes its drives.
func (n *Node) Close() error {
	return errors.Join(n.Node.Close(), n.console.Close())
}

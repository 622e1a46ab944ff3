// Package node is a node of the bed for package walk: real NVMe drives, real
// LVM, real filesystems, and a power switch. It is driven from outside; in it
// works the program inside.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/torture/model"
	"github.com/lvme/lvme/test/torture/mortal"
	"github.com/lvme/lvme/test/torture/walk"
)

// Node is the node.
type Node struct {
	*bed.Node
	// Log is what its agents said.
	Log rig.Tail

	agent  *rig.Agent
	orders int
}

var _ walk.Host = (*Node)(nil)

// Start starts a node whose drives A and B are lvme's, with volumes of others on
// them and on the drive C. All of them have a volatile write cache; what power
// cuts take from it depends on the seed.
func Start(ctx context.Context, seed uint64) (n *Node, err error) {
	dir, err := os.MkdirTemp("", "lvme-torture-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := rig.Compile(ctx, dir, "test/torture/inside")
	if err != nil {
		return nil, err
	}
	n = &Node{}
	n.Node, err = bed.Start(ctx, bed.Options{Name: rig.NodeID, Seed: seed, Drives: []bed.Drive{
		{Serial: "A", Size: 3 << 30, Volatile: true}, {Serial: "B", Size: 3 << 30, Volatile: true}, {Serial: "C", Size: 1 << 30, Volatile: true},
	}})
	if err != nil {
		return nil, err
	}
	if err := n.furnish(ctx, binary); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) furnish(ctx context.Context, binary string) error {
	if err := rig.Install(ctx, n.Node, binary, ""); err != nil {
		return err
	}
	if _, err := n.sh(ctx, `"$@"`, rig.Binary, "init"); err != nil {
		return err
	}
	if _, err := n.Start(ctx); err != nil {
		return err
	}
	_, err := n.sh(ctx, `"$@" && sync`, rig.Binary, "foreign")
	return errors.Join(err, n.Kill(ctx))
}

func (n *Node) sh(ctx context.Context, script string, args ...string) (string, error) {
	return rig.Sh(ctx, n.Node, script, args...)
}

// Root implements walk.Host.
func (n *Node) Root() string { return agent.DefaultKubeletDir }

// Patience implements walk.Host; the bed is slow.
func (n *Node) Patience() time.Duration { return 4 * time.Minute }

// Start implements walk.Host.
func (n *Node) Start(ctx context.Context) (walk.Agent, error) {
	a, err := rig.StartAgent(ctx, n.Node, &n.Log)
	if err != nil {
		return walk.Agent{}, err
	}
	n.agent = a
	return walk.Agent{IdentityClient: a, ControllerClient: a, NodeClient: a}, nil
}

// Stop implements walk.Host.
func (n *Node) Stop(ctx context.Context) error {
	a := n.agent
	n.agent = nil
	return a.Stop(ctx)
}

// Kill implements walk.Host.
func (n *Node) Kill(context.Context) error {
	if n.agent != nil {
		n.agent.Kill()
		n.agent = nil
	}
	return nil
}

// PowerCut implements walk.Host.
func (n *Node) PowerCut(ctx context.Context) error {
	n.Node.PowerCut()
	return errors.Join(n.Kill(ctx), n.Boot(ctx))
}

// Settled implements walk.Host: LVM ends its commands by itself.
func (n *Node) Settled(ctx context.Context) error {
	_, err := n.sh(ctx, `for ((i = 0; i < 2000; i++)); do pgrep -x 'lvm|mkfs.*|resize2fs|xfs_growfs|btrfs|btrfstune|mount|umount' >/dev/null || exit 0; sleep 0.05; done; ps -ef >&2; exit 1`)
	return err
}

// Doom implements walk.Host. An agent that is started later finds the order too.
func (n *Node) Doom(ctx context.Context, d mortal.Deed) error {
	n.orders++
	text, err := json.Marshal(mortal.Order{Number: n.orders, Deed: d})
	if err != nil {
		return err
	}
	_, err = n.sh(ctx, `mkdir -p "$(dirname "$2")"; rm -f "$3"; printf %s "$1" >"$2.new"; mv "$2.new" "$2"`, string(text), mortal.OrdersFile, mortal.StruckFile)
	return err
}

// Struck implements walk.Host.
func (n *Node) Struck(ctx context.Context) (bool, error) {
	out, err := n.sh(ctx, `cat "$1" 2>/dev/null || true`, mortal.StruckFile)
	return out != "", err
}

// Spare implements walk.Host.
func (n *Node) Spare(ctx context.Context) error {
	_, err := n.sh(ctx, `rm -f "$1"`, mortal.OrdersFile)
	return err
}

// Changes implements walk.Host.
func (n *Node) Changes(ctx context.Context) (made []walk.Change, err error) {
	out, err := n.sh(ctx, `cat "$1" 2>/dev/null || true; rm -f "$1"`, mortal.DiaryFile)
	for line := range strings.Lines(out) {
		what, took, _ := strings.Cut(strings.TrimSpace(line), " ")
		us, parseErr := strconv.ParseInt(took, 10, 64)
		err = errors.Join(err, parseErr)
		made = append(made, walk.Change{What: what, Took: time.Duration(us) * time.Microsecond})
	}
	return made, err
}

// Look implements walk.Host.
func (n *Node) Look(ctx context.Context) (s model.Sight, err error) {
	out, err := n.sh(ctx, `"$@"`, rig.Binary, "look")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// MakeDirs implements walk.Host.
func (n *Node) MakeDirs(ctx context.Context, dirs ...string) error {
	_, err := n.sh(ctx, `mkdir -m 0750 -p "$@"`, dirs...)
	return err
}

// Fill implements walk.Host.
func (n *Node) Fill(ctx context.Context, v *rig.Volume, seed uint64) error {
	_, err := n.sh(ctx, `"$@"`, rig.Binary, "fill", v.Target(), strconv.FormatUint(seed, 10))
	return err
}

// Sum implements walk.Host.
func (n *Node) Sum(ctx context.Context, v *rig.Volume) (string, error) {
	return n.sh(ctx, `"$@"`, rig.Binary, "sum", v.Target())
}

// Check implements walk.Host.
func (n *Node) Check(ctx context.Context, v *rig.Volume, fs string) error {
	command := map[string][]string{
		"ext4": {"e2fsck", "-f", "-n"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check", "--readonly"},
	}[fs]
	_, err := n.sh(ctx, `"$@"`, append(command, v.Target())...)
	return err
}

// writer is a walk.Writer.
type writer struct{ program *rig.Records }

// Records implements walk.Writer.
func (w writer) Records() string {
	lines := w.program.Lines()
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// End implements walk.Writer.
func (w writer) End() { w.program.End() }

// Write implements walk.Host.
func (n *Node) Write(ctx context.Context, v *rig.Volume) (walk.Writer, error) {
	// One that wrote before may have left records.
	if _, err := n.sh(ctx, `rm -f "$1"/record-*; sync -f "$1"`, v.Target()); err != nil {
		return nil, err
	}
	return writer{rig.StartRecords(ctx, n.Node, v.Target())}, nil
}

// Hold implements walk.Host.
func (n *Node) Hold(ctx context.Context, v *rig.Volume, records string) error {
	return rig.CheckRecords(ctx, n.Node, v.Target(), strings.Split(strings.TrimSuffix(records, "\n"), "\n"))
}

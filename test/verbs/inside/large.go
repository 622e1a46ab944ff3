package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/verbs/crowd"
	"github.com/lvme/lvme/test/verbs/figure"
)

// chunk is the unit of provisioning of the pools, lvme's default.
const chunk = 512 << 10

// keeping is a configuration by which a deleted volume's blocks are not given back to
// its drive; without one they are.
const keeping = "classes:\n  - {name: default, select: {transport: [pcie]}, thin: {giveBack: false}}\n"

// large measures the deletion of three large volumes whose blocks are all mapped: by
// a bare lvremove, by the agent, and by the agent that gives the blocks back.
func (b *bench) large(ctx context.Context) (*figure.Large, error) {
	l := &figure.Large{GiB: b.order.LargeGiB}
	made, err := b.makeLarge(ctx, 3)
	if err != nil {
		return nil, err
	}
	say("%d volumes of %d GiB, all mapped", len(made), l.GiB)
	if err := errors.Join(os.MkdirAll(filepath.Dir(rig.Config), 0o755), os.WriteFile(rig.Config, []byte(keeping), 0o600)); err != nil {
		return nil, err
	}
	if l.Kept, err = b.deleteLarge(ctx, made[0]); err != nil {
		return nil, err
	}
	if err := os.Remove(rig.Config); err != nil {
		return nil, err
	}
	if l.GivenBack, err = b.deleteLarge(ctx, made[1]); err != nil {
		return nil, err
	}
	if err := b.agent.freeze(); err != nil {
		return nil, err
	}
	commands := b.notes[deleteSnap] // of what is not active: lvremove alone
	took, err := runAll([]command{commands[len(commands)-1].with("s-"+snapshotName(token), "v-"+made[2].Name)})
	l.Bare = figure.Of(took)
	if err != nil {
		return nil, err
	}
	return l, b.agent.thaw()
}

// deleteLarge has an agent that reads its configuration anew delete a volume.
func (b *bench) deleteLarge(ctx context.Context, v *rig.Volume) (figure.Milliseconds, error) {
	if b.agent != nil {
		if err := b.stop(); err != nil {
			return 0, err
		}
	}
	var err error
	if b.agent, _, err = startAgent(ctx); err != nil {
		return 0, err
	}
	awaitNoLVM()
	began := time.Now()
	err = b.agent.delete(ctx, v)
	return figure.Of(time.Since(began)), err
}

// makeLarge makes block volumes that were in use and have all their blocks mapped,
// and leaves no agent running.
func (b *bench) makeLarge(ctx context.Context, n int) (made []*rig.Volume, err error) {
	for i := range n {
		v, err := b.agent.create(ctx, rig.Spec{Name: fmt.Sprintf("pvc-large-%d", i), Bytes: b.order.LargeGiB << 30})
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(v.Staging(), 0o750); err != nil {
			return nil, err
		}
		if _, err := b.agent.NodeStageVolume(ctx, v.StageRequest()); err != nil {
			return nil, err
		}
		if _, err := b.agent.NodeUnstageVolume(ctx, v.UnstageRequest()); err != nil {
			return nil, err
		}
		made = append(made, v)
	}
	if err := b.stop(); err != nil {
		return nil, err
	}
	blocks := b.order.LargeGiB << 30 / chunk
	return made, b.groups[0].rewrite(func(group, pool string) (string, string, error) {
		for i, v := range made {
			id, err := crowd.IDOf(group, "v-"+v.Name)
			if err != nil {
				return "", "", err
			}
			if pool, err = crowd.Map(pool, id, int64(i)*blocks, blocks); err != nil {
				return "", "", err
			}
		}
		return group, pool, nil
	})
}

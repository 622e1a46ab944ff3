package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/volume"
)

// trimmedAll runs Trim and returns what it told of each volume.
func (b *bench) trimmedAll(ctx context.Context) (map[string]Trimmed, error) {
	all := map[string]Trimmed{}
	err := b.Trim(ctx, func(t Trimmed) { all[t.Key.LV] = t })
	return all, err
}

func TestTrim(t *testing.T) {
	b := newBench(t, func(v *volume.Volume) { v.Bytes = 5 * gib / 2 })
	b.add("store001/vgvgvgv1/v-idle", nil)
	b.add("store001/vgvgvgv1/v-raw", func(v *volume.Volume) { v.Mode, v.State, v.Active = volume.Block, volume.Raw, true })
	b.ok(b.stage(filesystem("", writer)))
	steps := 0
	b.host.Before = func(op string) error {
		if op == "trim" {
			steps++
			if _, free := b.changing.TryLock(id); free {
				t.Error("the volume can be unstaged in the middle of a step")
			}
		}
		return nil
	}
	all, err := b.trimmedAll(t.Context())
	if err != nil || len(all) != 1 || all["v-a"].Err != nil || all["v-a"].Bytes != 5*gib/4 || steps != 3 {
		t.Errorf("%+v in %d steps, %v", all, steps, err)
	}
}

// TestTrimLeavesOthersAlone: a filesystem that is being changed, is gone, or was shut down is no error of the others.
func TestTrimLeavesOthersAlone(t *testing.T) {
	b := newBench(t, nil)
	b.ok(b.stage(filesystem("", writer)))
	unlock, _ := b.changing.TryLock(id)
	if all, err := b.trimmedAll(t.Context()); err != nil || all["v-a"].Err != nil || all["v-a"].Bytes != 0 {
		t.Errorf("while it is changed: %+v, %v", all, err)
	}
	unlock()

	broken := errors.New("input/output error")
	b.host.Before = func(op string) error {
		if op == "trim" {
			return broken
		}
		return nil
	}
	if all, err := b.trimmedAll(t.Context()); err != nil || !errors.Is(all["v-a"].Err, broken) {
		t.Errorf("an error: %+v, %v", all, err)
	}
	b.host.Before = nil
	b.host.Fail(b.staging)
	if all, err := b.trimmedAll(t.Context()); err != nil || all["v-a"].Err != nil || all["v-a"].Bytes != 0 {
		t.Errorf("a filesystem that has given up: %+v, %v", all, err)
	}
	b.host.Reboot() // nothing is mounted
	if all, err := b.trimmedAll(t.Context()); err != nil || all["v-a"].Err != nil {
		t.Errorf("not mounted: %+v, %v", all, err)
	}
}

// TestTrimWaitsForNoPool: one that is out of reach, or from which a filesystem has no answer, is left alone.
func TestTrimWaitsForNoPool(t *testing.T) {
	b := newBench(t, nil)
	b.add("store001/vgvgvgv1/v-b", func(v *volume.Volume) { v.Active = true })
	b.ok(b.stage(filesystem("", writer)))
	b.store.pools = []volume.PoolHealth{{VG: volume.VGName("vgvgvgv1"), Ailment: volume.Ailment{Effect: volume.Inaccessible}}}
	if all, err := b.trimmedAll(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("of a pool that is out of reach: %+v, %v", all, err)
	}
	b.store.pools = nil
	if all, err := b.trimmedAll(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	hung := make(chan struct{})
	defer close(hung)
	b.host.Before = func(op string) error {
		if op == "trim" {
			<-hung
		}
		return nil
	}
	b.trims.wait = time.Millisecond
	if all, err := b.trimmedAll(t.Context()); err != nil || len(all) != 1 || !errors.Is(all["v-a"].Err, mount.ErrBroken) {
		t.Errorf("of a pool that hangs: %+v, %v", all, err)
	}
}

// TestTrimEnds: the agent's stop does not wait for terabytes.
func TestTrimEnds(t *testing.T) {
	b := newBench(t, func(v *volume.Volume) { v.Bytes = 1000 * gib })
	b.ok(b.stage(filesystem("", writer)))
	ctx, cancel := context.WithCancel(t.Context())
	b.host.After = func(op string) error {
		if op == "trim" {
			cancel()
		}
		return nil
	}
	if all, err := b.trimmedAll(ctx); !errors.Is(err, context.Canceled) || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

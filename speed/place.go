package speed

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// place is where a workload or a count is done.
type place struct {
	target
	drive device
	pool  pool // of thin volumes
	// unjudged says why counts tell nothing here.
	unjudged string
}

// dataFile is the file in a filesystem that is used as a device elsewhere.
const dataFile = "lvme-bench.dat"

// place is where a layer is. Of a filesystem it is a file with half of the space.
func (b *bench) place(ctx context.Context, l Layer) (p place, err error) {
	m := b.made[l.volume]
	p.target = target{path: m.path(), length: m.bytes}
	if l.fs != "" {
		p.target = target{path: filepath.Join(m.path(), dataFile), length: m.bytes / 2}
	}
	below, err := b.kernel.below(m.device)
	if err != nil {
		return place{}, err
	}
	on := drives(below)
	if len(on) == 0 {
		return place{}, fmt.Errorf("%s is on no drive", m.device.dm)
	}
	if p.drive = on[0]; len(on) > 1 {
		p.unjudged = "it lies on several drives"
	}
	if !l.thick {
		p.pool, err = b.kernel.pool(ctx, m.device)
		return p, err
	}
	if l.sectors {
		if err := b.still(ctx, m, *b.region); err != nil {
			return place{}, err
		}
		p.path, p.length = "/dev/mapper/"+linearName, b.region.length
	}
	if l.Name == "raw" {
		p.path, p.offset = b.region.path(), b.region.offset
	}
	return p, nil
}

// with brings a layer into its state, has something done there, and undoes what it did for it.
func (b *bench) with(ctx context.Context, l Layer, do func(place) error) (err error) {
	p, err := b.place(ctx, l)
	if err != nil {
		return err
	}
	switch l.state {
	case unmapped:
		p.chunk = p.pool.chunk
		if err := b.host.discard(ctx, p.path); err != nil {
			return err
		}
	case shared:
		p.chunk = p.pool.chunk
		id, err := b.snapshot(ctx, b.made[l.volume])
		if err != nil {
			return err
		}
		defer func() {
			if ctx.Err() == nil { // else all is taken away
				err = errors.Join(err, b.removeSnapshot(ctx, id))
			}
		}()
		return do(p)
	case asIs:
	}
	return do(p)
}

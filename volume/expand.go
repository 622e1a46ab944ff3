package volume

import (
	"context"
	"fmt"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// Expand grows the device of a volume to the wanted size; its filesystem is
// grown by whoever has it mounted. A volume that is large enough is left as it
// is, and one larger than the limit is ErrRange.
func (s *Store) Expand(ctx context.Context, k Key, size Range) (Volume, error) {
	if err := checkRange(size); err != nil {
		return Volume{}, err
	}
	return fly(ctx, &s.flights, k.LV, fmt.Sprintf("expand %s %+v", k, size), func(ctx context.Context) (Volume, error) {
		return s.expand(ctx, k, size)
	})
}

func (s *Store) expand(ctx context.Context, k Key, size Range) (Volume, error) {
	v, err := s.Volume(ctx, k)
	if err != nil {
		return Volume{}, err
	}
	s.mu.RLock()
	p := s.pools[k.VG]
	bytes := p.rounded(size.Required, v.Type)
	s.mu.RUnlock()
	if v.Bytes >= size.Required {
		bytes = v.Bytes
	}
	if size.Limit > 0 && bytes > size.Limit {
		return Volume{}, fmt.Errorf("capacity_range.limit_bytes %d: %w: it would have %d bytes", size.Limit, ErrRange, bytes)
	}
	if bytes > v.Bytes {
		if err := s.extend(ctx, p, v, bytes); err != nil {
			return Volume{}, err
		}
	}
	return s.Volume(ctx, k)
}

// extend grows the LV. The new part of a thick volume is clean because every
// free extent of its VG is; see wipe.go.
func (s *Store) extend(ctx context.Context, p *pool, v Volume, bytes int64) error {
	release, err := s.promiseMore(p, v, bytes)
	if err != nil {
		return err
	}
	defer release()
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	err = s.change(ctx, p, func(vg lvm.VG) error { return s.LVM.Extend(ctx, vg, v.Key.LV, bytes) }, func() {
		p.entries.change(v.Key.LV, func(e *entry) {
			if e.thick {
				p.free -= p.legs() * (bytes - e.bytes)
			}
			e.bytes = bytes
		})
	})
	if err == nil {
		klog.FromContext(ctx).Info("volume expanded", "volume", v.Key, "from", v.Bytes, "bytes", bytes)
	}
	return err
}

// promiseMore keeps room for the growth of a volume.
func (s *Store) promiseMore(p *pool, v Volume, bytes int64) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := p.trouble(); err != nil {
		return nil, err
	}
	if why := p.refusesMore(v.Type); why != "" {
		return nil, fmt.Errorf("%w in %s: %s", ErrNoSpace, VGName(p.id), why)
	}
	more, room := bytes-v.Bytes, p.thickRoom()
	if v.Type == Thin {
		room = p.thinRoom(s.classOf(p).Overcommit)
	}
	if more > room {
		return nil, fmt.Errorf("%w in %s: it needs %d bytes more, which has %d left", ErrNoSpace, VGName(p.id), more, room)
	}
	return s.promise(p, v.Type, more), nil
}

// classOf is what the configuration says of the pool's thin volumes; a class
// that it does not know any more is not overcommitted. s.mu is held.
func (s *Store) classOf(p *pool) drive.Thin {
	if class, ok := s.Config.Class(p.tags.class); ok && p.tags.class != "" {
		return class.Thin
	}
	return drive.Thin{Overcommit: 1}
}

// Capacity is what a class can still take of one type; class "" is the default
// class. A class that this node does not have has none. Where more is promised
// than there is, a pool that is filling up has room for no more than is left
// of it, promised as often as the class allows.
func (s *Store) Capacity(ctx context.Context, class string, t Type) (Capacity, error) {
	c, known := s.Config.Class(class)
	if !known {
		return Capacity{}, nil
	}
	var sum Capacity
	for _, r := range s.rooms(c, t) {
		if t == Thin && c.Thin.Overcommit > 1 && r.bytes > 0 {
			r.bytes = min(r.bytes, s.left(ctx, r.vg, c.Thin.Overcommit))
		}
		r.bytes -= r.bytes % r.unit
		sum.Available += r.bytes
		sum.MaxVolume = max(sum.MaxVolume, r.bytes)
		if sum.MinVolume == 0 || r.unit < sum.MinVolume {
			sum.MinVolume = r.unit
		}
	}
	return sum, nil
}

// room is what one pool can still promise, in steps of unit bytes.
type room struct {
	vg          string
	bytes, unit int64
}

// rooms are those of the class's pools that are here.
func (s *Store) rooms(c drive.Class, t Type) []room {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []room
	for _, p := range s.poolsOf(c.Name) {
		if p.extent > 0 {
			bytes := p.room(wanted{CreateSpec: CreateSpec{Type: t}, class: c})
			all = append(all, room{vg: VGName(p.id), bytes: bytes, unit: p.rounded(1, t)})
		}
	}
	return all
}

// left is what the kernel says is left of a thin pool, promised so many times
// over. A pool that cannot be looked at has nothing.
func (s *Store) left(ctx context.Context, vg string, times float64) int64 {
	status, err := s.LVM.PoolStatus(ctx, vg, poolLV)
	if err != nil || status.DataTotal == 0 {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.pools[PoolID(vg)]
	if p == nil {
		return 0
	}
	own, _ := p.asMade()
	return int64(float64(max(0, own-p.bounds().used(status))) * times)
}

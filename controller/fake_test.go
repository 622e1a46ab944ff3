package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/volume"
)

const (
	gib = int64(1) << 30
	// ours and theirs are store keys, and vg the short id of a VG.
	ours, theirs, vg = "ourstore", "theirone", "vg000001"
)

func volKey(name string) volume.Key  { return volume.Key{Store: ours, VG: vg, LV: "v-" + name} }
func snapKey(name string) volume.Key { return volume.Key{Store: ours, VG: vg, LV: "s-" + name} }

// fakeStore is a store in memory that answers as volume.Store promises to. It
// rounds sizes up to 4 MiB and makes volumes of 1 GiB when none is given, so
// that an answer taken from the request shows.
type fakeStore struct {
	thick     bool // no class has thin volumes
	volumes   map[string]volume.Volume
	snapshots map[string]volume.Snapshot
	// fail is what every verb returns.
	fail error
	// called counts the verbs that change something, lastClass and lastType
	// are what Capacity was last asked for.
	called    int
	lastClass string
	lastType  volume.Type
	lastSpec  volume.CreateSpec
}

var _ Store = (*fakeStore)(nil)

func newFake() *fakeStore {
	return &fakeStore{volumes: map[string]volume.Volume{}, snapshots: map[string]volume.Snapshot{}}
}

func (f *fakeStore) Key() string   { return ours }
func (f *fakeStore) HasThin() bool { return !f.thick }

// find says what is wrong with the key, as the store does.
func (f *fakeStore) find(key volume.Key, exists bool) error {
	switch {
	case f.fail != nil:
		return f.fail
	case key.Store != ours:
		return fmt.Errorf("%s: %w", key, volume.ErrForeign)
	case key.VG == "vgisaway":
		return fmt.Errorf("%s: %w", key, volume.ErrAway)
	case !exists:
		return fmt.Errorf("%s: %w", key, volume.ErrNotFound)
	}
	return nil
}

func (f *fakeStore) Create(_ context.Context, spec volume.CreateSpec) (volume.Volume, error) {
	f.called++
	f.lastSpec = spec
	if f.fail != nil {
		return volume.Volume{}, f.fail
	}
	key := volKey(spec.Name)
	size := max(spec.Size.Required, 1)
	size = (size + 4<<20 - 1) / (4 << 20) * (4 << 20)
	if spec.Size == (volume.Range{}) {
		size = gib
	}
	if old, ok := f.volumes[key.String()]; ok {
		if old.Bytes != size {
			return volume.Volume{}, volume.ErrConflict
		}
		return old, nil
	}
	if s := spec.Source; !s.IsZero() {
		_, isVolume := f.volumes[s.String()]
		_, isSnapshot := f.snapshots[s.String()]
		if err := f.find(s, isVolume || isSnapshot); err != nil {
			return volume.Volume{}, err
		}
	}
	v := volume.Volume{Key: key, Name: spec.Name, Class: "fast", Type: volume.Thin, Mode: spec.Mode, FSType: spec.FSType,
		Profile: "general", Bytes: size, Source: spec.Source, Created: time.Unix(1700000000, 0)}
	f.volumes[key.String()] = v
	return v, nil
}

func (f *fakeStore) Volume(_ context.Context, key volume.Key) (volume.Volume, error) {
	v, ok := f.volumes[key.String()]
	return v, f.find(key, ok)
}

func (f *fakeStore) Volumes(context.Context) (all []volume.Volume, err error) {
	for _, v := range f.volumes {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b volume.Volume) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return all, f.fail
}

func (f *fakeStore) Expand(_ context.Context, key volume.Key, size volume.Range) (volume.Volume, error) {
	f.called++
	v, ok := f.volumes[key.String()]
	if err := f.find(key, ok); err != nil {
		return volume.Volume{}, err
	}
	v.Bytes = max(v.Bytes, size.Required)
	f.volumes[key.String()] = v
	return v, nil
}

func (f *fakeStore) Delete(_ context.Context, key volume.Key) error {
	f.called++
	delete(f.volumes, key.String())
	return f.find(key, true)
}

func (f *fakeStore) CreateSnapshot(_ context.Context, spec volume.SnapshotSpec) (volume.Snapshot, error) {
	f.called++
	source, ok := f.volumes[spec.Source.String()]
	if err := f.find(spec.Source, ok); err != nil {
		return volume.Snapshot{}, err
	}
	key := snapKey(spec.Name)
	if old, ok := f.snapshots[key.String()]; ok {
		if old.Source != spec.Source {
			return volume.Snapshot{}, volume.ErrConflict
		}
		return old, nil
	}
	s := volume.Snapshot{Key: key, Name: spec.Name, Source: spec.Source, Bytes: source.Bytes, Created: time.Unix(1700000001, 0)}
	f.snapshots[key.String()] = s
	return s, nil
}

func (f *fakeStore) Snapshot(_ context.Context, key volume.Key) (volume.Snapshot, error) {
	s, ok := f.snapshots[key.String()]
	return s, f.find(key, ok)
}

func (f *fakeStore) Snapshots(context.Context) (all []volume.Snapshot, err error) {
	for _, s := range f.snapshots {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b volume.Snapshot) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return all, f.fail
}

func (f *fakeStore) DeleteSnapshot(_ context.Context, key volume.Key) error {
	f.called++
	delete(f.snapshots, key.String())
	return f.find(key, true)
}

func (f *fakeStore) Capacity(_ context.Context, class string, t volume.Type) (volume.Capacity, error) {
	f.lastClass, f.lastType = class, t
	if class != "" && class != "fast" {
		return volume.Capacity{}, f.fail
	}
	return volume.Capacity{Available: 100 * gib, MaxVolume: 40 * gib, MinVolume: 4 << 20}, f.fail
}

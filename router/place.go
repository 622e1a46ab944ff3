package router

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// maxTries bounds how many agents are asked for one volume.
const maxTries = 16

// place are the stores in which the volume may be made, the first to be tried
// first: where it may be already, what the caller prefers, what else it allows,
// by the room that is there. A copy is made where its source is.
func (r *Router) place(ctx context.Context, req *csi.CreateVolumeRequest, c *creation) ([]string, error) {
	stores, err := r.allowed(ctx, req)
	if err != nil {
		return nil, err
	}
	known := slices.DeleteFunc(c.stores(), func(store string) bool {
		return !slices.Contains(stores, store) && !r.mayHold(req, store)
	})
	if stores = distinct(append(known, stores...)); len(stores) > 0 {
		return stores, nil
	}
	if time.Since(r.fleet.started) < r.config.GiveUp {
		return nil, fmt.Errorf("all nodes are %w: the router has just started", driver.ErrUnreachable)
	}
	return nil, fmt.Errorf("no node can be reached: %w", driver.ErrElsewhere)
}

// allowed are the stores that the request asks for or leaves open.
func (r *Router) allowed(ctx context.Context, req *csi.CreateVolumeRequest) ([]string, error) {
	if store := sourceStore(req.GetVolumeContentSource()); store != "" {
		if !r.mayHold(req, store) {
			return nil, fmt.Errorf("its source is in store %s, on node %s, which accessibility_requirements leave out, and a copy is made beside its source: %w",
				store, r.fleet.nodeOf(store), driver.ErrElsewhere)
		}
		return []string{store}, nil
	}
	want := req.GetAccessibilityRequirements()
	rank := func(stores []string) []string { return r.rank(ctx, req, stores) }
	preferred := r.matching(want.GetPreferred(), rank)
	if len(want.GetRequisite()) == 0 {
		return append(preferred, rank(r.fleet.stores(true))...), nil
	}
	// Callers name all nodes of a cluster, in both lists: nothing here may look
	// through the one for each of the other.
	required := r.matching(want.GetRequisite(), nil)
	isRequired := setOf(required)
	preferred = slices.DeleteFunc(preferred, func(store string) bool { return !isRequired[store] && !r.mayHold(req, store) })
	isPreferred := setOf(preferred)
	others := slices.DeleteFunc(required, func(store string) bool { return isPreferred[store] })
	stores := append(preferred, rank(others)...)
	if len(stores) == 0 {
		return nil, r.nowhere(want.GetRequisite())
	}
	return stores, nil
}

// sourceStore is the store of what the volume is to be a copy of. A source that
// is none of anybody's is the agents' to refuse, whichever is asked.
func sourceStore(src *csi.VolumeContentSource) string {
	key, err := volume.ParseKey(cmp.Or(src.GetSnapshot().GetSnapshotId(), src.GetVolume().GetVolumeId()))
	if err != nil {
		return ""
	}
	return key.Store
}

// mayHold says whether the request allows that store.
func (r *Router) mayHold(req *csi.CreateVolumeRequest, store string) bool {
	if source := sourceStore(req.GetVolumeContentSource()); source != "" && source != store {
		return false
	}
	terms := req.GetAccessibilityRequirements().GetRequisite()
	return len(terms) == 0 || slices.ContainsFunc(terms, func(t *csi.Topology) bool { return r.within(t, store) })
}

// within says whether a store lies in the topology, by its key and by what the
// cluster says of its node.
func (r *Router) within(t *csi.Topology, store string) bool {
	var segments map[string]string
	for key, value := range t.GetSegments() {
		if strings.EqualFold(key, driver.TopologyKey) {
			if value != store {
				return false
			}
			continue
		}
		if segments == nil {
			segments = r.config.Cluster.Segments(r.fleet.nodeOf(store))
		}
		if have, ok := segments[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// matching are the stores of the terms, in their order: those that terms name,
// reachable or not, and where a term names none, those in it that can be
// reached, in the order of rank.
func (r *Router) matching(terms []*csi.Topology, rank func([]string) []string) []string {
	var stores []string
	for _, t := range terms {
		if store, ok := named(t); ok {
			if r.within(t, store) {
				stores = append(stores, store)
			}
			continue
		}
		in := slices.DeleteFunc(r.fleet.stores(true), func(store string) bool { return !r.within(t, store) })
		if rank != nil {
			in = rank(in)
		}
		stores = append(stores, in...)
	}
	return distinct(stores)
}

// named is the store that a term names.
func named(t *csi.Topology) (store string, ok bool) {
	for key, value := range t.GetSegments() {
		if strings.EqualFold(key, driver.TopologyKey) {
			return value, true
		}
	}
	return "", false
}

// nowhere says why no store matches: a key that nobody has is the caller's
// mistake, as it is with an agent.
func (r *Router) nowhere(terms []*csi.Topology) error {
	known := map[string]bool{}
	for _, store := range r.fleet.stores(false) {
		for key := range r.config.Cluster.Segments(r.fleet.nodeOf(store)) {
			known[key] = true
		}
	}
	for i, t := range terms {
		for key := range t.GetSegments() {
			if !known[key] && !strings.EqualFold(key, driver.TopologyKey) {
				return volume.Invalid(fmt.Sprintf("accessibility_requirements.requisite[%d]", i), key, "the topology key "+driver.TopologyKey)
			}
		}
	}
	return fmt.Errorf("no node that can be reached is in any of the %d topologies in requisite: %w", len(terms), driver.ErrElsewhere)
}

// rank orders stores by the room they have for the volume. Not simply the
// emptiest first: two calls for one name, even of two replicas, shall find the
// same order as long as the room is much the same, and many calls at once shall
// not all go to one store. So each store draws a number for the name, weighted
// by its room (rendezvous hashing). Stores without room are last.
func (r *Router) rank(ctx context.Context, req *csi.CreateVolumeRequest, stores []string) []string {
	if len(stores) < 2 {
		return stores
	}
	rooms, _ := r.capacity.get(ctx, newQuery(req.GetParameters(), nil), stores)
	need := req.GetCapacityRange().GetRequiredBytes()
	var most int64
	for _, room := range rooms {
		most = max(most, room.available)
	}
	score := make(map[string]float64, len(stores))
	for i, store := range stores {
		weight := 0.0
		if room := rooms[i]; room.available > 0 && room.largest >= need {
			weight = math.Pow(float64(room.available)/float64(most), 4)
		}
		score[store] = draw(req.GetName(), store, weight)
	}
	ranked := slices.Clone(stores)
	slices.SortFunc(ranked, func(a, b string) int { return cmp.Or(cmp.Compare(score[b], score[a]), cmp.Compare(a, b)) })
	return ranked
}

// draw is a store's number for a name: positive if it has weight, and then the
// larger, on average, the more. The same for ever for the same arguments.
func draw(name, store string, weight float64) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name + "\x00" + store)) // never fails
	x := h.Sum64()
	// FNV leaves the upper bits of similar texts similar: mix them.
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	u := (float64((x^x>>33)>>11) + 0.5) / (1 << 53) // in (0, 1)
	if weight == 0 {
		return u - 1
	}
	return weight / -math.Log(u)
}

func setOf(stores []string) map[string]bool {
	set := make(map[string]bool, len(stores))
	for _, store := range stores {
		set[store] = true
	}
	return set
}

// distinct keeps the first of each.
func distinct(stores []string) []string {
	seen := make(map[string]bool, len(stores))
	return slices.DeleteFunc(stores, func(store string) bool {
		again := seen[store]
		seen[store] = true
		return again
	})
}

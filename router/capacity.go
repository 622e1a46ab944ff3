package router

import (
	"context"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
)

const (
	// fetchTime bounds one question to an agent, however long its asker waits.
	fetchTime = 10 * time.Second
	// keep is for how many refreshes a capacity is kept fresh that nobody asks for.
	keep = 10
	// steps is how many bits of a capacity are told: steps of 0.8 to 1.6 %.
	steps = 7
)

// GetCapacity implements csi.ControllerServer. It never waits for a node that is
// away, which has no capacity: csi-provisioner asks for each node and class in
// one thread. It is an error only of a store whose agent is about to be heard, or
// about to know: csi-provisioner repeats a failure soon, and an answer at its
// next round.
func (r *Router) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	stores := r.matching([]*csi.Topology{req.GetAccessibleTopology()}, nil)
	for _, store := range stores {
		if gone := r.fleet.arriving(store); gone != nil {
			return nil, gone
		}
	}
	resp := &csi.GetCapacityResponse{MaximumVolumeSize: wrapperspb.Int64(0)}
	rooms, unknown := r.capacity.get(ctx, newQuery(req.GetParameters(), req.GetVolumeCapabilities()), stores)
	if len(stores) == 1 && unknown != nil {
		return nil, unknown
	}
	var smallest int64
	for _, room := range rooms {
		resp.AvailableCapacity += room.available
		resp.MaximumVolumeSize.Value = max(resp.GetMaximumVolumeSize().GetValue(), room.largest)
		if room.smallest > 0 && (smallest == 0 || room.smallest < smallest) {
			smallest = room.smallest
		}
	}
	if smallest > 0 {
		resp.MinimumVolumeSize = wrapperspb.Int64(smallest)
	}
	return resp, nil
}

// query is what volumes room is wanted for.
type query struct {
	key    string
	params map[string]string
	caps   []*csi.VolumeCapability
}

// newQuery leaves out what Kubernetes' sidecars add to parameters, such as the
// name of the claim.
func newQuery(params map[string]string, caps []*csi.VolumeCapability) query {
	params = maps.Clone(params)
	maps.DeleteFunc(params, func(name, _ string) bool { return driver.IsSidecarParameter(name) })
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		key.WriteString(strconv.Quote(name) + strconv.Quote(params[name]))
	}
	for _, c := range caps {
		text, _ := proto.MarshalOptions{Deterministic: true}.Marshal(c) // what was received can be sent
		key.WriteString(strconv.Quote(string(text)))
	}
	return query{key: key.String(), params: params, caps: caps}
}

// room is what an agent said of a query, in bytes.
type room struct{ available, largest, smallest int64 }

// capacity is what the agents said of the room in their stores.
type capacity struct {
	config  Config
	fleet   *fleet
	metrics *metrics

	mu     sync.Mutex
	stores map[string]map[string]*entry // by store, then by the key of the query
}

// entry is the answer of one agent to one query.
type entry struct {
	query query
	room  room
	// stale says that something has changed since, or that there is no answer;
	// changed, that it has since the question that is under way was asked.
	stale, changed bool
	// known says that there has been an answer; unknown, why there is none yet.
	known   bool
	unknown error
	asked   time.Time
	// fetching is closed at the end of the question that is under way, if any,
	// which began at that time.
	fetching chan struct{}
	begun    time.Time
}

func newCapacity(c Config, f *fleet, m *metrics) *capacity {
	return &capacity{config: c, fleet: f, metrics: m, stores: map[string]map[string]*entry{}}
}

// get is the room in each of these stores. Values that are missing or stale are
// waited for, all together and for a short time only; then the last one counts.
// So it does for an agent that was lost a moment ago and is being replaced; a
// store that is away has no room. Unknown says why some agent does not know yet.
func (c *capacity) get(ctx context.Context, q query, stores []string) (rooms []room, unknown error) {
	rooms = make([]room, len(stores))
	ctx, cancel := context.WithTimeout(ctx, c.config.CapacityWait)
	defer cancel()
	var pending []<-chan struct{}
	for _, store := range stores {
		if a, _, _ := c.fleet.look(store, false); a != nil {
			pending = append(pending, c.want(ctx, a, store, q))
		}
	}
	for _, done := range pending {
		if done != nil {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
	}
	for i, store := range stores {
		if a, gone, _ := c.fleet.look(store, false); a != nil || time.Since(gone.since) < c.config.Restart {
			var err error
			if rooms[i], err = c.last(store, q); err != nil {
				unknown = err
			}
		}
	}
	return rooms, unknown
}

// want sees to it that there is a value. It returns what to wait for, nil for
// nothing: one that is fresh, or a question that an agent has been too slow to
// answer for others already.
func (c *capacity) want(ctx context.Context, a *agent, store string, q query) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.stores[store][q.key]
	if e == nil {
		e = &entry{query: q, stale: true}
		if c.stores[store] == nil {
			c.stores[store] = map[string]*entry{}
		}
		c.stores[store][q.key] = e
	}
	e.asked = time.Now()
	if !e.stale {
		return nil
	}
	if e.fetching == nil {
		c.fetch(ctx, a, store, e)
	}
	if time.Since(e.begun) > c.config.CapacityWait {
		return nil
	}
	return e.fetching
}

// fetch asks the agent in the background; c.mu is held.
func (c *capacity) fetch(ctx context.Context, a *agent, store string, e *entry) {
	done := make(chan struct{})
	e.fetching, e.begun, e.changed = done, time.Now(), false
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
		defer cancel()
		resp, err := a.controller.GetCapacity(ctx, &csi.GetCapacityRequest{
			Parameters: e.query.params, VolumeCapabilities: e.query.caps, AccessibleTopology: driver.Topology(store),
		})
		c.mu.Lock()
		defer c.mu.Unlock()
		defer close(done)
		e.fetching = nil
		c.metrics.refreshed(err)
		if err == nil || status.Code(err) == codes.InvalidArgument { // of parameters that this agent does not know nothing can be made
			e.room, e.stale, e.known, e.unknown = roomOf(resp), e.changed, true, nil
			return
		}
		e.stale, e.unknown = true, nil
		if status.Code(err) == codes.Unavailable && !e.known {
			e.unknown = driver.AnsweredBy(a.Node, err)
		}
		klog.FromContext(ctx).V(2).Info("an agent did not say its capacity", "node", a.Node, "err", err)
	}()
}

func roomOf(resp *csi.GetCapacityResponse) room {
	largest := resp.GetAvailableCapacity()
	if m := resp.GetMaximumVolumeSize(); m != nil {
		largest = m.GetValue()
	}
	return room{available: quantise(resp.GetAvailableCapacity()), largest: quantise(largest), smallest: resp.GetMinimumVolumeSize().GetValue()}
}

// last is the last value, which there may not be, and why not.
func (c *capacity) last(store string, q query) (room, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.stores[store][q.key]; e != nil {
		return e.room, e.unknown
	}
	return room{}, nil
}

// invalidate says that something in that store has changed.
func (c *capacity) invalidate(store string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.stores[store] {
		e.stale, e.changed = true, true
	}
}

// refresh keeps the values of a store fresh that somebody asks for, until ctx
// ends. Those of an agent that has just come are of another time.
func (c *capacity) refresh(ctx context.Context, a *agent, store string) {
	c.invalidate(store)
	for pause(ctx, c.config.Refresh, nil) {
		c.mu.Lock()
		for key, e := range c.stores[store] {
			switch {
			case time.Since(e.asked) > keep*c.config.Refresh:
				delete(c.stores[store], key)
			case e.fetching == nil:
				c.fetch(ctx, a, store, e)
			}
		}
		c.mu.Unlock()
	}
}

// size is how many values there are.
func (c *capacity) size() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, entries := range c.stores {
		n += len(entries)
	}
	return n
}

// quantise rounds down to a number of few significant bits. Capacity changes
// with every volume, and each change that is told is an object written to the
// Kubernetes API.
func quantise(bytes int64) int64 {
	low := max(bits.Len64(uint64(max(bytes, 0)))-steps, 0)
	return max(bytes, 0) >> low << low
}

package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// CreateVolume implements csi.ControllerServer. The stores that may hold the
// volume are tried one after the other while they say that it can be had
// elsewhere only. A node that cannot be reached is Unavailable for a short time
// and then left out: Kubernetes waits for ever on the one, and looks for
// another node on the other. What may have been made there is then owed to its
// store as a deletion, before the caller is told anything final.
func (r *Router) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	name := req.GetName()
	if name == "" {
		return nil, volume.Invalid("name", "", "a name of 1 to 128 bytes")
	}
	unlock, ok := r.names.TryLock(volume.VolumeLV(name))
	if !ok {
		return nil, fmt.Errorf("create volume %.140q: another call for this name is running: %w", name, volume.ErrBusy)
	}
	defer unlock()
	c := r.recent.creation(name)
	stores, err := r.place(ctx, req, c)
	if err != nil {
		return nil, fmt.Errorf("create volume %.140q: %w", name, err)
	}
	v, store, err := r.createInOne(ctx, req, c, stores)
	// Whatever is final about this name makes attempts elsewhere futile.
	if final(err) {
		if oweErr := r.oweAttempts(ctx, name, c, store); oweErr != nil {
			err = oweErr
		}
	}
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: r.located(v, store)}, nil
}

// final says that the caller will not come back to where it has been.
func final(err error) bool { return err == nil || codeOf(err) == codes.ResourceExhausted }

func codeOf(err error) codes.Code { return status.Code(driver.ToStatus(err)) }

// createInOne tries one store after the other. The error of all is that of the
// first that was full, for it may have room later.
func (r *Router) createInOne(ctx context.Context, req *csi.CreateVolumeRequest, c *creation, stores []string) (v *csi.Volume, in string, err error) {
	var full, last error
	for _, store := range stores[:min(len(stores), maxTries)] {
		v, err := r.createIn(ctx, req, c, store)
		if err == nil {
			c.store = store
			return v, store, nil
		}
		switch codeOf(err) {
		case codes.ResourceExhausted:
			if full == nil {
				full = err
			}
		case codes.InvalidArgument: // such as a drive class that this node lacks
		default:
			return nil, "", err
		}
		last = err
	}
	if full != nil {
		return nil, "", full
	}
	return nil, "", last
}

// createIn asks the agent of one store, and notes what came of it.
func (r *Router) createIn(ctx context.Context, req *csi.CreateVolumeRequest, c *creation, store string) (*csi.Volume, error) {
	a, _, err := r.fleet.reach(ctx, store, true)
	if gone := (*awayError)(nil); errors.As(err, &gone) {
		return nil, r.giveUp(ctx, c, gone)
	}
	free, err := a.changes.take(a.Node)
	if err != nil {
		return nil, err
	}
	defer free()
	forget, err := r.recall(ctx, a, store, req.GetName())
	if err != nil {
		return nil, err
	}
	settle := c.try(store)
	v, err := createOn(ctx, a, store, req)
	r.capacity.invalidate(store)
	first := settle(codeOf(err))
	switch codeOf(err) {
	case codes.OK, codes.ResourceExhausted, codes.AlreadyExists:
		// It was looked for there: whatever was owed is wanted, or not there.
		if err := forget(); err != nil {
			c.note(store, first)
			return nil, err
		}
	case codes.Unavailable:
		if time.Since(first) >= r.config.GiveUp {
			return nil, fmt.Errorf("%s; it is not waited for any longer: %w", status.Convert(driver.ToStatus(err)).Message(), driver.ErrElsewhere)
		}
	}
	return v, err
}

// createOn forwards the request, for that one store.
func createOn(ctx context.Context, a *agent, store string, req *csi.CreateVolumeRequest) (*csi.Volume, error) {
	here := []*csi.Topology{driver.Topology(store)}
	one := proto.CloneOf(req)
	one.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: here, Preferred: here}
	resp, err := a.controller.CreateVolume(driver.WithRequestID(ctx), one)
	if err != nil {
		return nil, driver.AnsweredBy(a.Node, err)
	}
	key, err := volume.ParseKey(resp.GetVolume().GetVolumeId())
	if err != nil || key.Store != store {
		return nil, fmt.Errorf("node %s answered with volume %.140q, which is not in its store %s", a.Node, resp.GetVolume().GetVolumeId(), store)
	}
	return resp.GetVolume(), nil
}

// giveUp is the error of a store that cannot be reached. Once it is given up,
// an attempt may have happened there: of this process, or of another that ended
// with the node.
func (r *Router) giveUp(ctx context.Context, c *creation, gone *awayError) error {
	short := time.Since(gone.since) < r.config.GiveUp && !c.old(gone.store, r.config.GiveUp)
	if short || gone.paying || ctx.Err() != nil {
		return gone
	}
	if gone.node != "" {
		c.try(gone.store)(codes.Unavailable)
	}
	klog.FromContext(ctx).Info("a node that cannot be reached is given up for a volume", "node", gone.node, "store", gone.store)
	return fmt.Errorf("%s; it is not waited for any longer: %w", gone.Error(), driver.ErrElsewhere)
}

// oweAttempts makes debts of the attempts that may have happened in any store
// but the one where the volume is.
func (r *Router) oweAttempts(ctx context.Context, name string, c *creation, but string) error {
	for store := range c.tried {
		if store == but {
			continue
		}
		if err := r.owe(ctx, Tombstone{Store: store, Name: name}); err != nil {
			return err
		}
		c.clear(store)
	}
	return nil
}

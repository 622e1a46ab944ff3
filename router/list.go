package router

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// ListVolumes implements csi.ControllerServer: the stores one after the other.
func (r *Router) ListVolumes(ctx context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	resp := new(csi.ListVolumesResponse)
	next, err := r.list(ctx, req.GetMaxEntries(), req.GetStartingToken(), func(store string, limit int32, token string) (int, string, error) {
		part, err := ask(ctx, r, store, reading, &csi.ListVolumesRequest{MaxEntries: limit, StartingToken: token}, csi.ControllerClient.ListVolumes)
		for _, e := range part.GetEntries() {
			e.Volume = r.located(e.GetVolume(), store)
			resp.Entries = append(resp.Entries, e)
		}
		return len(part.GetEntries()), part.GetNextToken(), err
	})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	resp.NextToken = next
	return resp, nil
}

// ListSnapshots implements csi.ControllerServer. A list that is asked for by an
// id is the affair of that id's store.
func (r *Router) ListSnapshots(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if id, isKind := filter(req); id != "" {
		key, err := volume.ParseKey(id)
		if err != nil || !isKind(key) {
			return &csi.ListSnapshotsResponse{}, nil //nolint:nilerr // an id that names nothing has an empty list
		}
		return ask(ctx, r, key.Store, reading, req, csi.ControllerClient.ListSnapshots)
	}
	resp := new(csi.ListSnapshotsResponse)
	next, err := r.list(ctx, req.GetMaxEntries(), req.GetStartingToken(), func(store string, limit int32, token string) (int, string, error) {
		part, err := ask(ctx, r, store, reading, &csi.ListSnapshotsRequest{MaxEntries: limit, StartingToken: token}, csi.ControllerClient.ListSnapshots)
		resp.Entries = append(resp.Entries, part.GetEntries()...)
		return len(part.GetEntries()), part.GetNextToken(), err
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	resp.NextToken = next
	return resp, nil
}

// filter is the id that says which store is asked.
func filter(req *csi.ListSnapshotsRequest) (id string, isKind func(volume.Key) bool) {
	if id := req.GetSnapshotId(); id != "" {
		return id, volume.Key.IsSnapshot
	}
	return req.GetSourceVolumeId(), volume.Key.IsVolume
}

// list walks the stores in the order of their keys from a token on, until limit
// entries (0: all) are told, and returns the token to go on with. A node that
// cannot be asked is an error: a list with holes is none. What page returns is
// how many entries it got and the store's own token for the next.
func (r *Router) list(ctx context.Context, limit int32, token string, page func(store string, limit int32, token string) (int, string, error)) (next string, err error) {
	if limit < 0 {
		return "", volume.Invalid("max_entries", fmt.Sprint(limit), "0 for all, or more")
	}
	from, inner, err := parseToken(token)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if nodes := r.fleet.nameless(); len(nodes) > 0 {
		return "", fmt.Errorf("nodes that have not said yet what they hold: %s: %w", strings.Join(nodes, ", "), driver.ErrUnreachable)
	}
	stores, err := r.stores(from)
	if err != nil {
		return "", err
	}
	left := limit
	for _, store := range stores {
		if limit > 0 && left == 0 {
			return formatToken(store, ""), nil
		}
		if store != from {
			inner = ""
		}
		n, more, err := page(store, left, inner)
		if err != nil {
			return "", err
		}
		if more != "" {
			return formatToken(store, more), nil
		}
		if limit > 0 {
			left = max(left-int32(n), 0)
		}
	}
	return "", nil
}

// stores are all that should be listed, from that key on: not those whose node
// was taken out of the cluster.
func (r *Router) stores(from string) ([]string, error) {
	all := r.fleet.stores(false)
	if _, gone, _ := r.fleet.look(from, false); from != "" && gone != nil && !slices.Contains(all, from) && !r.config.Cluster.Lost(from) {
		return nil, gone
	}
	return slices.DeleteFunc(all, func(store string) bool {
		a, _, _ := r.fleet.look(store, false)
		return store < from || a == nil && r.config.Cluster.Lost(store)
	}), nil
}

// A token is the key of the store to go on with and that store's own token.
const tokenSeparator = ":"

func formatToken(store, inner string) string { return store + tokenSeparator + inner }

func parseToken(token string) (store, inner string, err error) {
	if token == "" {
		return "", "", nil
	}
	store, inner, ok := strings.Cut(token, tokenSeparator)
	// The key of a store is what can stand first in an id.
	if _, err := volume.ParseKey(store + "/" + nowhere + "/v-x"); !ok || err != nil {
		return "", "", fmt.Errorf("starting_token %.140q: %w: begin again with an empty one", token, driver.ErrToken)
	}
	return store, inner, nil
}

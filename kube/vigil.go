package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
)

const (
	// beat is how often the API server is asked whether it is there, and whether
	// stores are still borne by nobody.
	beat = 20 * time.Second
	// beatTimeout bounds one such question.
	beatTimeout = 10 * time.Second
	// maxGap is the longest time between two answers that is no gap.
	maxGap = time.Minute
	// concern is how long a store is asked for after the router last did.
	concern = 10 * time.Minute
	// maxAsked is how many stores are asked for in one request.
	maxAsked = 200
)

// vigil is what is known of stores that no Node bears. That the informer shows
// none is not enough to call a store lost: its watch may have been cut, and
// what it showed be old. So the API server has to have answered without a gap
// for as long as the absence is counted, and to have said of this very store,
// at the end, that nobody bears it.
//
// It is guarded by the mutex of nodes.
type vigil struct {
	since, last time.Time            // of answers without a gap; last is zero after a failure
	asked       map[string]time.Time // when the router asked last, by store
	absent      map[string]time.Time // when the API server said so last, by store
}

func newVigil() vigil {
	return vigil{asked: map[string]time.Time{}, absent: map[string]time.Time{}}
}

// lost says that the store's node is gone for good: see router.Cluster.
func (n *nodes) lost(store string) bool {
	synced := n.handler.HasSynced()
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, borne := n.bearers[store]; borne || store == "" || !synced {
		return false
	}
	now, v := n.now(), &n.vigil
	v.asked[store] = now
	if v.last.IsZero() || now.Sub(v.last) > maxGap {
		return false
	}
	since := v.since
	if at, ok := n.unborneAt[store]; ok && at.After(since) {
		since = at
	}
	said, ok := v.absent[store]
	return ok && said.Sub(since) >= n.grace && now.Sub(said) <= maxGap
}

// watchOver asks the API server until ctx ends.
func (n *nodes) watchOver(ctx context.Context, client kubernetes.Interface) {
	failing := false
	every(ctx, beat, func() {
		err := n.ask(ctx, client)
		if err != nil && !failing && ctx.Err() == nil {
			klog.FromContext(ctx).Info("no node counts as lost until the API server has answered for the grace period again", "grace", n.grace, "because", err.Error())
		}
		failing = err != nil
	})
}

// ask asks once, for the stores that the router is concerned of.
func (n *nodes) ask(ctx context.Context, client kubernetes.Interface) error {
	begun := n.now() // what it answers was true no earlier
	borne := map[string]bool{}
	stores := n.concerns(begun)
	for _, o := range questions(stores) {
		ctx, cancel := context.WithTimeout(ctx, beatTimeout)
		list, err := client.CoreV1().Nodes().List(ctx, o)
		cancel()
		if err != nil {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.vigil.last = time.Time{}
			return fmt.Errorf("look for the nodes of stores: %w", err)
		}
		for _, node := range list.Items {
			borne[node.Labels[driver.TopologyKey]] = true
		}
	}
	n.answered(begun, stores, borne)
	return nil
}

// concerns are the stores that nobody bears and the router asks for.
func (n *nodes) concerns(now time.Time) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.vigil.asked, func(store string, at time.Time) bool {
		_, borne := n.bearers[store]
		return borne || now.Sub(at) > concern || len(validation.IsValidLabelValue(store)) > 0
	})
	return slices.Sorted(maps.Keys(n.vigil.asked))
}

// questions are the requests for these stores, at least one. None of them names
// a resource version: the API server has to answer what is true now.
func questions(stores []string) []metav1.ListOptions {
	if len(stores) == 0 {
		return []metav1.ListOptions{{Limit: 1}}
	}
	var all []metav1.ListOptions
	for part := range slices.Chunk(stores, maxAsked) {
		all = append(all, metav1.ListOptions{LabelSelector: driver.TopologyKey + " in (" + strings.Join(part, ",") + ")"})
	}
	return all
}

// answered records that the API server answered at that time.
func (n *nodes) answered(at time.Time, stores []string, borne map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := &n.vigil
	if v.last.IsZero() || at.Sub(v.last) > maxGap {
		v.since = at
	}
	v.last = at
	clear(v.absent)
	for _, store := range stores {
		if !borne[store] {
			v.absent[store] = at
		}
	}
}

// every calls do at once and then again and again until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

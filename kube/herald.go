package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/volume"
)

const (
	// component is who events are from.
	component = "lvme-controller"
	// reasonRecovered is the reason of events that something has ended. Of what is
	// wrong it is that of the agent.
	reasonRecovered = "StorageRecovered"
	// maxTold is how many claims are told in one go: a full pool may have
	// thousands, and what is wrong is said once of the node.
	maxTold = 50
	// maxNote bounds the message of an event, in bytes, as the newer API of events
	// does.
	maxNote = 1024
	// heraldTime bounds looking up the claims of what is told in one go.
	heraldTime = time.Minute
)

// Storage tells what changes in the storage of nodes; a *router.Router does.
type Storage interface {
	// Watch tells it until ctx ends, at first all that is wrong.
	Watch(ctx context.Context, tell func(router.News))
}

// herald tells what changes in the storage of nodes by events: on the Node, and
// where volumes are concerned on their claims.
type herald struct {
	client   kubernetes.Interface
	uid      func(node string) types.UID
	storage  Storage // nil for nothing to tell
	recorder record.EventRecorder

	mu    sync.Mutex
	heard []router.News
	wake  chan struct{} // has an element when there is something to tell
}

// newRecorder records events until end is called.
func newRecorder(ctx context.Context, client kubernetes.Interface) (r record.EventRecorder, end func()) {
	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component}), events.Shutdown
}

// lead tells until ctx ends.
func (h *herald) lead(ctx context.Context) {
	if h.storage == nil {
		return
	}
	recorder, end := newRecorder(ctx, h.client)
	defer end()
	h.recorder = recorder
	h.take() // what was heard in an earlier term
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { h.storage.Watch(ctx, h.hear) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
			h.tell(ctx, h.take())
		}
	}
}

// hear notes what is to be told. What comes while the claims of something else are
// looked up is told together.
func (h *herald) hear(n router.News) {
	h.mu.Lock()
	h.heard = append(h.heard, n)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *herald) take() []router.News {
	h.mu.Lock()
	defer h.mu.Unlock()
	heard := h.heard
	h.heard = nil
	return heard
}

// notice is what one event tells of a node: something that is wrong with one or
// more of its pools, or all that has ended.
type notice struct {
	kind, reason string
	parts        []part
}

// part is what a notice tells of one pool.
type part struct {
	vg, text string
	// claims says that it concerns those who have volumes there, thinOnly only
	// those who have thin ones.
	claims, thinOnly bool
}

// notices are those of the news of one node, what has ended first.
func notices(n router.News) []notice {
	var all []notice
	if ended := ends(n.Ended); len(ended) > 0 {
		all = append(all, notice{corev1.EventTypeNormal, reasonRecovered, ended})
	}
	for _, h := range n.Came {
		reason := string(h.Ailment.Reason)
		p := part{h.VG, h.Ailment.Message, h.Ailment.Effect.Exceeds(volume.Early), h.Ailment.Reason.ThinOnly()}
		i := slices.IndexFunc(all, func(o notice) bool { return o.reason == reason })
		if i < 0 {
			i, all = len(all), append(all, notice{corev1.EventTypeWarning, reason, nil})
		}
		all[i].parts = append(all[i].parts, p)
	}
	return all
}

// ends has one part for each pool.
func ends(ended []volume.PoolHealth) []part {
	var parts []part
	for _, h := range ended {
		i := slices.IndexFunc(parts, func(p part) bool { return p.vg == h.VG })
		if i < 0 {
			i, parts = len(parts), append(parts, part{vg: h.VG, text: "no more", thinOnly: true})
		}
		p := &parts[i]
		p.text += " " + string(h.Ailment.Reason)
		if h.Ailment.Effect.Exceeds(volume.Early) {
			p.claims, p.thinOnly = true, p.thinOnly && h.Ailment.Reason.ThinOnly()
		}
	}
	return parts
}

// tell tells what was heard. What the claims are is asked once for all of it.
func (h *herald) tell(ctx context.Context, all []router.News) {
	owners, err := h.owners(ctx, all)
	if ctx.Err() != nil {
		return // who leads next tells all that is wrong
	}
	if err != nil {
		klog.FromContext(ctx).Error(err, "who has volumes in ailing pools is not told")
	}
	left := maxTold
	for _, n := range all {
		for _, note := range notices(n) {
			more := h.tellClaims(n, note, owners, &left)
			if err != nil && slices.ContainsFunc(note.parts, func(p part) bool { return p.claims }) {
				more = "; who has volumes there could not be looked up"
			}
			h.tellNode(ctx, n, note, more)
		}
	}
}

// owners are the claims that these news concern.
func (h *herald) owners(ctx context.Context, all []router.News) (map[pool][]owner, error) {
	pools := map[pool]bool{}
	for _, n := range all {
		for _, note := range notices(n) {
			for _, p := range note.parts {
				if p.claims {
					pools[pool{n.Store, volume.PoolID(p.vg)}] = true
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, heraldTime)
	defer cancel()
	return ownersIn(ctx, h.client, pools)
}

// tellClaims records an event on as many of the claims that a notice concerns as
// are left to be told, and says how many there are.
func (h *herald) tellClaims(n router.News, note notice, owners map[pool][]owner, left *int) string {
	count, told := 0, 0
	for _, p := range note.parts {
		if !p.claims {
			continue
		}
		for _, o := range owners[pool{n.Store, volume.PoolID(p.vg)}] {
			if o.thick && p.thinOnly {
				continue
			}
			if count++; *left > 0 {
				h.recorder.Event(o.claim, note.kind, note.reason, driver.Shorten(p.vg+" on node "+n.Node+": "+p.text, maxNote))
				*left, told = *left-1, told+1
			}
		}
	}
	switch {
	case count == 0:
		return ""
	case told == count:
		return fmt.Sprintf("; also told on the claims with volumes there: %d", count)
	}
	return fmt.Sprintf("; also told on %d of the %d claims with volumes there", told, count)
}

// tellNode records the event of a notice on the Node.
func (h *herald) tellNode(ctx context.Context, n router.News, note notice, more string) {
	var texts []string
	for _, p := range note.parts {
		texts = append(texts, p.vg+": "+p.text)
	}
	text := driver.Shorten(strings.Join(texts, "; "), maxNote-len(more)) + more
	klog.FromContext(ctx).Info("storage of a node changed", "node", n.Node, "store", n.Store, "reason", note.reason, "what", text)
	if uid := h.uid(n.Node); uid != "" { // else its Node object was deleted meanwhile
		h.recorder.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.Node, UID: uid}, note.kind, note.reason, text)
	}
}

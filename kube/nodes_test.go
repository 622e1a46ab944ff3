package kube

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

const zone = "topology.kubernetes.io/zone"

// watched are nodes that are followed.
func watched(t *testing.T, clock *timer, api *apiServer) *nodes {
	t.Helper()
	n, err := newNodes(api, []string{zone}, 15*time.Minute, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.holder("aaaaaaaa"); !errors.Is(err, driver.ErrStarting) {
		t.Errorf("a holder is known before any node is: %v", err)
	}
	if n.lost("aaaaaaaa") {
		t.Error("a store is lost before any node is known")
	}
	go n.informer.RunWithContext(t.Context())
	eventually(t, "the nodes are known", n.handler.HasSynced)
	return n
}

func TestHolder(t *testing.T) {
	api := newAPIServer(node("new", "aaaaaaaa", time.Hour), node("old", "aaaaaaaa", 2*time.Hour), node("z", "bbbbbbbb", time.Hour), node("y", "bbbbbbbb", time.Hour), node("none", "", time.Hour))
	n := watched(t, newTimer(), api)
	for store, want := range map[string]string{"aaaaaaaa": "old", "bbbbbbbb": "y", "cccccccc": "", "": ""} {
		if got, err := n.holder(store); err != nil || got != want {
			t.Errorf("holder of %q: %q, %v, want %q", store, got, err, want)
		}
	}
}

func TestSegmentsAndWhatIsKeptOfANode(t *testing.T) {
	a := node("a", "aaaaaaaa", time.Hour)
	a.Labels[zone] = "z1"
	a.Annotations = map[string]string{"big": "thing"}
	a.Status.Images = []corev1.ContainerImage{{Names: []string{"image"}}}
	n := watched(t, newTimer(), newAPIServer(a, node("b", "", time.Hour)))
	if got := n.segments("a"); !maps.Equal(got, map[string]string{zone: "z1"}) {
		t.Errorf("segments %v", got)
	}
	if got := n.segments("b"); got != nil {
		t.Errorf("segments of a node without a zone: %v", got)
	}
	kept := n.informer.GetStore().List()[0].(*corev1.Node)
	if kept.Annotations != nil || kept.Status.Images != nil || kept.Labels["kubernetes.io/hostname"] != "" {
		t.Errorf("kept in memory: %v", kept)
	}
}

func TestLost(t *testing.T) {
	const store = "aaaaaaaa"
	clock := newTimer()
	api := newAPIServer(node("a", store, time.Hour), node("b", "bbbbbbbb", time.Hour))
	n := watched(t, clock, api)
	// pass lets time go by, with a question to the API server every beat.
	pass := func(d time.Duration) {
		for ; d > 0; d -= beat {
			clock.add(beat)
			_ = n.ask(t.Context(), api)
			n.lost(store)
		}
	}
	want := func(lost bool, when string) {
		t.Helper()
		if got := n.lost(store); got != lost {
			t.Errorf("%s: lost is %t", when, got)
		}
	}
	want(false, "borne")
	pass(time.Hour)
	want(false, "borne for long")

	if err := api.CoreV1().Nodes().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion is seen", func() bool { h, _ := n.holder(store); return h == "" })
	want(false, "just deleted")
	pass(14 * time.Minute)
	want(false, "before the grace is over")
	pass(2 * time.Minute)
	want(true, "after the grace")
	if n.lost("") || n.lost("not a label!") {
		t.Error("lost is what is no store key")
	}

	clock.add(maxGap + time.Second)
	want(false, "nobody answered for a while")
	pass(15 * time.Minute)
	want(false, "after a gap the grace begins anew")
	pass(time.Minute)
	want(true, "and ends")

	api.setDown(true)
	pass(beat)
	want(false, "the API server is away")
	pass(time.Hour)
	api.setDown(false)
	pass(14 * time.Minute)
	want(false, "it is back")
	pass(2 * time.Minute)
	want(true, "it has been back for the grace")

	// The watch may be behind: what the API server itself says counts.
	if err := api.Tracker().Add(node("c", store, 0)); err != nil {
		t.Fatal(err)
	}
	n.remove(node("c", store, 0))
	pass(time.Hour)
	want(false, "a node that the watch does not show bears it")
}

func TestQuestions(t *testing.T) {
	if q := questions(nil); len(q) != 1 || q[0].Limit != 1 {
		t.Errorf("with no store: %v", q)
	}
	var many []string
	for range maxAsked + 1 {
		many = append(many, "aaaaaaaa")
	}
	q := questions(many)
	if len(q) != 2 || strings.Count(q[0].LabelSelector, "aaaaaaaa") != maxAsked || q[1].LabelSelector != driver.TopologyKey+" in (aaaaaaaa)" || q[1].ResourceVersion != "" {
		t.Errorf("with many stores: %d questions, %v", len(q), q[1])
	}
}

func labels(t *testing.T, api *apiServer) map[string]string {
	t.Helper()
	list, err := api.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range list.Items {
		all[n.Name] = n.Labels[driver.TopologyKey]
		if n.Labels["kubernetes.io/hostname"] != n.Name {
			t.Errorf("other labels of %s were touched: %v", n.Name, n.Labels)
		}
	}
	return all
}

func TestClaim(t *testing.T) {
	for _, tc := range []struct {
		name   string
		has    map[string]string
		writes int
	}{
		{"moved", map[string]string{"a": "aaaaaaaa", "b": "", "c": "cccccccc"}, 2},
		{"again", map[string]string{"a": "", "b": "aaaaaaaa", "c": "cccccccc"}, 0},
		{"new", map[string]string{"a": "", "b": "", "c": "cccccccc"}, 1},
		{"ended half-way", map[string]string{"a": "aaaaaaaa", "b": "aaaaaaaa", "c": "cccccccc"}, 1},
		{"another store's before", map[string]string{"a": "aaaaaaaa", "b": "bbbbbbbb", "c": "cccccccc"}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := newAPIServer()
			for name, store := range tc.has {
				if err := api.Tracker().Add(api.stamped(node(name, store, time.Hour))); err != nil {
					t.Fatal(err)
				}
			}
			if err := claim(t.Context(), api, "aaaaaaaa", "b"); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"a": "", "b": "aaaaaaaa", "c": "cccccccc"}
			if got := labels(t, api); !maps.Equal(got, want) || api.writes != tc.writes {
				t.Errorf("got %v after %d writes, want %v after %d", got, api.writes, want, tc.writes)
			}
		})
	}
}

func TestClaimAgainstOthers(t *testing.T) {
	api := newAPIServer(node("a", "aaaaaaaa", time.Hour), node("b", "", time.Hour))
	// While the label is taken off a, somebody gives it another store.
	meddled := false
	api.PrependReactor("patch", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.PatchAction).GetName() == "a" && !meddled {
			meddled = true
			other := node("a", "dddddddd", time.Hour)
			if err := api.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, api.stamped(other), ""); err != nil {
				t.Error(err)
			}
		}
		return false, nil, nil
	})
	if err := claim(t.Context(), api, "aaaaaaaa", "b"); err != nil {
		t.Fatal(err)
	}
	if got := labels(t, api); !meddled || got["a"] != "dddddddd" || got["b"] != "aaaaaaaa" {
		t.Errorf("got %v", got)
	}
	err := claim(t.Context(), api, "aaaaaaaa", "nobody")
	if !apierrors.IsNotFound(err) || !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("claim for a node that is not there: %v", err)
	}
	if got := labels(t, api); got["b"] != "aaaaaaaa" {
		t.Errorf("it took the label off another: %v", got)
	}
}

func TestWanted(t *testing.T) {
	pv := func(name, of, id string) *corev1.PersistentVolume {
		p := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: of, VolumeHandle: id}
		return p
	}
	api := newAPIServer(pv("pvc-1", driver.Name, "id-1"), pv("by-hand", driver.Name, "id-2"), pv("pvc-3", "other", "id-3"),
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "nfs"}})
	for _, tc := range []struct {
		name, id string
		want     bool
	}{
		{"pvc-1", "id-1", true},
		{"pvc-1", "id-9", false},
		{"pvc-2", "id-2", true},
		{"", "id-2", true},
		{"pvc-3", "id-3", false},
	} {
		got, err := wanted(t.Context(), api, tc.name, tc.id)
		if err != nil || got != tc.want {
			t.Errorf("%s, %s: %t, %v", tc.name, tc.id, got, err)
		}
	}
	api.setDown(true)
	if got, err := wanted(t.Context(), api, "pvc-1", "id-9"); got || !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("the API server is away: %t, %v", got, err)
	}
}

package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/volume"
)

const (
	storeA = "aaaaaaaa"
	vgV    = "lvme-vvvvvvvv"
	vgW    = "lvme-wwwwwwww"
)

// news is a Storage that tells what it is given.
type news chan router.News

func (n news) Watch(ctx context.Context, tell func(router.News)) {
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-n:
			tell(one)
		}
	}
}

// boundVolume is a volume of a class in a VG of store A, which a claim of that name has.
func boundVolume(vg, claim, class string) *corev1.PersistentVolume {
	pv := csiVolume("pv-"+claim, driver.Name, storeA+"/"+strings.TrimPrefix(vg, "lvme-")+"/v-"+claim)
	pv.Spec.StorageClassName, pv.Status.Phase = class, corev1.VolumeBound
	pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: claim, UID: types.UID("uid-of-" + claim)}
	return pv
}

func ailing(vg string, e volume.Effect, r volume.Reason) volume.PoolHealth {
	return volume.PoolHealth{VG: vg, Ailment: volume.Ailment{Effect: e, Reason: r, Message: "what and how"}}
}

// town is a herald of node "a", which has store A, and what the API server gets of it.
type town struct {
	*testing.T
	api  *apiServer
	news news
	end  func()
}

func newTown(t *testing.T, objects ...runtime.Object) *town {
	t.Helper()
	c := &town{T: t, api: newAPIServer(objects...), news: make(news)}
	ctx, cancel := context.WithCancel(t.Context())
	h := &herald{client: c.api, storage: c.news, wake: make(chan struct{}, 1), uid: func(node string) types.UID {
		return map[string]types.UID{"a": "uid-of-a"}[node]
	}}
	ended := make(chan struct{})
	go func() { h.lead(ctx); close(ended) }()
	c.end = func() { cancel(); <-ended }
	t.Cleanup(c.end)
	return c
}

// events are those that there are, as "Kind name uid Type Reason: message".
func (c *town) events() []string {
	c.Helper()
	var all []string
	for _, namespace := range []string{metav1.NamespaceDefault, "ns"} {
		list, err := c.api.CoreV1().Events(namespace).List(c.Context(), metav1.ListOptions{})
		must(c.T, err)
		for _, e := range list.Items {
			if (e.InvolvedObject.Kind == "Node") != (namespace == metav1.NamespaceDefault) || e.Source.Component != component {
				c.Errorf("an event of %s in %s, from %s", e.InvolvedObject.Kind, namespace, e.Source.Component)
			}
			all = append(all, fmt.Sprintf("%s %s %s %s %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.InvolvedObject.UID, e.Type, e.Reason, e.Message))
		}
	}
	slices.Sort(all)
	return all
}

// tells tells it, and waits for exactly these events besides those of before.
func (c *town) tells(n router.News, want ...string) {
	c.Helper()
	want = append(want, c.events()...)
	slices.Sort(want)
	c.news <- n
	var got []string
	end := time.Now().Add(20 * time.Second)
	for got = c.events(); len(got) < len(want) && time.Now().Before(end); got = c.events() {
		<-time.After(5 * time.Millisecond)
	}
	if !slices.Equal(got, want) {
		c.Fatalf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestHerald: what comes and what ends is told of the node, and to whom it concerns.
func TestHerald(t *testing.T) {
	thick := storageClass("thick", driver.Name, storagev1.VolumeBindingImmediate)
	thick.Parameters = map[string]string{driver.ParamProfile: "kafka"}
	thin := storageClass("thin", driver.Name, storagev1.VolumeBindingImmediate)
	thin.Parameters = map[string]string{driver.ParamProfile: "kafka", driver.ParamType: "thin"}
	released := boundVolume(vgV, "released", "thin")
	released.Status.Phase = corev1.VolumeReleased
	other := boundVolume(vgV, "other", "thin")
	other.Spec.CSI.VolumeHandle = "bbbbbbbb/vvvvvvvv/v-other" // the same VG of another store
	foreign := boundVolume(vgV, "foreign", "thin")
	foreign.Spec.CSI.Driver = "other"
	c := newTown(t, thick, thin, boundVolume(vgV, "one", "thin"), boundVolume(vgV, "two", "gone"), boundVolume(vgV, "dense", "thick"),
		boundVolume(vgW, "three", "thin"), released, other, foreign)
	of := router.News{Node: "a", Store: storeA}
	with := func(came, ended []volume.PoolHealth) router.News {
		n := of
		n.Came, n.Ended = came, ended
		return n
	}
	type all = []volume.PoolHealth
	filling, full := ailing(vgV, volume.Early, volume.PoolFilling), ailing(vgV, volume.Degraded, volume.PoolFull)
	away := ailing(vgW, volume.Inaccessible, volume.DriveAway)
	c.tells(with(all{filling}, nil), "Node a uid-of-a Warning PoolFilling: "+vgV+": what and how")
	c.tells(with(all{full}, nil),
		"Node a uid-of-a Warning PoolFull: "+vgV+": what and how; also told on the claims with volumes there: 2",
		"PersistentVolumeClaim one uid-of-one Warning PoolFull: "+vgV+" on node a: what and how",
		"PersistentVolumeClaim two uid-of-two Warning PoolFull: "+vgV+" on node a: what and how")
	c.tells(with(all{away}, all{filling, full}),
		"Node a uid-of-a Normal StorageRecovered: "+vgV+": no more PoolFilling PoolFull; also told on the claims with volumes there: 2",
		"PersistentVolumeClaim one uid-of-one Normal StorageRecovered: "+vgV+" on node a: no more PoolFilling PoolFull",
		"PersistentVolumeClaim two uid-of-two Normal StorageRecovered: "+vgV+" on node a: no more PoolFilling PoolFull",
		"Node a uid-of-a Warning DriveAway: "+vgW+": what and how; also told on the claims with volumes there: 1",
		"PersistentVolumeClaim three uid-of-three Warning DriveAway: "+vgW+" on node a: what and how")
	c.tells(with(nil, all{ailing(vgW, volume.Early, volume.MetadataFilling)}), "Node a uid-of-a Normal StorageRecovered: "+vgW+": no more MetadataFilling")
	// A drive that fails concerns thick volumes too, and two pools of one kind are one event of the node.
	c.tells(with(all{ailing(vgV, volume.Degraded, volume.DriveFailing), ailing(vgW, volume.Degraded, volume.DriveFailing)}, nil),
		"Node a uid-of-a Warning DriveFailing: "+vgV+": what and how; "+vgW+": what and how; also told on the claims with volumes there: 4",
		"PersistentVolumeClaim dense uid-of-dense Warning DriveFailing: "+vgV+" on node a: what and how",
		"PersistentVolumeClaim one uid-of-one Warning DriveFailing: "+vgV+" on node a: what and how",
		"PersistentVolumeClaim two uid-of-two Warning DriveFailing: "+vgV+" on node a: what and how",
		"PersistentVolumeClaim three uid-of-three Warning DriveFailing: "+vgW+" on node a: what and how")
	// A Node that was deleted has no events, its claims have.
	gone := with(all{ailing(vgW, volume.Inaccessible, volume.PoolFailed)}, nil)
	gone.Node = "b"
	c.tells(gone, "PersistentVolumeClaim three uid-of-three Warning PoolFailed: "+vgW+" on node b: what and how")
	c.tells(with(all{ailing(vgV, volume.Early, volume.MetadataFilling)}, nil), "Node a uid-of-a Warning MetadataFilling: "+vgV+": what and how")
}

// TestHeraldTellsSome: of thousands of claims a few are told, and the node says so.
func TestHeraldTellsSome(t *testing.T) {
	var objects []runtime.Object
	for i := range 3 * maxTold {
		objects = append(objects, boundVolume(vgV, fmt.Sprintf("claim-%04d", i), "thin"))
	}
	c := newTown(t, objects...)
	long := ailing(vgV, volume.Inaccessible, volume.DriveAway)
	long.Ailment.Message = strings.Repeat("very long ", 200)
	c.news <- router.News{Node: "a", Store: storeA, Came: []volume.PoolHealth{long}}
	eventually(t, "all are told that are to be", func() bool { return len(c.events()) == maxTold+1 })
	for _, e := range c.events() {
		of, message, _ := strings.Cut(e, ": ")
		if len(message) > maxNote {
			t.Errorf("%d bytes on %s", len(message), of)
		}
		if strings.HasPrefix(of, "Node ") != strings.HasSuffix(message, "…; also told on 50 of the 150 claims with volumes there") {
			t.Errorf("%s says %q", of, message)
		}
	}
}

// TestHeraldWithoutVolumes: when the claims cannot be looked up, the node is told all the same, and that.
func TestHeraldWithoutVolumes(t *testing.T) {
	c := newTown(t, boundVolume(vgV, "one", "thin"))
	c.api.PrependReactor("list", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, fmt.Errorf("down on purpose")
	})
	full := router.News{Node: "a", Store: storeA, Came: []volume.PoolHealth{
		ailing(vgV, volume.Degraded, volume.PoolFull), ailing(vgV, volume.Early, volume.MetadataFilling),
	}}
	c.tells(full, "Node a uid-of-a Warning PoolFull: "+vgV+": what and how; who has volumes there could not be looked up",
		"Node a uid-of-a Warning MetadataFilling: "+vgV+": what and how")
}

// TestHeraldEnds with the term, in the middle of telling too.
func TestHeraldEnds(t *testing.T) {
	c := newTown(t)
	asked := make(chan struct{}, 1)
	c.api.PrependReactor("list", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked <- struct{}{}
		return true, nil, context.Canceled
	})
	go func() {
		c.news <- router.News{Node: "a", Store: storeA, Came: []volume.PoolHealth{ailing(vgV, volume.Degraded, volume.PoolFull)}}
	}()
	<-asked
	c.end()
	if h := (&herald{}); h.storage == nil {
		h.lead(t.Context()) // has nothing to do
	}
}

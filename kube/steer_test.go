package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lvme/lvme/driver"
)

const snapshotHandle = "aaaaaaaa/vgvgvgvg/s-1"

func storageClass(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

// restore is a claim that is restored from snapshot "snap".
func restore(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim", Namespace: "ns", UID: "uid"}}
	c.Spec.StorageClassName = new("lvme")
	c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: new(snapshotGroup), Kind: snapshotKind, Name: "snap"}
	for _, f := range change {
		f(c)
	}
	return c
}

func cloneOf(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSourceRef = nil
		c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: claimKind, Name: name}
	}
}

func snapshotObjects(change ...func(*snapshotv1.VolumeSnapshot, *snapshotv1.VolumeSnapshotContent)) []runtime.Object {
	s := &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Name: "snap", Namespace: "ns"}}
	s.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: new("content"), ReadyToUse: new(true)}
	c := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: "content"}}
	c.Spec.Driver = driver.Name
	c.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: new(snapshotHandle)}
	for _, f := range change {
		f(s, c)
	}
	return []runtime.Object{s, c}
}

func sourceClaim(volume string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "source", Namespace: "ns"}}
	c.Spec.VolumeName = volume
	return c
}

func csiVolume(name, of, id string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: of, VolumeHandle: id}
	return pv
}

// helm is a steering whose stores are all held by one node, or by none.
func helm(api *apiServer, snapshots []runtime.Object, node string) (*steering, *record.FakeRecorder, *timer) {
	recorder, clock := record.NewFakeRecorder(10), newTimer()
	return &steering{
		locator: locator{api, snapshotfake.NewSimpleClientset(snapshots...)}, recorder: recorder, now: clock.now, past: nil, //nolint:staticcheck // what it is deprecated for is not made for these kinds
		holder:  func(string) (string, error) { return node, nil },
		steered: prometheus.NewCounter(prometheus.CounterOpts{Name: "steered"}),
	}, recorder, clock
}

func TestSteer(t *testing.T) {
	wffc, immediate := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	change := func(f func(*corev1.PersistentVolumeClaim)) []func(*corev1.PersistentVolumeClaim) {
		return []func(*corev1.PersistentVolumeClaim){f}
	}
	for _, tc := range []struct {
		name      string
		claim     []func(*corev1.PersistentVolumeClaim)
		snapshots []runtime.Object
		node      string
		steered   bool
		err       error
		event     string
	}{
		{name: "restore", snapshots: snapshotObjects(), node: "a", steered: true, event: reasonSteered},
		{name: "restore by the older field", claim: change(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: c.Spec.DataSourceRef.APIGroup, Kind: snapshotKind, Name: "snap"}
			c.Spec.DataSourceRef = nil
		}), snapshots: snapshotObjects(), node: "a", steered: true, event: reasonSteered},
		{name: "clone", claim: change(cloneOf("source")), node: "a", steered: true, event: reasonSteered},
		{name: "clone of a claim that is not bound", claim: change(cloneOf("unbound")), node: "a", err: errNotYet},
		{name: "clone of another driver's", claim: change(cloneOf("others")), node: "a", err: errNotOurs},
		{name: "clone of an id that is none", claim: change(cloneOf("odd")), node: "a", err: errNotOurs},
		{name: "the node is gone", snapshots: snapshotObjects(), err: errNotYet, event: reasonNoNode},
		{name: "snapshot not ready", snapshots: snapshotObjects(func(s *snapshotv1.VolumeSnapshot, _ *snapshotv1.VolumeSnapshotContent) {
			s.Status.ReadyToUse = new(false)
		}), node: "a", err: errNotYet},
		{name: "snapshot not looked at", snapshots: snapshotObjects(func(s *snapshotv1.VolumeSnapshot, _ *snapshotv1.VolumeSnapshotContent) {
			s.Status = nil
		}), node: "a", err: errNotYet},
		{name: "content without a handle", snapshots: snapshotObjects(func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Status = nil
		}), node: "a", err: errNotYet},
		{name: "another driver's snapshot", snapshots: snapshotObjects(func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Spec.Driver = "other"
		}), node: "a", err: errNotOurs},
		{name: "another driver's class", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("other") }),
			snapshots: snapshotObjects(), node: "a", err: errNotOurs},
		{name: "immediate class", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("now") }),
			snapshots: snapshotObjects(), node: "a", err: errNotOurs},
		{name: "no class", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }), snapshots: snapshotObjects(), node: "a"},
		{name: "no source", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSourceRef = nil }), node: "a"},
		{name: "another kind of source", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSourceRef.APIGroup = new("other") }), node: "a"},
		{name: "source in another namespace", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSourceRef.Namespace = new("other") }),
			snapshots: snapshotObjects(), node: "a"},
		{name: "being deleted", claim: change(func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = new(metav1.Now()) }), snapshots: snapshotObjects(), node: "a"},
		{name: "bound", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv" }), snapshots: snapshotObjects(), node: "a"},
		{name: "the scheduler was faster", claim: change(func(c *corev1.PersistentVolumeClaim) { c.Annotations = map[string]string{selectedNode: "b"} }),
			snapshots: snapshotObjects(), node: "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := restore(tc.claim...)
			api := newAPIServer(c, storageClass("lvme", driver.Name, wffc), storageClass("now", driver.Name, immediate), storageClass("other", "other", wffc),
				sourceClaim("pv"), csiVolume("pv", driver.Name, "aaaaaaaa/vgvgvgvg/v-1"))
			for name, pv := range map[string]*corev1.PersistentVolume{"unbound": nil, "others": csiVolume("o", "other", "x"), "odd": csiVolume("p", driver.Name, "x")} {
				s := sourceClaim("")
				s.Name = name
				if pv != nil {
					s.Spec.VolumeName = pv.Name
					must(t, api.Tracker().Add(pv))
				}
				must(t, api.Tracker().Add(s))
			}
			s, recorder, _ := helm(api, tc.snapshots, tc.node)
			s.past = map[types.UID]past{}
			stripped, err := stripClaim(c)
			must(t, err)
			_, err = s.steer(t.Context(), stripped.(*corev1.PersistentVolumeClaim))
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			_, _ = s.steer(t.Context(), stripped.(*corev1.PersistentVolumeClaim)) // says nothing twice
			want := c.Annotations[selectedNode]
			if tc.steered {
				want = tc.node
			}
			if got := selected(t, api); got != want {
				t.Errorf("selected is %q, want %q", got, want)
			}
			var events []string
			for len(recorder.Events) > 0 {
				events = append(events, <-recorder.Events)
			}
			if got := strings.Join(events, "\n"); tc.event == "" && got != "" || len(events) > 1 || !strings.Contains(got, tc.event) {
				t.Errorf("events %q, want %s", events, tc.event)
			}
		})
	}
}

func selected(t *testing.T, api *apiServer) string {
	t.Helper()
	c, err := api.CoreV1().PersistentVolumeClaims("ns").Get(t.Context(), "claim", metav1.GetOptions{})
	must(t, err)
	return c.Annotations[selectedNode]
}

// unselect is what the provisioner does when the node is full or away.
func unselect(t *testing.T, api *apiServer) *corev1.PersistentVolumeClaim {
	t.Helper()
	c, err := api.CoreV1().PersistentVolumeClaims("ns").Get(t.Context(), "claim", metav1.GetOptions{})
	must(t, err)
	delete(c.Annotations, selectedNode)
	c, err = api.CoreV1().PersistentVolumeClaims("ns").Update(t.Context(), c, metav1.UpdateOptions{})
	must(t, err)
	return c
}

func TestSteerAgain(t *testing.T) {
	c := restore()
	api := newAPIServer(c, storageClass("lvme", driver.Name, storagev1.VolumeBindingWaitForFirstConsumer))
	s, recorder, clock := helm(api, snapshotObjects(), "a")
	s.past = map[types.UID]past{}
	for _, want := range []time.Duration{0, steerAgain, 2 * steerAgain, 4 * steerAgain} {
		c = unselect(t, api)
		wait, err := s.steer(t.Context(), c)
		if err != nil || wait != want {
			t.Fatalf("waits %s, %v, want %s", wait, err, want)
		}
		if want > 0 {
			clock.add(want)
			if wait, err = s.steer(t.Context(), c); wait != 0 || err != nil {
				t.Fatalf("after that it waits %s, %v", wait, err)
			}
		}
		if selected(t, api) != "a" {
			t.Error("not steered")
		}
	}
	if len(recorder.Events) != 1 || s.past[c.UID].times != 4 {
		t.Errorf("%d events, %v times", len(recorder.Events), s.past[c.UID].times)
	}
	if got := backoff(1000); got != maxSteerAgain {
		t.Errorf("after many times it waits %s", got)
	}
	// What the scheduler does meanwhile is not overruled.
	clock.add(maxSteerAgain)
	old := unselect(t, api)
	newer := old.DeepCopy()
	newer.Annotations = map[string]string{selectedNode: "b"}
	if _, err := api.CoreV1().PersistentVolumeClaims("ns").Update(t.Context(), newer, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.steer(t.Context(), old); !errors.Is(err, errNotYet) || selected(t, api) != "b" {
		t.Errorf("selected is %q, %v", selected(t, api), err)
	}
	s.forget(old)
	if len(s.past) != 0 {
		t.Error("a claim that is gone is remembered")
	}
}

// TestSteeringFollowsClaims from the claim to the annotation, and once more.
func TestSteeringFollowsClaims(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	api := newAPIServer(storageClass("lvme", driver.Name, storagev1.VolumeBindingWaitForFirstConsumer))
	s, _, clock := helm(api, nil, "a")
	ended := make(chan struct{})
	go func() { s.lead(ctx); close(ended) }()
	if _, err := api.CoreV1().PersistentVolumeClaims("ns").Create(ctx, restore(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// There is no snapshot yet: it comes while the claim waits.
	for _, o := range snapshotObjects() {
		must(t, s.snapshots.(*snapshotfake.Clientset).Tracker().Add(o))
	}
	eventually(t, "the claim is steered", func() bool { return selected(t, api) == "a" })
	clock.add(time.Hour)
	unselect(t, api)
	eventually(t, "it is steered again", func() bool { return selected(t, api) == "a" })
	events := func() int {
		list, err := api.CoreV1().Events("ns").List(t.Context(), metav1.ListOptions{})
		must(t, err)
		return len(list.Items)
	}
	eventually(t, "there is an event", func() bool { return events() == 1 })
	cancel()
	<-ended
}

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

const (
	// shortWait and longWait bound how long a claim waits until its source is
	// looked for again.
	shortWait = time.Second
	longWait  = time.Minute
	// steerAgain is how long a claim is left alone after the provisioner undid
	// its steering; it doubles each time, up to maxSteerAgain.
	steerAgain    = 5 * time.Second
	maxSteerAgain = 5 * time.Minute
	// helmsmen is how many claims are looked at at the same time.
	helmsmen = 4
)

// The reasons of the events on claims.
const (
	reasonSteered = "SourceNodeSelected"
	reasonNoNode  = "SourceNodeMissing"
)

// steering sets the selected node of claims that are restored from a snapshot
// or cloned from a claim: the node that holds the source.
type steering struct {
	locator
	holder   func(store string) (string, error)
	recorder record.EventRecorder
	queue    workqueue.TypedRateLimitingInterface[cache.ObjectName]
	now      func() time.Time
	steered  prometheus.Counter

	mu   sync.Mutex
	past map[types.UID]past
}

// past is what was done about a claim that is not provisioned yet.
type past struct {
	times int       // it was steered
	last  time.Time // at
	said  string    // the reason of the last event
}

// lead steers until ctx ends. Of the claims of the cluster this is the only
// informer, and the leader alone has it.
func (s *steering) lead(ctx context.Context) {
	s.past = map[types.UID]past{}
	s.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](shortWait, longWait),
		workqueue.TypedRateLimitingQueueConfig[cache.ObjectName]{Name: "steering"})
	defer s.queue.ShutDown()
	recorder, end := newRecorder(ctx, s.client)
	defer end()
	s.recorder = recorder

	informer, err := s.newInformer()
	if err != nil {
		klog.FromContext(ctx).Error(err, "restores and clones are not steered")
		return
	}
	var work sync.WaitGroup
	work.Go(func() { informer.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		for range helmsmen {
			work.Go(func() { s.work(ctx, informer.GetStore()) })
		}
	}
	<-ctx.Done()
	s.queue.ShutDown()
	work.Wait()
}

func (s *steering) newInformer() (cache.SharedIndexInformer, error) {
	informer := coreinformers.NewPersistentVolumeClaimInformer(s.client, metav1.NamespaceAll, 0, cache.Indexers{})
	if err := informer.SetTransform(stripClaim); err != nil {
		return nil, err
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    s.seen,
		UpdateFunc: func(_, o any) { s.seen(o) },
		DeleteFunc: func(o any) {
			if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if c, ok := o.(*corev1.PersistentVolumeClaim); ok {
				s.forget(c)
			}
		},
	})
	return informer, err
}

// seen queues a claim that may have to be steered.
func (s *steering) seen(o any) {
	c, ok := o.(*corev1.PersistentVolumeClaim)
	switch {
	case !ok:
	case waits(c):
		s.queue.Add(nameOfClaim(c))
	case c.Spec.VolumeName != "":
		s.forget(c)
	}
}

func nameOfClaim(c *corev1.PersistentVolumeClaim) cache.ObjectName {
	return cache.ObjectName{Namespace: c.Namespace, Name: c.Name}
}

// forget is for claims that are provisioned or gone.
func (s *steering) forget(c *corev1.PersistentVolumeClaim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.past, c.UID)
}

func (s *steering) work(ctx context.Context, claims cache.Store) {
	for {
		name, stop := s.queue.Get()
		if stop {
			return
		}
		s.one(ctx, claims, name)
		s.queue.Done(name)
	}
}

// one looks at one claim of the queue.
func (s *steering) one(ctx context.Context, claims cache.Store, name cache.ObjectName) {
	o, exists, err := claims.GetByKey(name.String())
	c, ok := o.(*corev1.PersistentVolumeClaim)
	if err != nil || !exists || !ok {
		s.queue.Forget(name)
		return
	}
	wait, err := s.steer(ctx, c)
	switch {
	case err == nil && wait > 0:
		s.queue.AddAfter(name, wait)
	case err == nil || errors.Is(err, errNotOurs):
		s.queue.Forget(name)
	default:
		klog.FromContext(ctx).V(2).Info("claim is not steered yet", "claim", name.String(), "because", err.Error())
		s.queue.AddRateLimited(name)
	}
}

// steer steers one claim, or says how long to leave it alone.
func (s *steering) steer(ctx context.Context, c *corev1.PersistentVolumeClaim) (wait time.Duration, err error) {
	if !waits(c) {
		return 0, nil
	}
	store, err := s.locate(ctx, c)
	if err != nil {
		return 0, err
	}
	node, err := s.holder(store)
	if err != nil {
		return 0, err
	}
	if node == "" {
		s.say(c, corev1.EventTypeWarning, reasonNoNode, "its source is in store "+store+", and no node has that store now: it waits for the node to come back")
		return 0, fmt.Errorf("no node bears store %s: %w", store, errNotYet)
	}
	p := s.pastOf(c)
	if due := p.last.Add(backoff(p.times)); s.now().Before(due) {
		return due.Sub(s.now()), nil
	}
	if err := s.annotate(ctx, c, node); err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.past[c.UID] = past{times: p.times + 1, last: s.now(), said: p.said}
	s.mu.Unlock()
	s.say(c, corev1.EventTypeNormal, reasonSteered, "to be provisioned on node "+node+", which holds its source")
	s.steered.Inc()
	klog.FromContext(ctx).Info("claim steered to the node of its source", "claim", klog.KObj(c), "node", node, "times", p.times+1)
	return 0, nil
}

// backoff is how long to leave a claim alone that was steered so many times.
func backoff(times int) time.Duration {
	if times == 0 {
		return 0
	}
	return min(steerAgain<<min(times-1, 10), maxSteerAgain)
}

// annotate sets the selected node, unless the claim changed since it was looked
// at: the scheduler may have been faster, and what it said is not overruled.
func (s *steering) annotate(ctx context.Context, c *corev1.PersistentVolumeClaim, node string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": c.UID, "resourceVersion": c.ResourceVersion, "annotations": map[string]string{selectedNode: node},
	}})
	if err != nil {
		return err
	}
	_, err = s.client.CoreV1().PersistentVolumeClaims(c.Namespace).Patch(ctx, c.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("claim changed meanwhile: %w", errNotYet)
	}
	if err != nil {
		return fmt.Errorf("steer claim %s/%s to node %s: %w", c.Namespace, c.Name, node, err)
	}
	return nil
}

func (s *steering) pastOf(c *corev1.PersistentVolumeClaim) past {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.past[c.UID]
}

// say records an event, unless it would repeat the last one.
func (s *steering) say(c *corev1.PersistentVolumeClaim, kind, reason, message string) {
	s.mu.Lock()
	p := s.past[c.UID]
	again := p.said == reason
	p.said = reason
	s.past[c.UID] = p
	s.mu.Unlock()
	if !again {
		s.recorder.Event(c, kind, reason, message)
	}
}

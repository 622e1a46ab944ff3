package kube

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/lvme/lvme/driver"
)

// apiServer is a clientset in memory that knows versions of objects as an API
// server does, which fake clientsets do not, and can be made to fail.
type apiServer struct {
	*fake.Clientset

	mu      sync.Mutex
	version int
	writes  int
	// failAt is the write that fails, counted from 1; applied says that it was
	// done nevertheless.
	failAt  int
	applied bool
	// down fails everything.
	down bool
}

func newAPIServer(objects ...runtime.Object) *apiServer {
	s := &apiServer{Clientset: fake.NewClientset(), version: 100}
	for _, verb := range []string{"create", "update", "delete", "patch"} {
		s.PrependReactor(verb, "*", s.write)
	}
	s.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.down {
			return true, nil, apierrors.NewServiceUnavailable("down")
		}
		return false, nil, nil
	})
	for _, o := range objects {
		if err := s.Tracker().Add(s.stamped(o)); err != nil {
			panic(err)
		}
	}
	return s
}

func (s *apiServer) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// stamped gives an object the next version, and a UID if it has none.
func (s *apiServer) stamped(o runtime.Object) runtime.Object {
	a, err := meta.Accessor(o)
	if err != nil {
		return o
	}
	s.version++
	a.SetResourceVersion(strconv.Itoa(s.version))
	if a.GetUID() == "" {
		a.SetUID(types.UID("uid-" + strconv.Itoa(s.version)))
	}
	return o
}

func (s *apiServer) write(action clienttesting.Action) (bool, runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.writes == s.failAt && !s.applied {
		return true, nil, apierrors.NewInternalError(fmt.Errorf("write %d fails on purpose", s.writes))
	}
	o, err := s.apply(action)
	if err == nil && s.writes == s.failAt {
		return true, nil, apierrors.NewInternalError(fmt.Errorf("after write %d the answer is lost on purpose", s.writes))
	}
	return true, o, err
}

func (s *apiServer) apply(action clienttesting.Action) (runtime.Object, error) {
	gvr, namespace := action.GetResource(), action.GetNamespace()
	switch a := action.(type) {
	case clienttesting.CreateActionImpl:
		o := s.stamped(a.GetObject().DeepCopyObject())
		return o, s.Tracker().Create(gvr, o, namespace)
	case clienttesting.UpdateActionImpl:
		m, err := meta.Accessor(a.GetObject())
		if err != nil {
			return nil, err
		}
		if err := s.compare(action, m.GetName(), m.GetResourceVersion()); err != nil {
			return nil, err
		}
		o := s.stamped(a.GetObject().DeepCopyObject())
		return o, s.Tracker().Update(gvr, o, namespace)
	case clienttesting.PatchActionImpl:
		return s.patch(a)
	case clienttesting.DeleteActionImpl:
		if p := a.DeleteOptions.Preconditions; p != nil && p.ResourceVersion != nil {
			if err := s.compare(action, a.Name, *p.ResourceVersion); err != nil {
				return nil, err
			}
		}
		return nil, s.Tracker().Delete(gvr, namespace, a.Name)
	}
	return nil, fmt.Errorf("unknown action %T", action)
}

// compare refuses a write to an object that has another version by now.
func (s *apiServer) compare(action clienttesting.Action, name, version string) error {
	o, err := s.Tracker().Get(action.GetResource(), action.GetNamespace(), name)
	if err != nil {
		return err
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	if version != "" && m.GetResourceVersion() != version {
		return apierrors.NewConflict(action.GetResource().GroupResource(), name, fmt.Errorf("version %s is %s by now", version, m.GetResourceVersion()))
	}
	return nil
}

func (s *apiServer) patch(a clienttesting.PatchAction) (runtime.Object, error) {
	var p struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(a.GetPatch(), &p); err != nil {
		return nil, err
	}
	if err := s.compare(a, a.GetName(), p.Metadata.ResourceVersion); err != nil {
		return nil, err
	}
	_, o, err := clienttesting.ObjectReaction(s.Tracker())(a)
	if err != nil {
		return nil, err
	}
	o = s.stamped(o.DeepCopyObject())
	return o, s.Tracker().Update(a.GetResource(), o, a.GetNamespace())
}

// timer is a clock that tests move.
type timer struct {
	mu sync.Mutex
	t  time.Time
}

func newTimer() *timer { return &timer{t: time.Now().Truncate(time.Second)} }

func (c *timer) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *timer) add(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	return c.t
}

// eventually waits until is says so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(30 * time.Second)
	for !is() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("it never came that %s", what)
		}
	}
}

// node is a Node that bears a store, or none.
func node(name, store string, age time.Duration) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Now().Add(-age).Truncate(time.Second))}}
	n.Labels = map[string]string{"kubernetes.io/hostname": name}
	if store != "" {
		n.Labels[driver.TopologyKey] = store
	}
	return n
}

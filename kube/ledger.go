package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/router"
)

const (
	// maxTombstones is how many fit into one ConfigMap, whose data may have 1 MiB
	// and which etcd takes up to 1.5 MiB with its metadata: a tombstone has less
	// than 500 bytes. More go to further ConfigMaps.
	maxTombstones = 2000
	// attempts is how often a change is tried against those of other replicas.
	attempts = 10
)

// errFull says that a ConfigMap has no room: the next one is to be taken.
var errFull = errors.New("ConfigMap is full")

// Ledger implements router.Ledger with ConfigMaps, one or more for each store
// that something is owed to. A change is made to the newest version that this
// replica knows, and the API server refuses it if there is a newer one; then
// the newer one is fetched. So no change of another replica is ever undone.
type Ledger struct {
	client    kubernetes.Interface
	namespace string
	// holder is this replica, as it stands in a tombstone that it has taken.
	holder string
	now    func() time.Time
	ledgers
}

var _ router.Ledger = (*Ledger)(nil)

func newLedger(client kubernetes.Interface, namespace, holder string, now func() time.Time) (*Ledger, error) {
	l := &Ledger{client: client, namespace: namespace, holder: holder, now: now}
	return l, l.follow(client, namespace)
}

// Owed implements router.Ledger.
func (l *Ledger) Owed(store string) []router.Tombstone { return l.owed(store) }

// Add implements router.Ledger.
func (l *Ledger) Add(ctx context.Context, t router.Tombstone) error {
	// What is there already may be paid and gone by now: then it has to be made
	// anew. It is rarely there.
	part, known := l.find(t)
	if !known {
		part = l.roomy(t.Store)
	}
	for ; part <= maxParts; part++ {
		err := l.change(ctx, t.Store, part, known, func(p page) (bool, error) {
			if _, ok := p[entryKey(t)]; ok {
				return false, nil
			}
			if len(p) >= maxTombstones {
				return false, errFull
			}
			p[entryKey(t)] = entry{Tombstone: t}
			return true, nil
		})
		if errors.Is(err, errFull) {
			continue
		}
		if err != nil {
			return unavailable(fmt.Errorf("record that the deletion of %s is owed to store %s: %w", nameOf(t), t.Store, err))
		}
		return nil
	}
	return fmt.Errorf("record that the deletion of %s is owed to store %s: more than %d are owed: %w", nameOf(t), t.Store, maxParts*maxTombstones, errFull)
}

// Take implements router.Ledger. The clocks of the replicas are compared here.
func (l *Ledger) Take(ctx context.Context, t router.Tombstone, until time.Time) (taken bool, err error) {
	part, known := l.find(t)
	if !known {
		return false, nil
	}
	err = l.change(ctx, t.Store, part, false, func(p page) (bool, error) {
		e, ok := p[entryKey(t)]
		taken = ok
		if !ok {
			return false, nil
		}
		if e.Holder != l.holder && l.now().Before(e.Until) {
			return false, router.ErrTaken
		}
		e.Holder, e.Until = l.holder, until.UTC()
		p[entryKey(t)] = e
		return true, nil
	})
	if errors.Is(err, router.ErrTaken) {
		return false, err
	}
	if err != nil {
		return false, unavailable(fmt.Errorf("take the tombstone of %s in store %s: %w", nameOf(t), t.Store, err))
	}
	return taken, nil
}

// Remove implements router.Ledger.
func (l *Ledger) Remove(ctx context.Context, t router.Tombstone) error {
	part, known := l.find(t)
	if !known {
		return nil
	}
	err := l.change(ctx, t.Store, part, false, func(p page) (bool, error) {
		e, ok := p[entryKey(t)]
		if !ok {
			return false, nil
		}
		if e.Holder != "" && e.Holder != l.holder {
			return false, router.ErrTaken
		}
		delete(p, entryKey(t))
		return true, nil
	})
	if errors.Is(err, router.ErrTaken) {
		return err
	}
	if err != nil {
		return unavailable(fmt.Errorf("forget the tombstone of %s in store %s: %w", nameOf(t), t.Store, err))
	}
	return nil
}

func nameOf(t router.Tombstone) string {
	if t.ID != "" {
		return t.ID
	}
	return "the volume named " + t.Name
}

// change makes one change to one ConfigMap. Edit says whether it changed
// anything; it is called again when another replica was faster. Fresh says not
// to believe what is in memory.
func (l *Ledger) change(ctx context.Context, store string, part int, fresh bool, edit func(page) (bool, error)) error {
	name := partName(store, part)
	for range attempts {
		was := l.known(name)
		if fresh {
			var err error
			if was, err = l.fetch(ctx, name); err != nil {
				return err
			}
		}
		p, err := readPage(was)
		if err != nil {
			return fmt.Errorf("ConfigMap %s/%s: %w", l.namespace, name, err)
		}
		changed, err := edit(p)
		if err != nil || !changed {
			return err
		}
		err = l.write(ctx, store, name, was, p)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
		klog.FromContext(ctx).V(2).Info("another replica changed the tombstones", "configMap", name)
		fresh = true
	}
	return fmt.Errorf("ConfigMap %s/%s changed %d times meanwhile", l.namespace, name, attempts)
}

// fetch reads a ConfigMap from the API server; nil when there is none.
func (l *Ledger) fetch(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	cm, err := l.client.CoreV1().ConfigMaps(l.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return cm, err
}

// write makes the ConfigMap hold that page if it still is what it was, and
// removes an empty one.
func (l *Ledger) write(ctx context.Context, store, name string, was *corev1.ConfigMap, p page) error {
	maps := l.client.CoreV1().ConfigMaps(l.namespace)
	data, err := p.data()
	if err != nil {
		return err
	}
	switch {
	case was == nil:
		cm, err := maps.Create(ctx, newConfigMap(name, store, data), metav1.CreateOptions{})
		if err == nil {
			l.wrote(cm)
		}
		return err
	case len(p) == 0:
		err := maps.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &was.UID, ResourceVersion: &was.ResourceVersion}})
		if err == nil {
			l.deleted(was)
		}
		return err
	}
	cm := was.DeepCopy()
	cm.Data = data
	cm, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
	if err == nil {
		l.wrote(cm)
	}
	return err
}

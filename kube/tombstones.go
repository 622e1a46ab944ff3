package kube

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/router"
)

const (
	// tombstoneLabel has the store key as its value.
	tombstoneLabel = "lvme.dev/tombstones"
	// tombstonePrefix begins the ConfigMaps' names.
	tombstonePrefix = "lvme-lost-"
	// maxParts is how many ConfigMaps a store may have.
	maxParts = 100
	// managedBy is who made an object.
	managedBy = "app.kubernetes.io/managed-by"
)

// entry is a tombstone as it is stored.
type entry struct {
	router.Tombstone
	// Holder is the replica that has taken it, until then.
	Holder string    `json:"holder,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// page is the content of one ConfigMap, by entryKey.
type page map[string]entry

// entryKey is the key of a tombstone in its ConfigMap. Ids and names may have
// characters that a key may not.
func entryKey(t router.Tombstone) string {
	sum := sha256.Sum256([]byte(t.ID + "\x00" + t.Name))
	return hex.EncodeToString(sum[:8])
}

// readPage reads a ConfigMap, of which nil is empty. What cannot be read fails:
// a tombstone must not get lost.
func readPage(cm *corev1.ConfigMap) (page, error) {
	p := page{}
	if cm == nil {
		return p, nil
	}
	for key, text := range cm.Data {
		var e entry
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return nil, fmt.Errorf("tombstone %q: %w", key, err)
		}
		p[key] = e
	}
	return p, nil
}

func (p page) data() (map[string]string, error) {
	data := map[string]string{}
	for key, e := range p {
		text, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("tombstone %q: %w", key, err)
		}
		data[key] = string(text)
	}
	return data, nil
}

// partName is the name of a store's ConfigMap, of which there is one but for
// very many tombstones. Parts count from 1.
func partName(store string, part int) string {
	if part == 1 {
		return tombstonePrefix + store
	}
	return tombstonePrefix + store + "-" + strconv.Itoa(part)
}

func newConfigMap(name, store string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{tombstoneLabel: store, managedBy: "lvme"}},
		Data:       data,
	}
}

// ledgers are the ConfigMaps as this replica knows them: what the informer
// shows and what was written here, whichever is newer.
type ledgers struct {
	informer cache.SharedIndexInformer
	handler  cache.ResourceEventHandlerRegistration

	mu   sync.Mutex
	maps map[string]*corev1.ConfigMap // by name; never changed in place
	// gone are versions that were deleted here: what the informer still shows of
	// them is old.
	gone map[string]string
}

func (l *ledgers) follow(client kubernetes.Interface, namespace string) error {
	l.maps, l.gone = map[string]*corev1.ConfigMap{}, map[string]string{}
	l.informer = coreinformers.NewFilteredConfigMapInformer(client, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = tombstoneLabel
	})
	var err error
	l.handler, err = l.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    l.seen,
		UpdateFunc: func(_, o any) { l.seen(o) },
		DeleteFunc: l.seenDeleted,
	})
	return err
}

func (l *ledgers) seen(o any) {
	cm, ok := o.(*corev1.ConfigMap)
	if !ok {
		return
	}
	if _, err := readPage(cm); err != nil {
		klog.Background().Error(err, "deletions are owed that cannot be read: mend the ConfigMap", "configMap", klog.KObj(cm))
	}
	l.wrote(cm)
}

func (l *ledgers) seenDeleted(o any) {
	if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = d.Obj
	}
	cm, ok := o.(*corev1.ConfigMap)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// One that was made anew here under the same name stays.
	if known, ok := l.maps[cm.Name]; ok && (known.UID == cm.UID || newer(cm.ResourceVersion, known.ResourceVersion)) {
		delete(l.maps, cm.Name)
	}
	delete(l.gone, cm.Name)
}

// wrote takes in a version, unless there is a newer one.
func (l *ledgers) wrote(cm *corev1.ConfigMap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.maps[cm.Name]; ok && newer(known.ResourceVersion, cm.ResourceVersion) {
		return
	}
	if version, ok := l.gone[cm.Name]; ok && !newer(cm.ResourceVersion, version) {
		return
	}
	l.maps[cm.Name] = cm
}

// deleted takes in that this version was deleted.
func (l *ledgers) deleted(cm *corev1.ConfigMap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.maps, cm.Name)
	l.gone[cm.Name] = cm.ResourceVersion
}

// newer says that version a is newer than b. Versions that cannot be compared
// are taken as they come.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}

// known is a ConfigMap by its name, nil for none. It must not be changed.
func (l *ledgers) known(name string) *corev1.ConfigMap {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.maps[name]
}

// parts are the ConfigMaps of a store, or of all for "", by their names.
func (l *ledgers) parts(store string) []*corev1.ConfigMap {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []*corev1.ConfigMap
	for _, cm := range l.maps {
		if store == "" || cm.Labels[tombstoneLabel] == store {
			parts = append(parts, cm)
		}
	}
	slices.SortFunc(parts, func(a, b *corev1.ConfigMap) int { return cmp.Compare(a.Name, b.Name) })
	return parts
}

// owed are the tombstones of a store, or of all for "", the oldest first. What
// cannot be read is left out here and fails wherever it is to be changed.
func (l *ledgers) owed(store string) []router.Tombstone {
	var all []router.Tombstone
	for _, cm := range l.parts(store) {
		p, _ := readPage(cm)
		for _, e := range p {
			all = append(all, e.Tombstone)
		}
	}
	slices.SortFunc(all, func(a, b router.Tombstone) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// find is the part that a tombstone is in.
func (l *ledgers) find(t router.Tombstone) (part int, found bool) {
	return l.first(t.Store, func(cm *corev1.ConfigMap) bool { _, ok := cm.Data[entryKey(t)]; return ok })
}

// roomy is the first part that has room; one that is not there has.
func (l *ledgers) roomy(store string) int {
	part, _ := l.first(store, func(cm *corev1.ConfigMap) bool { return len(cm.Data) < maxTombstones })
	return part
}

// first is the first part of a store for which is says so, else the first whose
// number is free.
func (l *ledgers) first(store string, is func(*corev1.ConfigMap) bool) (part int, found bool) {
	free := maxParts
	for part := 1; part <= maxParts; part++ {
		cm := l.known(partName(store, part))
		if cm != nil && is(cm) {
			return part, true
		}
		if cm == nil {
			free = min(free, part)
		}
	}
	return free, false
}

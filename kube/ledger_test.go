package kube

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/volume"
)

// replica is one of several ledgers of the same cluster.
func replica(t *testing.T, api *apiServer, clock *timer, holder string, follows bool) *Ledger {
	t.Helper()
	l, err := newLedger(api, "ns", holder, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	if follows {
		go l.informer.RunWithContext(t.Context())
		eventually(t, "the ledger is known", l.handler.HasSynced)
	}
	return l
}

func tombstone(store string, n int, clock *timer) router.Tombstone {
	return router.Tombstone{Store: store, ID: fmt.Sprintf("%s/vgvgvgvg/v-%d", store, n), Since: clock.now().Add(time.Duration(n) * time.Second).UTC()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func configMaps(t *testing.T, api *apiServer) []corev1.ConfigMap {
	t.Helper()
	list, err := api.CoreV1().ConfigMaps("ns").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	return list.Items
}

func owed(l *Ledger, store string) string {
	var all []string
	for _, t := range l.Owed(store) {
		all = append(all, t.ID+t.Name)
	}
	return strings.Join(all, " ")
}

func TestLedger(t *testing.T) {
	clock := newTimer()
	api := newAPIServer()
	// It follows nothing: what it wrote itself it knows nevertheless.
	l := replica(t, api, clock, "one", false)
	first, second := tombstone("aaaaaaaa", 1, clock), tombstone("aaaaaaaa", 2, clock)
	named := router.Tombstone{Store: "bbbbbbbb", Name: `any "name" / of CSI`, Since: clock.now().UTC()}
	for _, s := range []router.Tombstone{second, first, named} {
		must(t, l.Add(t.Context(), s))
	}
	later := first
	later.Since = later.Since.Add(time.Hour)
	must(t, l.Add(t.Context(), later)) // changes nothing
	if got := l.Owed("aaaaaaaa"); !reflect.DeepEqual(got, []router.Tombstone{first, second}) {
		t.Errorf("owed to a: %v", got)
	}
	if got := l.Owed("bbbbbbbb"); !reflect.DeepEqual(got, []router.Tombstone{named}) {
		t.Errorf("owed to b: %v", got)
	}
	if got := l.Owed(""); len(got) != 3 || l.Owed("cccccccc") != nil {
		t.Errorf("owed to all: %v", got)
	}
	if maps := configMaps(t, api); len(maps) != 2 || maps[0].Name != "lvme-lost-aaaaaaaa" || maps[0].Labels[tombstoneLabel] != "aaaaaaaa" {
		t.Errorf("stored: %v", maps)
	}
	// Another replica, or this one anew, finds it all.
	if got := owed(replica(t, api, clock, "two", true), "aaaaaaaa"); got != first.ID+" "+second.ID {
		t.Errorf("after a start: %s", got)
	}
	for _, s := range []router.Tombstone{first, second, named, named} {
		must(t, l.Remove(t.Context(), s))
	}
	if got, maps := owed(l, ""), configMaps(t, api); got != "" || len(maps) != 0 {
		t.Errorf("after all were paid: %q, %v", got, maps)
	}
	must(t, l.Add(t.Context(), first)) // under the same name as before
	if got := owed(l, ""); got != first.ID {
		t.Errorf("after a new beginning: %q", got)
	}
}

func TestLedgerTake(t *testing.T) {
	clock := newTimer()
	api := newAPIServer()
	one, two := replica(t, api, clock, "one", true), replica(t, api, clock, "two", true)
	s := tombstone("aaaaaaaa", 1, clock)
	must(t, one.Add(t.Context(), s))
	eventually(t, "the other sees it", func() bool { return owed(two, "") != "" })

	taken := func(l *Ledger, wantTaken bool, want error) {
		t.Helper()
		got, err := l.Take(t.Context(), s, clock.now().Add(time.Minute))
		if got != wantTaken || !errors.Is(err, want) {
			t.Errorf("%s takes it: %t, %v", l.holder, got, err)
		}
	}
	taken(one, true, nil)
	taken(two, false, router.ErrTaken) // though it has not seen that it was taken
	taken(one, true, nil)
	if err := two.Remove(t.Context(), s); !errors.Is(err, router.ErrTaken) {
		t.Errorf("removed by another: %v", err)
	}
	clock.add(2 * time.Minute)
	taken(two, true, nil)
	if err := one.Remove(t.Context(), s); !errors.Is(err, router.ErrTaken) {
		t.Errorf("removed by who had it: %v", err)
	}
	must(t, two.Remove(t.Context(), s))
	eventually(t, "it is gone for the other", func() bool { return owed(one, "") == "" })
	taken(one, false, nil)
	must(t, one.Remove(t.Context(), s))
}

// TestLedgerAddAgain adds what was paid meanwhile, which this replica has not
// seen.
func TestLedgerAddAgain(t *testing.T) {
	clock := newTimer()
	api := newAPIServer()
	blind, other := replica(t, api, clock, "one", false), replica(t, api, clock, "two", true)
	s := tombstone("aaaaaaaa", 1, clock)
	must(t, blind.Add(t.Context(), s))
	eventually(t, "the other sees it", func() bool { return owed(other, "") != "" })
	must(t, other.Remove(t.Context(), s))
	must(t, blind.Add(t.Context(), s))
	if maps := configMaps(t, api); len(maps) != 1 || len(maps[0].Data) != 1 {
		t.Errorf("stored: %v", maps)
	}
}

func TestLedgersAtTheSameTime(t *testing.T) {
	clock := newTimer()
	api := newAPIServer()
	ledgers := []*Ledger{replica(t, api, clock, "one", true), replica(t, api, clock, "two", true)}
	var work sync.WaitGroup
	for i, l := range ledgers {
		work.Go(func() {
			for n := range 20 {
				if err := l.Add(t.Context(), tombstone("aaaaaaaa", 2*n+i, clock)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	for _, l := range ledgers {
		eventually(t, "all are seen", func() bool { return len(l.Owed("aaaaaaaa")) == 40 })
	}
	for i, l := range ledgers {
		work.Go(func() {
			for n := range 20 {
				if err := l.Remove(t.Context(), tombstone("aaaaaaaa", 2*n+1-i, clock)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	for _, l := range ledgers {
		eventually(t, "all are gone", func() bool { return len(l.Owed("")) == 0 })
	}
	if maps := configMaps(t, api); len(maps) != 0 {
		t.Errorf("left: %v", maps)
	}
}

func TestLedgerOfManyTombstones(t *testing.T) {
	clock := newTimer()
	full := page{}
	for n := range maxTombstones {
		s := router.Tombstone{Store: "aaaaaaaa", ID: fmt.Sprintf("aaaaaaaa/vgvgvgvg/v-%s%d", strings.Repeat("x", 60), n), Name: strings.Repeat("é", 64)}
		full[entryKey(s)] = entry{Tombstone: s, Holder: strings.Repeat("h", 100), Until: clock.now()}
	}
	data, err := full.data()
	must(t, err)
	size := 0
	for key, text := range data {
		size += len(key) + len(text)
	}
	if size > 1<<20 || len(data) != maxTombstones {
		t.Fatalf("%d tombstones have %d bytes, a ConfigMap takes 1 MiB", len(data), size)
	}
	api := newAPIServer(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lvme-lost-aaaaaaaa", Namespace: "ns", Labels: map[string]string{tombstoneLabel: "aaaaaaaa"}}, Data: data})
	blind, l := replica(t, api, clock, "blind", false), replica(t, api, clock, "one", true)
	s, s2 := tombstone("aaaaaaaa", 1, clock), tombstone("aaaaaaaa", 2, clock)
	must(t, blind.Add(t.Context(), s)) // it learns only then that the first is full
	eventually(t, "the second ConfigMap is seen", func() bool { return len(l.Owed("aaaaaaaa")) == maxTombstones+1 })
	must(t, l.Add(t.Context(), s2))
	maps := configMaps(t, api)
	if len(maps) != 2 || maps[1].Name != "lvme-lost-aaaaaaaa-2" || len(maps[1].Data) != 2 {
		t.Fatalf("stored in %d ConfigMaps", len(maps))
	}
	if ok, err := l.Take(t.Context(), s, clock.now().Add(time.Hour)); !ok || err != nil {
		t.Errorf("taken from the second: %t, %v", ok, err)
	}
	must(t, l.Remove(t.Context(), s))
	must(t, l.Remove(t.Context(), s2))
	if maps := configMaps(t, api); len(maps) != 1 {
		t.Errorf("left: %d ConfigMaps", len(maps))
	}
}

func TestLedgerWithoutAPIServer(t *testing.T) {
	clock := newTimer()
	api := newAPIServer()
	l := replica(t, api, clock, "one", true)
	s := tombstone("aaaaaaaa", 1, clock)
	api.setDown(true)
	if err := l.Add(t.Context(), s); !errors.Is(err, volume.ErrUnavailable) || !strings.Contains(err.Error(), s.ID) {
		t.Errorf("added nowhere: %v", err)
	}
	if got := owed(l, ""); got != "" {
		t.Errorf("owed though it is not recorded: %s", got)
	}
	api.setDown(false)
	must(t, l.Add(t.Context(), s))
	api.setDown(true)
	if got := owed(l, ""); got != s.ID {
		t.Errorf("not owed while the API server is away: %q", got)
	}
	if _, err := l.Take(t.Context(), s, clock.now()); !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("taken from nowhere: %v", err)
	}
	if err := l.Remove(t.Context(), s); !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("removed from nowhere: %v", err)
	}
}

// TestLedgerRefusesWhatItCannotRead: a ConfigMap that somebody damaged is not
// written over.
func TestLedgerRefusesWhatItCannotRead(t *testing.T) {
	api := newAPIServer(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lvme-lost-aaaaaaaa", Namespace: "ns", Labels: map[string]string{tombstoneLabel: "aaaaaaaa"}}, Data: map[string]string{"x": "{"}})
	clock := newTimer()
	l := replica(t, api, clock, "one", true)
	if err := l.Add(t.Context(), tombstone("aaaaaaaa", 1, clock)); err == nil || api.writes != 0 {
		t.Errorf("%d writes, %v", api.writes, err)
	}
}

// TestLedgerOldNews: what the informer brings late does not undo what was
// written here.
func TestLedgerOldNews(t *testing.T) {
	clock := newTimer()
	api := newAPIServer()
	l := replica(t, api, clock, "one", false)
	first, second := tombstone("aaaaaaaa", 1, clock), tombstone("aaaaaaaa", 2, clock)
	must(t, l.Add(t.Context(), first))
	early := l.known("lvme-lost-aaaaaaaa")
	must(t, l.Add(t.Context(), second))
	l.seen(early)
	if got := len(l.Owed("")); got != 2 {
		t.Errorf("%d are owed after old news", got)
	}
	must(t, l.Remove(t.Context(), first))
	late := l.known("lvme-lost-aaaaaaaa")
	must(t, l.Remove(t.Context(), second))
	l.seen(late)
	if got := owed(l, ""); got != "" {
		t.Errorf("%s is owed after old news", got)
	}
	must(t, l.Add(t.Context(), first))
	l.seenDeleted(late)
	if got := owed(l, ""); got != first.ID {
		t.Errorf("%q is owed after an old deletion", got)
	}
	l.seenDeleted(l.known("lvme-lost-aaaaaaaa"))
	if got := owed(l, ""); got != "" {
		t.Errorf("%s is owed though another replica removed it", got)
	}
}

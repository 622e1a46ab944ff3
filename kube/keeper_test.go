package kube

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/internal/mtls"
)

const (
	// late is how long a kubelet may take to bring a changed Secret to an agent.
	late = 10 * time.Minute
	day  = 24 * time.Hour
)

// generation is what the Secrets of the roles held from some time on.
type generation struct {
	from          time.Time
	agent, router *corev1.Secret
}

// world is a cluster whose certificates are kept, and what it had before.
type world struct {
	*testing.T
	api    *apiServer
	clock  *timer
	keeper *keeper
	past   []generation
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, api: newAPIServer(), clock: newTimer()}
	w.keeper = w.another()
	return w
}

// another is the keeper of another replica, or of this one after a crash.
func (w *world) another() *keeper {
	return &keeper{client: w.api, namespace: "ns", now: w.clock.now}
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s, err := w.keeper.get(w.Context(), name)
	must(w.T, err)
	return s
}

// keep lets the keeper look once, and says what it wrote.
func (w *world) keep() (wrote int, err error) {
	w.Helper()
	before := w.api.writes
	err = w.keeper.keep(w.Context())
	w.remember()
	return w.api.writes - before, err
}

func (w *world) remember() {
	g := generation{w.clock.now(), w.secret(SecretAgent), w.secret(SecretRouter)}
	if g.agent == nil || g.router == nil {
		return
	}
	if n := len(w.past); n == 0 || w.past[n-1].agent.ResourceVersion != g.agent.ResourceVersion || w.past[n-1].router.ResourceVersion != g.router.ResourceVersion {
		w.past = append(w.past, g)
	}
	// Of what is older than any agent may have, the last is kept.
	for len(w.past) > 1 && w.past[1].from.Before(w.clock.now().Add(-late)) {
		w.past = w.past[1:]
	}
}

// connected checks that the router, which follows its Secret at once, and all
// agents, which may have what was there up to ten minutes ago, believe each
// other.
func (w *world) connected() {
	w.Helper()
	now := w.clock.now()
	for _, r := range w.past {
		for _, a := range w.past {
			if why := trusts(a.agent, r.router, now, x509.ExtKeyUsageClientAuth); why != nil {
				w.Fatalf("%s: the agents of %s refuse the router of %s: %v", now, a.from, r.from, why)
			}
			if why := trusts(r.router, a.agent, now, x509.ExtKeyUsageServerAuth); why != nil {
				w.Fatalf("%s: the router of %s refuses the agents of %s: %v", now, r.from, a.from, why)
			}
		}
	}
}

// trusts says why who has one Secret does not believe who has the other.
func trusts(s, peer *corev1.Secret, now time.Time, usage x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Data[mtls.CAFile]) {
		return fmt.Errorf("no bundle")
	}
	pair, err := tls.X509KeyPair(peer.Data[mtls.CertFile], peer.Data[mtls.KeyFile])
	if err != nil {
		return err
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestKeeperFirstStart(t *testing.T) {
	w := newWorld(t)
	if _, err := w.keep(); err != nil {
		t.Fatal(err)
	}
	w.connected()
	for name, want := range map[string]corev1.SecretType{SecretAuthority: corev1.SecretTypeOpaque, SecretAgent: corev1.SecretTypeTLS, SecretRouter: corev1.SecretTypeTLS} {
		if s := w.secret(name); s.Type != want || s.Labels[managedBy] != "lvme" {
			t.Errorf("%s is of type %s with labels %v", name, s.Type, s.Labels)
		}
	}
	for _, name := range []string{SecretAgent, SecretRouter} {
		for key, text := range w.secret(name).Data {
			if bytes.Contains(text, w.secret(SecretAuthority).Data[keyKey]) {
				t.Errorf("%s of %s has the key of the authority", key, name)
			}
		}
	}
	source := mtls.FromCode()
	if err := wear(source, w.secret(SecretRouter)); err != nil || source.Err() != nil {
		t.Errorf("the router cannot use it: %v, %v", err, source.Err())
	}
	if err := wear(mtls.FromCode(), &corev1.Secret{}); err == nil {
		t.Error("an empty Secret can be used")
	}
	if wrote, err := w.keep(); wrote != 0 || err != nil {
		t.Errorf("a second look wrote %d times: %v", wrote, err)
	}
}

// live keeps certificates for that long. It looks every minute while anything
// is going on, and every day when not.
func (w *world) live(d time.Duration) {
	w.Helper()
	busy := 20
	for end := w.clock.now().Add(d); w.clock.now().Before(end); {
		wrote, err := w.keep()
		w.connected()
		switch {
		case wrote > 0 || err != nil:
			busy = 20
		case busy > 0:
			busy--
		}
		if busy > 0 {
			w.clock.add(keepEvery)
		} else {
			w.clock.add(day)
		}
	}
}

func certificates(text []byte) (names []string) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return names
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			names = append(names, c.Subject.CommonName)
		}
	}
}

func TestKeeperOverYears(t *testing.T) {
	w := newWorld(t)
	w.live(time.Hour)
	first := certificates(w.secret(SecretAuthority).Data[keyCert])
	leaf := w.secret(SecretRouter).Data[mtls.CertFile]
	w.live(21 * day)
	if bytes.Equal(leaf, w.secret(SecretRouter).Data[mtls.CertFile]) {
		t.Error("after two thirds of its life the certificate is the same")
	}
	// Two thirds of a year, and what the announcement takes.
	w.live(225 * day)
	s := w.secret(SecretAuthority)
	if now := certificates(s.Data[keyCert]); slices.Equal(now, first) || !slices.Equal(certificates(s.Data[keyOld]), first) || len(s.Data[keyNextKey]) > 0 {
		t.Fatalf("after two thirds of its life the authority is %v, it was %v; old is %v", now, first, certificates(s.Data[keyOld]))
	}
	if got := certificates(w.secret(SecretAgent).Data[mtls.CAFile]); len(got) != 2 {
		t.Errorf("agents believe %v", got)
	}
	w.live(32 * day)
	if got := certificates(w.secret(SecretAgent).Data[mtls.CAFile]); len(got) != 1 || slices.Equal(got, first) {
		t.Errorf("after the last certificate of the old authority expired, agents believe %v", got)
	}
}

// before is a world some minutes before its authority is due for renewal.
func before(t *testing.T) *world {
	w := newWorld(t)
	made := w.clock.now().Add(-mtls.AuthorityLife*2/3 + 25*time.Minute)
	a, err := mtls.NewAuthority(made)
	must(t, err)
	s, err := vault{issuing: a, since: made}.secret(nil)
	must(t, err)
	s.Namespace = "ns"
	must(t, w.api.Tracker().Add(w.api.stamped(s)))
	w.live(3 * time.Minute)
	w.api.writes = 0
	return w
}

// TestKeeperCrashes has each write of a rotation fail once: before it was done,
// and after it was.
func TestKeeperCrashes(t *testing.T) {
	calm := before(t)
	calm.live(33 * day)
	writes := calm.api.writes
	if writes < 10 {
		t.Fatalf("a rotation takes %d writes only", writes)
	}
	for _, applied := range []bool{false, true} {
		for n := 1; n <= writes; n++ {
			w := before(t)
			w.api.failAt, w.api.applied = n, applied
			w.live(33 * day)
			if w.api.writes < n {
				t.Errorf("write %d: there were %d only", n, w.api.writes)
			}
			s := w.secret(SecretAuthority)
			if len(s.Data[keyNextKey]) > 0 || len(s.Data[keyOld]) > 0 {
				t.Errorf("write %d fails, applied %t: the rotation has not come to its end", n, applied)
			}
		}
	}
}

// TestKeeperWhenTheAuthorityIsRemoved: what it issued goes on being used until
// the new one is known to all.
func TestKeeperWhenTheAuthorityIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.live(time.Hour)
	leaf := w.secret(SecretRouter).Data[mtls.CertFile]
	must(t, w.api.CoreV1().Secrets("ns").Delete(t.Context(), SecretAuthority, metav1.DeleteOptions{}))
	w.live(announce - time.Minute)
	if !bytes.Equal(leaf, w.secret(SecretRouter).Data[mtls.CertFile]) {
		t.Error("a certificate of the new authority was issued before it was announced")
	}
	w.live(5 * time.Minute)
	if bytes.Equal(leaf, w.secret(SecretRouter).Data[mtls.CertFile]) {
		t.Error("the new authority is not used")
	}
	w.live(60 * day)
	if got := certificates(w.secret(SecretAgent).Data[mtls.CAFile]); len(got) != 1 {
		t.Errorf("agents believe %v", got)
	}
}

// TestKeeperWhenALeafIsRemoved makes it anew at once.
func TestKeeperWhenALeafIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.live(time.Hour)
	for _, name := range []string{SecretAgent, SecretRouter} {
		must(t, w.api.CoreV1().Secrets("ns").Delete(t.Context(), name, metav1.DeleteOptions{}))
		w.live(2 * time.Minute)
		if s := w.secret(name); s == nil || len(s.Data[mtls.KeyFile]) == 0 {
			t.Errorf("%s is not there again", name)
		}
	}
}

// TestKeeperWhenABundleIsSpoilt: the announcement begins anew.
func TestKeeperWhenABundleIsSpoilt(t *testing.T) {
	w := newWorld(t)
	w.live(time.Hour)
	old := w.secret(SecretAgent)
	w.clock.add(244 * day) // past the leaves as well: nobody looked for long
	w.past = nil
	for range 5 {
		if _, err := w.keep(); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.add(announce - time.Minute)
	spoilt := w.secret(SecretAgent)
	spoilt.Data[mtls.CAFile] = old.Data[mtls.CAFile]
	if _, err := w.api.CoreV1().Secrets("ns").Update(t.Context(), spoilt, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.clock.add(2 * time.Minute)
	if _, err := w.keep(); err != nil {
		t.Fatal(err)
	}
	s := w.secret(SecretAuthority)
	if len(s.Data[keyNextKey]) == 0 || s.Annotations[noteNextSince] != w.clock.now().UTC().Format(time.RFC3339) {
		t.Errorf("the announcement was not begun anew: %v", s.Annotations)
	}
	if !bytes.Contains(w.secret(SecretAgent).Data[mtls.CAFile], s.Data[keyNextCert]) {
		t.Error("the bundle was not mended")
	}
}

// TestKeepersAtTheSameTime: one that works on what it read long ago does no harm.
func TestKeepersAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	w.live(time.Hour)
	stale := w.secret(SecretAuthority)
	v, err := readVault(stale)
	must(t, err)
	w.live(244 * day)
	if _, err := w.another().store(t.Context(), v, stale); err == nil {
		t.Error("an old state was stored over a new one")
	}
	w.live(day)
}

func TestKeeperRefusesADamagedAuthority(t *testing.T) {
	w := newWorld(t)
	w.live(time.Hour)
	s := w.secret(SecretAuthority)
	s.Data[keyKey] = []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	if _, err := w.api.CoreV1().Secrets("ns").Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wrote, err := w.keep()
	if err == nil || wrote != 0 || bytes.Contains([]byte(err.Error()), []byte("AAAA")) {
		t.Errorf("wrote %d times, %v", wrote, err)
	}
}

func TestLeafFollowsTheSecret(t *testing.T) {
	w := newWorld(t)
	source := mtls.FromCode()
	informer, err := newLeaf(t.Context(), w.api, "ns", source)
	must(t, err)
	go informer.RunWithContext(t.Context())
	eventually(t, "the Secret is looked for", informer.HasSynced)
	if source.Err() == nil {
		t.Error("there is a certificate before any was made")
	}
	w.live(time.Minute)
	eventually(t, "the certificate is used", func() bool { return source.Err() == nil })
	before := source.Expiry()
	w.clock.add(21 * day)
	w.live(time.Minute)
	eventually(t, "the next one is used", func() bool { return source.Expiry().After(before) })

	s := w.secret(SecretRouter)
	s.Data[mtls.KeyFile] = []byte("nonsense")
	after := source.Expiry()
	if err := wear(source, s); err == nil || source.Err() != nil || !source.Expiry().Equal(after) {
		t.Errorf("nonsense is used: %v, %v", err, source.Err())
	}
}

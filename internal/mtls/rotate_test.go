package mtls

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// strange is a certificate for clients with any URIs.
func strange(t *testing.T, a *Authority, uris []string) Pair {
	t.Helper()
	pair, err := issue(t, a, Router, time.Now(), day).parse()
	if err != nil {
		t.Fatal(err)
	}
	c := pair.Leaf
	c.URIs, c.ExtraExtensions = nil, nil
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, uri)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, c.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	key, err := encodeKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{Cert: encodeCertificate(der), Key: key}
}

// TestRotation changes the authority under open connections, in the order that
// keeps everybody connected: announce the new one, use it, forget the old one.
func TestRotation(t *testing.T) {
	now := time.Now()
	first, second := newAuthority(t, now), newAuthority(t, now)
	both := bytes.Join([][]byte{first.Cert(), second.Cert()}, nil)
	dir := t.TempDir()
	put(t, dir, issue(t, first, Agent, now, day), first.Cert())
	e := newEcho(t, FromDir(dir, logTo(new(bytes.Buffer))).Server(Router))
	router := source(t, issue(t, first, Router, now, day), first.Cert())
	config := router.Client(Agent)
	open, err := e.dial(config)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	set := func(a *Authority, bundle []byte) error { return router.Set(issue(t, a, Router, now, day), bundle) }
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"agents believe the new authority", func() error { put(t, dir, issue(t, first, Agent, now, day), both); return nil }},
		{"the router believes it and shows its certificate", func() error { return set(second, both) }},
		{"agents show its certificate", func() error { put(t, dir, issue(t, second, Agent, now, day), both); return nil }},
		{"the router forgets the old one", func() error { return set(second, second.Cert()) }},
		{"agents forget it", func() error { put(t, dir, issue(t, second, Agent, now, day), second.Cert()); return nil }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.works(config), ask(open)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	old := source(t, issue(t, first, Router, now, day), both).Client(Agent)
	if err := e.works(old); err == nil {
		t.Error("a certificate of the old authority was taken")
	}
}

func TestReload(t *testing.T) {
	now := time.Now()
	ours := newAuthority(t, now)
	router := source(t, issue(t, ours, Router, now, day), ours.Cert()).Client(Agent)
	good, other := issue(t, ours, Agent, now, day), issue(t, ours, Agent, now, day)
	bundle := ours.Cert()
	for _, tc := range []struct {
		name    string
		pair    Pair
		bundle  []byte
		want    string // in the log
		renewed bool
	}{
		{"a new pair", other, bundle, "certificate read", true},
		{"half a certificate", Pair{other.Cert[:len(other.Cert)/2], other.Key}, bundle, "no certificate in PEM form", false},
		{"half a bundle", other, append(bytes.Clone(bundle), bundle[:100]...), "no PEM block follows", false},
		{"half a key", Pair{other.Cert, other.Key[:len(other.Key)/2]}, bundle, "certificate and key", false},
		{"key and certificate of two", Pair{good.Cert, other.Key}, bundle, "does not match", false},
		{"an empty bundle", other, nil, "bundle of authorities", false},
		{"a key for a bundle", other, other.Key, "bundle of authorities", false},
		{"no certificate", Pair{nil, other.Key}, bundle, "no certificate in PEM form", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			var log bytes.Buffer
			s := FromDir(dir, logTo(&log))
			e := newEcho(t, s.Server(Router))
			put(t, dir, good, bundle)
			if got := shown(t, e, router); !bytes.Equal(got, good.Cert) {
				t.Fatal("another certificate was shown at first")
			}
			log.Reset()
			put(t, dir, tc.pair, tc.bundle)
			for range 2 {
				if got := shown(t, e, router); bytes.Equal(got, other.Cert) != tc.renewed {
					t.Errorf("renewed: %t, want %t", !tc.renewed, tc.renewed)
				}
			}
			if strings.Count(log.String(), tc.want) != 1 {
				t.Errorf("want once %q in the log:\n%s", tc.want, log.String())
			}
			if strings.Contains(log.String(), string(other.Key[40:80])) {
				t.Errorf("a key in the log:\n%s", log.String())
			}
			put(t, dir, other, bundle)
			if got := shown(t, e, router); !bytes.Equal(got, other.Cert) {
				t.Error("the good pair was not read after the bad one")
			}
		})
	}
}

// shown is the certificate that the server shows.
func shown(t *testing.T, e *echo, config *tls.Config) []byte {
	t.Helper()
	c, err := e.dial(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return encodeCertificate(c.ConnectionState().PeerCertificates[0].Raw)
}

// TestFilesVanish: what was read is used on until it expires.
func TestFilesVanish(t *testing.T) {
	now := time.Now()
	ours := newAuthority(t, now)
	dir := t.TempDir()
	put(t, dir, issue(t, ours, Agent, now, day), ours.Cert())
	s := FromDir(dir, logTo(new(bytes.Buffer)))
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the files are away: %v", err)
	}
	s.now = func() time.Time { return now.Add(2 * day) }
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "expired at") || !errors.Is(err, ErrNone) {
		t.Errorf("expired: %v", err)
	}
}

func TestAuthority(t *testing.T) {
	now := time.Now()
	a, other := newAuthority(t, now), newAuthority(t, now)
	stored, err := a.Pair()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseAuthority(stored)
	if err != nil || !bytes.Equal(again.Cert(), a.Cert()) {
		t.Fatalf("parsed again: %v", err)
	}
	if a.NotAfter().Sub(now).Round(day) != AuthorityLife || a.RenewAt().Sub(now).Round(day) != 243*day {
		t.Errorf("valid to %s, renewed %s", a.NotAfter(), a.RenewAt())
	}
	p := issue(t, again, Agent, now, LeafLife)
	foreign := issue(t, other, Agent, now, LeafLife)
	for _, tc := range []struct {
		name string
		pair Pair
		role Role
		at   time.Time
		want error
	}{
		{"good", p, Agent, now, nil},
		{"good for long", p, Agent, now.Add(19 * day), nil},
		{"due", p, Agent, now.Add(21 * day), ErrDue},
		{"expired", p, Agent, now.Add(31 * day), ErrDue},
		{"the clock went back", p, Agent, now.Add(-day), ErrDue},
		{"of another authority", foreign, Agent, now, ErrAuthority},
		{"for another role", issue(t, a, Router, now, LeafLife), Agent, now, errAny},
		{"with a wrong URI", strange(t, a, []string{Agent.URI()}), Router, now, ErrRole},
		{"of two", Pair{p.Cert, foreign.Key}, Agent, now, errAny},
		{"empty", Pair{}, Agent, now, errAny},
	} {
		err := a.Check(tc.pair, tc.role, tc.at)
		if (err == nil) != (tc.want == nil) || tc.want != errAny && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	for name, p := range map[string]Pair{"a leaf": p, "nothing": {}, "another's key": {Cert: a.Cert(), Key: foreign.Key}} {
		if _, err := ParseAuthority(p); err == nil {
			t.Errorf("%s was taken for an authority", name)
		}
	}
}

// errAny stands for an error that has no name.
var errAny = errors.New("any error")

// TestLeafEndsWithItsAuthority: nothing is believed longer than who made it.
func TestLeafEndsWithItsAuthority(t *testing.T) {
	now := time.Now()
	a := newAuthority(t, now.Add(day-AuthorityLife))
	pair, err := issue(t, a, Agent, now, LeafLife).parse()
	if err != nil || pair.Leaf.NotAfter.After(a.NotAfter()) {
		t.Errorf("leaf to %s, authority to %s, %v", pair.Leaf.NotAfter, a.NotAfter(), err)
	}
}

func TestBundle(t *testing.T) {
	now := time.Now()
	a, b, expired := newAuthority(t, now), newAuthority(t, now), newAuthority(t, now.Add(-2*AuthorityLife))
	got, err := Bundle(now, a.Cert(), nil, expired.Cert(), append(b.Cert(), a.Cert()...))
	if want := append(a.Cert(), b.Cert()...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := Bundle(now, a.Cert(), []byte("junk")); err == nil {
		t.Error("junk was taken into a bundle")
	}
}

package mtls

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

const day = 24 * time.Hour

func newAuthority(t *testing.T, now time.Time) *Authority {
	t.Helper()
	a, err := NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, role Role, now time.Time, life time.Duration) Pair {
	t.Helper()
	p, err := a.Issue(role, now, life)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// source is one set by code.
func source(t *testing.T, p Pair, bundle ...[]byte) *Source {
	t.Helper()
	s := FromCode()
	if err := s.Set(p, bytes.Join(bundle, nil)); err != nil {
		t.Fatal(err)
	}
	return s
}

// echo is a TLS server that sends back what it gets, until the test ends.
type echo struct {
	address string
	refused chan error // of handshakes that failed
}

func newEcho(t *testing.T, config *tls.Config) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	e := &echo{address: l.Addr().String(), refused: make(chan error, 10)}
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go e.serve(tls.Server(raw, config))
		}
	}()
	return e
}

func (e *echo) serve(c *tls.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if err := c.Handshake(); err != nil {
		e.refused <- err
		return
	}
	_, _ = io.Copy(c, c)
}

// ask sends something over a connection and wants it back. With TLS 1.3 a
// client learns only so that it was refused.
func ask(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != "ping" {
		return errors.New("got something else back")
	}
	return nil
}

// dial makes a connection and proves that it works.
func (e *echo) dial(config *tls.Config) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", e.address, config)
	if err != nil {
		return nil, err
	}
	if err := ask(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// works says that a new connection works.
func (e *echo) works(config *tls.Config) error {
	c, err := e.dial(config)
	if err != nil {
		return err
	}
	return c.Close()
}

func TestServerRefuses(t *testing.T) {
	now := time.Now()
	ours, theirs := newAuthority(t, now), newAuthority(t, now)
	server := source(t, issue(t, ours, Agent, now, day), ours.Cert())
	e := newEcho(t, server.Server(Router))
	// The client shows whatever it has, and does not refuse to by itself.
	client := func(p Pair) *tls.Config {
		config, m := source(t, p, ours.Cert()).Client(Agent), material{}
		m.pair, _ = p.parse()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.pair, nil }
		config.VerifyConnection = nil
		return config
	}
	good := issue(t, ours, Router, now, day)
	old := client(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	none := client(good)
	none.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	for _, tc := range []struct {
		name   string
		client *tls.Config
		want   string // in the server's error; "" when it is let in
	}{
		{"the router", client(good), ""},
		{"a certificate of another authority", client(issue(t, theirs, Router, now, day)), "unknown authority"},
		{"an expired certificate", client(issue(t, ours, Router, now.Add(-2*day), day)), "expired"},
		{"a certificate that is not valid yet", client(issue(t, ours, Router, now.Add(day), day)), "not yet valid"},
		{"another agent's certificate", client(issue(t, ours, Agent, now, day)), "incompatible key usage"},
		{"no certificate", none, "didn't provide a certificate"},
		{"TLS 1.2", old, "unsupported versions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := e.works(tc.client)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was let in")
			}
			if refused := <-e.refused; !strings.Contains(refused.Error(), tc.want) {
				t.Errorf("the server says %q, want %q", refused, tc.want)
			}
		})
	}
	t.Run("plain text", func(t *testing.T) {
		c, err := net.Dial("tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if refused := <-e.refused; !strings.Contains(refused.Error(), "does not look like a TLS handshake") {
			t.Error(refused)
		}
	})
}

func TestClientRefuses(t *testing.T) {
	now := time.Now()
	ours, theirs := newAuthority(t, now), newAuthority(t, now)
	router := source(t, issue(t, ours, Router, now, day), ours.Cert()).Client(Agent)
	for _, tc := range []struct {
		name   string
		server Pair
		want   string
	}{
		{"an agent", issue(t, ours, Agent, now, day), ""},
		{"an agent of another authority", issue(t, theirs, Agent, now, day), "unknown authority"},
		{"an expired agent", issue(t, ours, Agent, now.Add(-2*day), day), "expired"},
		{"an agent of tomorrow", issue(t, ours, Agent, now.Add(day), day), "not yet valid"},
		{"a router", issue(t, ours, Router, now, day), "incompatible key usage"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := source(t, tc.server, ours.Cert())
			s.now = func() time.Time { return now.Add(-day + time.Minute) } // it believes itself
			m, err := newMaterial(tc.server, ours.Cert())
			if err != nil {
				t.Fatal(err)
			}
			err = newEcho(t, m.server(Router, time.Now)).works(router)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOldServerIsRefused(t *testing.T) {
	now := time.Now()
	ours := newAuthority(t, now)
	m, err := newMaterial(issue(t, ours, Agent, now, day), ours.Cert())
	if err != nil {
		t.Fatal(err)
	}
	old := m.server(Router, time.Now)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := newEcho(t, old).works(source(t, issue(t, ours, Router, now, day), ours.Cert()).Client(Agent)); err == nil {
		t.Error("a server of TLS 1.2 was taken")
	}
}

// TestRoleIsExact: the right use of the key is not enough, and neither is the
// right URI among others.
func TestRoleIsExact(t *testing.T) {
	now := time.Now()
	ours := newAuthority(t, now)
	server := source(t, issue(t, ours, Agent, now, day), ours.Cert())
	e := newEcho(t, server.Server(Router))
	for _, tc := range []struct {
		name string
		uris []string
		want bool
	}{
		{"its own", []string{Router.URI()}, true},
		{"none", nil, false},
		{"longer", []string{Router.URI() + "s"}, false},
		{"below it", []string{Router.URI() + "/x"}, false},
		{"another domain", []string{"spiffe://csi.lvme.dev.example.org/router"}, false},
		{"http", []string{"https://csi.lvme.dev/router"}, false},
		{"one more", []string{Router.URI(), "spiffe://csi.lvme.dev/agent"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := strange(t, ours, tc.uris)
			err := e.works(source(t, p, ours.Cert()).Client(Agent))
			if (err == nil) != tc.want {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				return
			}
			if refused := <-e.refused; !errors.Is(refused, ErrRole) {
				t.Error(refused)
			}
		})
	}
}

func TestNothingYet(t *testing.T) {
	now := time.Now()
	ours := newAuthority(t, now)
	router := source(t, issue(t, ours, Router, now, day), ours.Cert())
	dir := t.TempDir()
	var log bytes.Buffer
	s := FromDir(dir, logTo(&log))
	e := newEcho(t, s.Server(Router))
	if err := s.Err(); !errors.Is(err, ErrNone) {
		t.Errorf("it says %v", err)
	}
	for range 3 {
		if err := e.works(router.Client(Agent)); err == nil {
			t.Fatal("it was let in without a certificate")
		}
		if err := <-e.refused; !errors.Is(err, ErrNone) {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "certificate cannot be read"); n != 1 {
		t.Errorf("it was logged %d times:\n%s", n, log.String())
	}
	if err := FromCode().Client(Agent).VerifyConnection(tls.ConnectionState{}); !errors.Is(err, ErrNone) {
		t.Errorf("a client without anything: %v", err)
	}
	put(t, dir, issue(t, ours, Agent, now, day), ours.Cert())
	if err := errors.Join(s.Err(), e.works(router.Client(Agent))); err != nil {
		t.Error(err)
	}
	if s.Expiry().Before(now.Add(day - time.Minute)) {
		t.Errorf("expires %s", s.Expiry())
	}
}

// logTo is a logger that writes text.
func logTo(b *bytes.Buffer) klog.Logger {
	return textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(b)))
}

// put writes the three files as the kubelet does: into a new directory, which
// a symbolic link is then moved to. "" leaves a file out.
func put(t *testing.T, dir string, p Pair, bundle []byte) {
	t.Helper()
	version := filepath.Join(dir, fmt.Sprintf("..v%d", time.Now().UnixNano()))
	if err := os.Mkdir(version, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{CertFile: p.Cert, KeyFile: p.Key, CAFile: bundle} {
		if err := os.WriteFile(filepath.Join(version, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
			t.Fatal(err)
		}
	}
	next := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

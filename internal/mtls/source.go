package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// The files of a directory, those of a Kubernetes TLS Secret. ca.crt holds the
// bundle of authorities.
const (
	CertFile = "tls.crt"
	KeyFile  = "tls.key"
	CAFile   = "ca.crt"
)

// ErrNone says that there is no certificate yet.
var ErrNone = errors.New("no certificate yet")

// material is all that one handshake needs.
type material struct {
	pair   tls.Certificate
	bundle *x509.CertPool
}

// Source is where a process has its certificate from. Its methods may be called
// at the same time.
type Source struct {
	dir string // "" when it is set by code
	log klog.Logger
	now func() time.Time

	mu   sync.Mutex
	have *material
	// fault is why what there is now cannot be used; have may be older.
	fault error
	said  string // what was last logged of it
	stamp stamp
}

// FromDir reads the three files below dir, and again whenever they changed: at
// a handshake it looks whether they did. Files that are missing, half-written
// or do not belong together are reported to log once, and what was read before
// is used on.
func FromDir(dir string, log klog.Logger) *Source {
	return &Source{dir: dir, log: log, now: time.Now, fault: ErrNone}
}

// FromCode has nothing until Set is called.
func FromCode() *Source { return &Source{now: time.Now, fault: ErrNone} }

// Set has handshakes use this pair and this bundle from now on. After an error
// what was set before is used on. It is for a Source made by FromCode.
func (s *Source) Set(p Pair, bundle []byte) error {
	m, err := newMaterial(p, bundle)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have, s.fault = m, nil
	return nil
}

// Err is nil while connections can be made, else it says why not: ErrNone
// before there is a certificate, and an error once it has expired.
func (s *Source) Err() error {
	_, err := s.current()
	return err
}

// Expiry is when the certificate in use expires, zero for none.
func (s *Source) Expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have == nil {
		return time.Time{}
	}
	return s.have.pair.Leaf.NotAfter
}

// current is what to use now.
func (s *Source) current() (*material, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		s.refresh()
	}
	if s.have == nil {
		return nil, s.fault
	}
	if leaf := s.have.pair.Leaf; s.now().After(leaf.NotAfter) {
		return nil, errors.Join(fmt.Errorf("own certificate expired at %s", text(leaf.NotAfter)), s.fault)
	}
	return s.have, nil
}

// refresh reads the files if they changed since they were last read. The stamp
// is taken before: what changes while they are read is read again.
func (s *Source) refresh() {
	now, err := readStamp(s.dir)
	if err == nil && now == s.stamp {
		return
	}
	s.stamp = now
	var m *material
	if err == nil {
		m, err = readMaterial(s.dir)
	}
	s.fault = err
	if err != nil {
		s.complain(err.Error())
		return
	}
	s.have, s.said = m, ""
	s.log.Info("certificate read", "dir", s.dir, "subject", m.pair.Leaf.Subject.String(), "expires", text(m.pair.Leaf.NotAfter))
}

// complain logs a fault once, not at every handshake.
func (s *Source) complain(fault string) {
	if fault == s.said {
		return
	}
	s.said = fault
	s.log.Error(nil, "certificate cannot be read: the one before is used on; without one, nobody can connect", "because", fault)
}

// file tells one state of a file from another.
type file struct {
	dev, ino uint64
	size     int64
	changed  unix.Timespec
}

// stamp is the state of the three files.
type stamp [3]file

func readStamp(dir string) (s stamp, err error) {
	for i, name := range []string{CertFile, KeyFile, CAFile} {
		path := filepath.Join(dir, name)
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return stamp{}, missing(&fs.PathError{Op: "stat", Path: path, Err: err})
		}
		s[i] = file{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, changed: st.Ctim} //nolint:unconvert // not on every machine
	}
	return s, nil
}

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	return err
}

func readMaterial(dir string) (*material, error) {
	var texts [3][]byte
	for i, name := range []string{CertFile, KeyFile, CAFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, missing(err)
		}
		texts[i] = text
	}
	m, err := newMaterial(Pair{Cert: texts[0], Key: texts[1]}, texts[2])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}

func newMaterial(p Pair, bundle []byte) (*material, error) {
	pair, err := p.parse()
	if err != nil {
		return nil, err
	}
	authorities, err := parseCertificates(bundle)
	if err != nil {
		return nil, fmt.Errorf("bundle of authorities: %w", err)
	}
	m := &material{pair: pair, bundle: x509.NewCertPool()}
	for _, c := range authorities {
		m.bundle.AddCert(c)
	}
	return m, nil
}

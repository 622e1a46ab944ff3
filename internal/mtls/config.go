package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// http2 is what gRPC speaks.
const http2 = "h2"

// Server is the configuration of a server whose clients must be of the role
// peer. Each handshake uses what the source has at that moment, and fails while
// it has nothing.
func (s *Source) Server(peer Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{http2},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m, err := s.current()
			if err != nil {
				return nil, err
			}
			return m.server(peer, s.now), nil
		},
	}
}

// server is the configuration of one handshake.
func (m *material) server(peer Role, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{http2},
		Certificates: []tls.Certificate{m.pair},
		ClientAuth:   tls.RequireAnyClientCert, // VerifyConnection judges it
		// Every connection proves anew who is at its other end.
		SessionTicketsDisabled: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			return verify(c.PeerCertificates, m.bundle, peer, now())
		},
	}
}

// Client is the configuration of a client whose servers must be of the role
// peer. Each handshake uses what the source has at that moment, and fails while
// it has nothing. The name of the host that was dialled is not compared.
func (s *Source) Client(peer Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{http2},
		// It switches off the verification against the system's authorities and
		// the host's name. VerifyConnection verifies instead, always: Go calls
		// it in every handshake and fails without it.
		InsecureSkipVerify: true, //nolint:gosec // see above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			m, err := s.current()
			if err != nil {
				return nil, err
			}
			return &m.pair, nil
		},
		VerifyConnection: func(c tls.ConnectionState) error {
			m, err := s.current()
			if err != nil {
				return err
			}
			return verify(c.PeerCertificates, m.bundle, peer, s.now())
		},
	}
}

// verify judges what a peer showed: a chain to an authority of the bundle, each
// certificate valid now, made for what the role does, and the role itself.
func verify(shown []*x509.Certificate, bundle *x509.CertPool, role Role, now time.Time) error {
	if len(shown) == 0 {
		return errors.New("the peer has shown no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{
		Roots: bundle, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{role.usage()},
	})
	if err != nil {
		return fmt.Errorf("certificate of %q, valid from %s to %s: %w",
			shown[0].Subject, text(shown[0].NotBefore), text(shown[0].NotAfter), err)
	}
	return role.check(shown[0])
}

package plane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime is that of all certificates. They are valid from an hour ago on, since the clocks of nodes may be behind.
const lifetime = 365 * 24 * time.Hour

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte // the certificate
}

// pair is a certificate and its key, both as PEM.
type pair struct {
	cert, key []byte
}

// subject is whom a certificate is for. One with addresses or names is a server, any other a client.
type subject struct {
	name      string   // Kubernetes' user
	groups    []string // and its groups
	addresses []net.IP
	names     []string
}

func newAuthority(name string) (*authority, error) {
	template := newTemplate(pkix.Name{CommonName: name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of %s: %w", name, err)
	}
	return &authority{cert, key, encode("CERTIFICATE", raw)}, nil
}

// issue makes a key for a subject, and signs its certificate.
func (a *authority) issue(s subject) (pair, error) {
	template := newTemplate(pkix.Name{CommonName: s.name, Organization: s.groups})
	template.IPAddresses, template.DNSNames = s.addresses, s.names
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(s.addresses)+len(s.names) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign the certificate of %s: %w", s.name, err)
	}
	private, err := encodeKey(key)
	return pair{encode("CERTIFICATE", raw), private}, err
}

func newTemplate(name pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      name,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
	}
}

// newKey makes a key on a curve: an emulated CPU takes its time for RSA.
func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("EC PRIVATE KEY", raw), nil
}

func encodePublicKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	return encode("PUBLIC KEY", raw), nil
}

func encode(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

// write puts the pair into NAME.crt and NAME.key.
func (p pair) write(name string) error {
	if err := os.WriteFile(name+".crt", p.cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".key", p.key, 0o600)
}

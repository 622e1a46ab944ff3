package mtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

const (
	// AuthorityLife is how long an authority that NewAuthority makes is valid.
	AuthorityLife = 365 * 24 * time.Hour
	// LeafLife is the usual life of what it issues.
	LeafLife = 30 * 24 * time.Hour
	// skew is how long before it is made a certificate is valid: the clocks of
	// nodes differ.
	skew = time.Hour
)

// Why a pair may not be used any longer.
var (
	// ErrDue says that it is time to renew it; it may still be valid.
	ErrDue = errors.New("certificate is due for renewal")
	// ErrAuthority says that another authority made it.
	ErrAuthority = errors.New("certificate is of another authority")
)

// Authority makes certificates for the roles.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority makes an authority that is valid from now on.
func NewAuthority(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of an authority: %w", err)
	}
	serial := serialNumber()
	template := &x509.Certificate{
		SerialNumber: serial,
		// Told apart by their names too, for those who look at a bundle.
		Subject:   pkix.Name{CommonName: "lvme authority " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore: now.Add(-skew), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of an authority: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// ParseAuthority reads an authority that was stored. If its certificate is
// followed by others, they are ignored.
func ParseAuthority(p Pair) (*Authority, error) {
	pair, err := p.parse()
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("authority: the certificate is not one of an authority")
	}
	return &Authority{cert: pair.Leaf, key: key}, nil
}

// Pair is the authority as ParseAuthority reads it. Its key lets everybody who
// has it be the router.
func (a *Authority) Pair() (Pair, error) {
	key, err := encodeKey(a.key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: a.Cert(), Key: key}, nil
}

// Cert is the authority's certificate in PEM, for a bundle.
func (a *Authority) Cert() []byte { return encodeCertificate(a.cert.Raw) }

// NotAfter is when the authority's certificate expires.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// RenewAt is when a successor should be made and announced.
func (a *Authority) RenewAt() time.Time { return RenewAt(a.cert) }

// Issue makes a new key and a certificate for it that is valid from now on for
// that long, but not longer than the authority.
func (a *Authority) Issue(role Role, now time.Time, life time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key for role %s: %w", role, err)
	}
	uri, err := url.Parse(role.URI())
	if err != nil {
		return Pair{}, fmt.Errorf("role %q: %w", role, err)
	}
	template := &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: "lvme " + string(role)},
		NotBefore: now.Add(-skew), NotAfter: earlier(now.Add(life), a.cert.NotAfter),
		URIs: []*url.URL{uri}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{role.usage()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("make a certificate for role %s: %w", role, err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: encodeCertificate(der), Key: text}, nil
}

// Check says whether a pair that was issued earlier may be used on: nil, or
// why a new one has to be issued (ErrDue, ErrAuthority, ErrRole, damage).
func (a *Authority) Check(p Pair, role Role, now time.Time) error {
	pair, err := p.parse()
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if err := pair.Leaf.CheckSignatureFrom(a.cert); err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	if now.Before(pair.Leaf.NotBefore) || !now.Before(RenewAt(pair.Leaf)) {
		return fmt.Errorf("%w: valid from %s to %s", ErrDue, text(pair.Leaf.NotBefore), text(pair.Leaf.NotAfter))
	}
	return verify([]*x509.Certificate{pair.Leaf}, roots, role, now)
}

// serialNumber is random, so that nobody has to remember the last.
func serialNumber() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func text(t time.Time) string { return t.UTC().Format(time.RFC3339) }

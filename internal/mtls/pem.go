package mtls

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY" // PKCS #8
)

// Pair is a certificate and its key, both in PEM: tls.crt and tls.key of a
// Kubernetes TLS Secret.
type Pair struct {
	Cert []byte
	Key  []byte
}

// parse takes the pair apart; key and certificate must belong together. Errors
// never quote what they are about.
func (p Pair) parse() (tls.Certificate, error) {
	if _, err := parseCertificates(p.Cert); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate and key: %w", err)
	}
	return pair, nil
}

// parseCertificates reads one or more certificates, and nothing else.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("a PEM block is a %q, not a certificate", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all, text = append(all, c), rest
	}
	switch {
	case len(all) == 0:
		return nil, errors.New("no certificate in PEM form")
	case len(bytes.TrimSpace(text)) > 0: // as in a file that is being written
		return nil, errors.New("something that is no PEM block follows the last certificate")
	}
	return all, nil
}

// Bundle joins certificates of authorities, each once and in the order given,
// without those that have expired by now. A process that is given it believes
// all of them: so a new authority is announced before it is used, and an old
// one is believed until what it made is gone. Empty ones are left out.
func Bundle(now time.Time, pems ...[]byte) ([]byte, error) {
	var out []byte
	seen := map[string]bool{}
	for _, text := range pems {
		if len(text) == 0 {
			continue
		}
		all, err := parseCertificates(text)
		if err != nil {
			return nil, fmt.Errorf("bundle of authorities: %w", err)
		}
		for _, c := range all {
			if !seen[string(c.Raw)] && now.Before(c.NotAfter) {
				seen[string(c.Raw)] = true
				out = append(out, encodeCertificate(c.Raw)...)
			}
		}
	}
	return out, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

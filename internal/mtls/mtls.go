// Package mtls lets the router and the agents know each other: mutual TLS 1.3
// with certificates of their own authorities.
//
// An Authority makes certificates for two roles, Router and Agent, and says
// when each is to be renewed. A Source holds one process's certificate, key and
// the bundle of authorities that it believes, from a directory or set by code,
// and turns them into tls.Configs that follow every change without a restart.
//
// A role is a URI in the certificate and nothing else is: host names and
// addresses are not compared, since the router dials pods by their addresses.
// The package stores nothing, knows no Kubernetes and never logs a key.
package mtls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Role is what a certificate makes its holder.
type Role string

// The roles. The router is the client of agents, which serve.
const (
	Router Role = "router"
	Agent  Role = "agent"
)

// trustDomain is that of the roles' URIs, the name of the driver.
const trustDomain = "csi.lvme.dev"

// URI is the URI that stands for the role as a subject alternative name; there
// must be no other URI in the certificate.
func (r Role) URI() string { return "spiffe://" + trustDomain + "/" + string(r) }

// usage is what a certificate of the role has to be made for.
func (r Role) usage() x509.ExtKeyUsage {
	if r == Router {
		return x509.ExtKeyUsageClientAuth
	}
	return x509.ExtKeyUsageServerAuth
}

// ErrRole says that a certificate is of another role, or of none.
var ErrRole = errors.New("certificate is of another role")

// check says whether the certificate is one of the role.
func (r Role) check(leaf *x509.Certificate) error {
	if len(leaf.URIs) == 1 && leaf.URIs[0].String() == r.URI() {
		return nil
	}
	return fmt.Errorf("%w: it has the URIs %q, wanted is %s alone", ErrRole, leaf.URIs, r.URI())
}

// RenewAt is when a certificate is to be renewed: when two thirds of its life
// are over.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

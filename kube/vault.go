package kube

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/internal/mtls"
)

// The Secrets that the keeper makes.
const (
	SecretAuthority = "lvme-ca"
	SecretAgent     = "lvme-agent-tls"  //nolint:gosec // a name
	SecretRouter    = "lvme-router-tls" //nolint:gosec // a name
)

// What stands in SecretAuthority.
const (
	keyCert     = "ca.crt"
	keyKey      = "ca.key"
	keyNextCert = "next.crt"
	keyNextKey  = "next.key"
	// keyOld are authorities that are still believed and issue nothing more.
	keyOld = "old.crt"

	// noteSince and noteNextSince are when every bundle had the authority.
	noteSince     = "lvme.dev/announced"
	noteNextSince = "lvme.dev/next-announced"
	// noteOldUntil is when the last certificate of old authorities expires.
	noteOldUntil = "lvme.dev/old-until"
)

const (
	// announce is how long a new authority is in everybody's bundle before it
	// issues anything: the kubelet takes up to two minutes to bring a changed
	// Secret to a pod, and longer when it is busy.
	announce = 15 * time.Minute
	// afterwards is how long an old authority is believed after its last
	// certificate expired: the clocks of nodes differ.
	afterwards = time.Hour
)

// vault is the state of the authorities. An authority lives in three steps:
// announced as next, issuing, and old. Each step is one write of one Secret,
// and from what is stored alone follows the next one, so a crash between two
// writes changes nothing but the time.
type vault struct {
	issuing, next    *mtls.Authority
	old              []byte // certificates
	since, nextSince time.Time
	oldUntil         time.Time
}

// readVault reads the Secret; nil is an empty vault.
func readVault(s *corev1.Secret) (v vault, err error) {
	if s == nil {
		return vault{}, nil
	}
	if v.issuing, err = readAuthority(s, keyCert, keyKey); err != nil {
		return vault{}, err
	}
	if v.next, err = readAuthority(s, keyNextCert, keyNextKey); err != nil {
		return vault{}, err
	}
	v.old = s.Data[keyOld]
	for _, n := range []struct {
		note string
		to   *time.Time
	}{{noteSince, &v.since}, {noteNextSince, &v.nextSince}, {noteOldUntil, &v.oldUntil}} {
		if text := s.Annotations[n.note]; text != "" {
			if *n.to, err = time.Parse(time.RFC3339, text); err != nil {
				return vault{}, fmt.Errorf("annotation %s: %w", n.note, err)
			}
		}
	}
	return v, nil
}

func readAuthority(s *corev1.Secret, cert, key string) (*mtls.Authority, error) {
	if len(s.Data[cert]) == 0 && len(s.Data[key]) == 0 {
		return nil, nil
	}
	a, err := mtls.ParseAuthority(mtls.Pair{Cert: s.Data[cert], Key: s.Data[key]})
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", cert, key, err)
	}
	return a, nil
}

// secret is the vault as it is stored, upon what is stored now (nil for nothing).
func (v vault) secret(was *corev1.Secret) (*corev1.Secret, error) {
	s := newSecret(SecretAuthority, corev1.SecretTypeOpaque)
	if was != nil {
		s = was.DeepCopy()
	}
	s.Data = map[string][]byte{}
	for _, a := range []struct {
		authority *mtls.Authority
		cert, key string
	}{{v.issuing, keyCert, keyKey}, {v.next, keyNextCert, keyNextKey}} {
		if a.authority == nil {
			continue
		}
		p, err := a.authority.Pair()
		if err != nil {
			return nil, err
		}
		s.Data[a.cert], s.Data[a.key] = p.Cert, p.Key
	}
	if len(v.old) > 0 {
		s.Data[keyOld] = v.old
	}
	note(s, noteSince, v.since)
	note(s, noteNextSince, v.nextSince)
	note(s, noteOldUntil, v.oldUntil)
	return s, nil
}

func newSecret(name string, of corev1.SecretType) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedBy: "lvme"}}, Type: of}
}

func note(s *corev1.Secret, name string, t time.Time) {
	if t.IsZero() {
		delete(s.Annotations, name)
		return
	}
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, name, t.UTC().Format(time.RFC3339))
}

// bundle are the certificates of all authorities that are to be believed.
func (v vault) bundle(now time.Time) ([]byte, error) {
	certs := [][]byte{v.issuing.Cert()}
	if v.next != nil {
		certs = append(certs, v.next.Cert())
	}
	return mtls.Bundle(now, append(certs, v.old)...)
}

// advance takes the step that is due, if any. Bundles are those that are out
// there. Nothing changes in the vault that is not to be stored.
func (v *vault) advance(now time.Time, bundles [][]byte) (changed bool, err error) {
	switch {
	case v.issuing == nil:
		// Whoever removed the Secret has not removed what was issued before.
		if old, err := mtls.Bundle(now, bundles...); err == nil && len(old) > 0 {
			v.old, v.oldUntil = old, now.Add(mtls.LeafLife+afterwards)
		}
		v.issuing, err = mtls.NewAuthority(now)
		v.since = time.Time{}
		return true, err
	case v.next == nil && !now.Before(v.issuing.RenewAt()):
		v.next, err = mtls.NewAuthority(now)
		v.nextSince = time.Time{}
		return true, err
	case v.next != nil && !v.nextSince.IsZero() && !everywhere(bundles, v.next):
		v.nextSince = time.Time{} // somebody took it out: begin anew
		return true, nil
	case v.next != nil && (settled(v.nextSince, now) || !now.Before(v.issuing.NotAfter())):
		v.old = append(bytes.Clone(v.issuing.Cert()), v.old...)
		v.oldUntil = now.Add(mtls.LeafLife + afterwards)
		v.issuing, v.since, v.next, v.nextSince = v.next, v.nextSince, nil, time.Time{}
		return true, nil
	case len(v.old) > 0 && now.After(v.oldUntil):
		v.old, v.oldUntil = nil, time.Time{}
		return true, nil
	}
	return false, nil
}

// announced takes in that every bundle has all authorities.
func (v *vault) announced(now time.Time) (changed bool) {
	if v.since.IsZero() {
		v.since, changed = now, true
	}
	if v.next != nil && v.nextSince.IsZero() {
		v.nextSince, changed = now, true
	}
	return changed
}

func settled(since, now time.Time) bool { return !since.IsZero() && now.Sub(since) >= announce }

func everywhere(bundles [][]byte, a *mtls.Authority) bool {
	for _, b := range bundles {
		if !bytes.Contains(b, a.Cert()) {
			return false
		}
	}
	return true
}

// pair is what the role is to have, if it has that now. The new authority's
// certificates are issued once everybody believes it; until then one of an
// older authority is kept, as long as it is valid.
func (v vault) pair(role mtls.Role, now time.Time, has mtls.Pair, bundle []byte) (p mtls.Pair, changed bool, err error) {
	why := v.issuing.Check(has, role, now)
	if why == nil {
		return has, false, nil
	}
	if errors.Is(why, mtls.ErrAuthority) && !settled(v.since, now) && believed(has, bundle, now) {
		return has, false, nil
	}
	p, err = v.issuing.Issue(role, now, mtls.LeafLife)
	return p, true, err
}

// believed says that the pair is whole, and valid long enough for a new
// authority to be announced.
func believed(p mtls.Pair, bundle []byte, now time.Time) bool {
	s := mtls.FromCode()
	return s.Set(p, bundle) == nil && s.Expiry().Sub(now) > 2*announce
}

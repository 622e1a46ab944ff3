package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/internal/mtls"
)

// keepEvery is how often the keeper looks at its Secrets.
const keepEvery = time.Minute

// keeper makes and rotates the authorities and the certificates of both roles.
// One replica does it at a time, and if two should, the API server refuses the
// later write of the same Secret.
type keeper struct {
	client    kubernetes.Interface
	namespace string
	now       func() time.Time
}

// holder is a Secret with the certificate of a role, as the keeper found it.
type holder struct {
	name   string
	role   mtls.Role
	secret *corev1.Secret // nil when it is not there
}

func (h *holder) bundle() []byte {
	if h.secret == nil {
		return nil
	}
	return h.secret.Data[mtls.CAFile]
}

// run keeps them until ctx ends. What fails is tried again at the next look.
func (k *keeper) run(ctx context.Context) {
	every(ctx, keepEvery, func() {
		if err := k.keep(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "certificates cannot be kept; those that there are go on being used")
		}
	})
}

// keep looks at the three Secrets and does what is due: at most one step of the
// authorities, then the certificates and bundles, and when all bundles are out,
// a note of it. Each write depends on what is stored alone, so that it may be
// the last one before a crash.
func (k *keeper) keep(ctx context.Context) error {
	stored, err := k.get(ctx, SecretAuthority)
	if err != nil {
		return err
	}
	holders := []*holder{{name: SecretAgent, role: mtls.Agent}, {name: SecretRouter, role: mtls.Router}}
	var bundles [][]byte
	for _, h := range holders {
		if h.secret, err = k.get(ctx, h.name); err != nil {
			return err
		}
		bundles = append(bundles, h.bundle())
	}
	v, err := readVault(stored)
	if err != nil {
		return fmt.Errorf("secret %s/%s is damaged; after its deletion a new authority is made and announced: %w", k.namespace, SecretAuthority, err)
	}
	changed, err := v.advance(k.now(), bundles)
	if err != nil {
		return err
	}
	if changed {
		if stored, err = k.store(ctx, v, stored); err != nil {
			return err
		}
	}
	for _, h := range holders {
		if err := k.equip(ctx, v, h); err != nil {
			return err
		}
	}
	if v.announced(k.now()) {
		_, err = k.store(ctx, v, stored)
	}
	return err
}

// get reads a Secret, nil when there is none.
func (k *keeper) get(ctx context.Context, name string) (*corev1.Secret, error) {
	s, err := k.client.CoreV1().Secrets(k.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s/%s: %w", k.namespace, name, err)
	}
	return s, nil
}

// put writes a Secret that was made of what get returned: nobody may have
// changed it meanwhile.
func (k *keeper) put(ctx context.Context, s *corev1.Secret) (written *corev1.Secret, err error) {
	secrets := k.client.CoreV1().Secrets(k.namespace)
	if s.ResourceVersion == "" {
		written, err = secrets.Create(ctx, s, metav1.CreateOptions{})
	} else {
		written, err = secrets.Update(ctx, s, metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("write secret %s/%s: %w", k.namespace, s.Name, err)
	}
	return written, nil
}

func (k *keeper) store(ctx context.Context, v vault, was *corev1.Secret) (*corev1.Secret, error) {
	s, err := v.secret(was)
	if err != nil {
		return nil, err
	}
	written, err := k.put(ctx, s)
	if err == nil {
		klog.FromContext(ctx).Info("authorities changed", "issuingUntil", v.issuing.NotAfter(), "next", v.next != nil, "old", len(v.old) > 0)
	}
	return written, err
}

// equip gives a role's Secret the bundle, and a certificate if one is due.
func (k *keeper) equip(ctx context.Context, v vault, h *holder) error {
	now := k.now()
	bundle, err := v.bundle(now)
	if err != nil {
		return err
	}
	s := newSecret(h.name, corev1.SecretTypeTLS)
	if h.secret != nil {
		s = h.secret.DeepCopy()
	}
	p, issued, err := v.pair(h.role, now, pairOf(s), bundle)
	if err != nil {
		return err
	}
	if !issued && bytes.Equal(s.Data[mtls.CAFile], bundle) {
		return nil
	}
	s.Data = map[string][]byte{mtls.CAFile: bundle, mtls.CertFile: p.Cert, mtls.KeyFile: p.Key}
	if _, err := k.put(ctx, s); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("certificates written", "secret", h.name, "role", h.role, "newCertificate", issued)
	return nil
}

func pairOf(s *corev1.Secret) mtls.Pair {
	return mtls.Pair{Cert: s.Data[mtls.CertFile], Key: s.Data[mtls.KeyFile]}
}

// wear has a source use what is in a Secret of a role.
func wear(source *mtls.Source, s *corev1.Secret) error {
	bundle := s.Data[mtls.CAFile]
	if len(bundle) == 0 {
		return errors.New("it has no bundle of authorities")
	}
	return source.Set(pairOf(s), bundle)
}

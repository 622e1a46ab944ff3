package routertest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lvme/lvme/internal/mtls"
)

// Trust is an authority of a test.
type Trust struct {
	tb        testing.TB
	authority *mtls.Authority
}

// NewTrust makes an authority.
func NewTrust(tb testing.TB) *Trust {
	tb.Helper()
	a, err := mtls.NewAuthority(time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return &Trust{tb: tb, authority: a}
}

// Router are a router's credentials, which knows agents of the same authority.
func (t *Trust) Router() credentials.TransportCredentials {
	t.tb.Helper()
	return credentials.NewTLS(t.source(mtls.Router).Client(mtls.Agent))
}

// Agent has an Agent serve routers of the same authority only. Many may share it.
func (t *Trust) Agent() grpc.ServerOption {
	t.tb.Helper()
	return grpc.Creds(credentials.NewTLS(t.source(mtls.Agent).Server(mtls.Router)))
}

// WriteAgent writes an agent's certificate into the files of a directory.
func (t *Trust) WriteAgent(dir string) {
	t.tb.Helper()
	pair := t.issue(mtls.Agent)
	for name, text := range map[string][]byte{mtls.CertFile: pair.Cert, mtls.KeyFile: pair.Key, mtls.CAFile: t.authority.Cert()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.tb.Fatal(err)
		}
	}
}

func (t *Trust) issue(role mtls.Role) mtls.Pair {
	t.tb.Helper()
	pair, err := t.authority.Issue(role, time.Now(), time.Hour)
	if err != nil {
		t.tb.Fatal(err)
	}
	return pair
}

func (t *Trust) source(role mtls.Role) *mtls.Source {
	t.tb.Helper()
	s := mtls.FromCode()
	if err := s.Set(t.issue(role), t.authority.Cert()); err != nil {
		t.tb.Fatal(err)
	}
	return s
}

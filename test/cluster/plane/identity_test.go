package plane

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// written makes the files of a plane that does not run.
func written(t *testing.T, nodes ...string) *Plane {
	t.Helper()
	p := &Plane{config: Config{Dir: t.TempDir(), Address: netip.MustParseAddr("10.88.0.1"), Nodes: nodes}}
	if err := os.Mkdir(filepath.Join(p.config.Dir, "pki"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.writeIdentities(); err != nil {
		t.Fatal(err)
	}
	return p
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := x509.NewCertPool()
	if !all.AppendCertsFromPEM(raw) {
		t.Fatalf("%s holds no certificate", file)
	}
	return all
}

func TestServerIsKnownByItsAddresses(t *testing.T) {
	p := written(t)
	server, err := tls.LoadX509KeyPair(p.file("server.crt"), p.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := pool(t, p.CA())
	for _, name := range []string{"10.88.0.1", "127.0.0.1", "10.96.0.1", "kubernetes.default.svc"} {
		_, err := server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		if err != nil {
			t.Errorf("the API server is not believed to be %s: %v", name, err)
		}
	}
	if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "10.88.0.2"}); err == nil {
		t.Error("the API server may also be 10.88.0.2")
	}
	if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("the API server's certificate is a client's as well")
	}
}

func TestNodeKubeconfig(t *testing.T) {
	p := written(t, "node1", "node2")
	who, server := user(t, nodeConfig(t, p, "node2"))
	if server != "https://10.88.0.1:6443" {
		t.Errorf("the node calls %s", server)
	}
	if who.Subject.CommonName != "system:node:node2" || !slices.Equal(who.Subject.Organization, []string{"system:nodes"}) {
		t.Errorf("the node is %s", who.Subject)
	}
	_, err := who.Verify(x509.VerifyOptions{Roots: pool(t, p.CA()), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		t.Errorf("the node is not believed: %v", err)
	}
	if info, err := os.Stat(nodeConfig(t, p, "node1")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the node's file: %v, %v", info, err)
	}
}

func TestFrontProxyHasAnAuthorityOfItsOwn(t *testing.T) {
	p := written(t)
	proxy, err := tls.LoadX509KeyPair(p.file(proxyClient+".crt"), p.file(proxyClient+".key"))
	if err != nil {
		t.Fatal(err)
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := proxy.Leaf.Verify(x509.VerifyOptions{Roots: pool(t, p.file("front-proxy-ca.crt")), KeyUsages: usages}); err != nil {
		t.Errorf("the front proxy is not believed: %v", err)
	}
	if _, err := proxy.Leaf.Verify(x509.VerifyOptions{Roots: pool(t, p.CA()), KeyUsages: usages}); err == nil {
		t.Error("the front proxy is a user of the cluster")
	}
}

func TestUnknownNode(t *testing.T) {
	if file, err := written(t, "node1").NodeKubeconfig("node2"); err == nil {
		t.Errorf("a node that nobody told of has %s", file)
	}
}

func nodeConfig(t *testing.T, p *Plane, node string) string {
	t.Helper()
	file, err := p.NodeKubeconfig(node)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// user reads whose kubeconfig it is, and the URL in it.
func user(t *testing.T, file string) (*x509.Certificate, string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct {
			Cluster struct{ Server string }
		}
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			}
		}
	}
	if err := yaml.Unmarshal(raw, &config); err != nil || len(config.Users) != 1 || len(config.Clusters) != 1 {
		t.Fatalf("%s cannot be read: %v", file, err)
	}
	pair, err := tls.X509KeyPair(config.Users[0].User.Cert, config.Users[0].User.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf, config.Clusters[0].Cluster.Server
}

package plane

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// The users of the control plane itself, and the files that hold their identities: kubeconfigs of that name, but for
// kubeletClient, which is a pair.
const (
	admin         = "admin"
	kubeletClient = "kube-apiserver-kubelet-client"
	proxyClient   = "front-proxy-client"
)

// masters is the group whose members may do everything.
const masters = "system:masters"

// clients are the users with a kubeconfig, by the file's name.
func clients(nodes []string) map[string]subject {
	all := map[string]subject{
		admin:                {name: "kubernetes-admin", groups: []string{masters}},
		"controller-manager": {name: "system:kube-controller-manager"},
		"scheduler":          {name: "system:kube-scheduler"},
		snapshotController:   {name: snapshotController, groups: []string{masters}},
	}
	for _, node := range nodes {
		all[nodeFile(node)] = subject{name: "system:node:" + node, groups: []string{"system:nodes"}}
	}
	return all
}

func nodeFile(node string) string {
	return "node-" + node
}

// writeIdentities makes everybody's certificates and keys, and the kubeconfigs.
func (p *Plane) writeIdentities() error {
	ca, err := newAuthority("lvme-test-cluster")
	if err != nil {
		return err
	}
	key, err := encodeKey(ca.key)
	if err == nil {
		err = pair{ca.pem, key}.write(p.file("ca"))
	}
	if err != nil {
		return fmt.Errorf("write the cluster's authority: %w", err)
	}
	if err := p.writeServers(ca); err != nil {
		return err
	}
	if err := p.writeProxy(); err != nil {
		return err
	}
	for name, who := range clients(p.config.Nodes) {
		identity, err := ca.issue(who)
		if err != nil {
			return err
		}
		content := kubeconfig(p.server(), ca.pem, identity)
		if err := os.WriteFile(p.kubeconfig(name), content, 0o600); err != nil {
			return fmt.Errorf("write the kubeconfig of %s: %w", name, err)
		}
	}
	return nil
}

// writeServers makes what the servers show, what the API server shows to kubelets, and the key of service accounts.
func (p *Plane) writeServers(ca *authority) error {
	identities := map[string]subject{
		"server": {
			name:      "kube-apiserver",
			addresses: []net.IP{p.config.Address.AsSlice(), net.IPv4(127, 0, 0, 1), net.ParseIP(serviceAddress)},
			names: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			},
		},
		kubeletClient: {name: kubeletClient},
	}
	for name, who := range identities {
		identity, err := ca.issue(who)
		if err == nil {
			err = identity.write(p.file(name))
		}
		if err != nil {
			return fmt.Errorf("write the identity of %s: %w", name, err)
		}
	}
	accounts, err := newKey()
	if err != nil {
		return err
	}
	private, err := encodeKey(accounts)
	if err != nil {
		return err
	}
	public, err := encodePublicKey(accounts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.file("accounts.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(p.file("accounts.pub"), public, 0o644)
}

// writeProxy makes the identity with which the API server hands requests on to other API servers. The authority is one of
// its own: whom it names may speak for anybody.
func (p *Plane) writeProxy() error {
	ca, err := newAuthority("lvme-test-front-proxy")
	if err != nil {
		return err
	}
	identity, err := ca.issue(subject{name: proxyClient})
	if err == nil {
		err = identity.write(p.file(proxyClient))
	}
	if err != nil {
		return fmt.Errorf("write the identity of %s: %w", proxyClient, err)
	}
	return os.WriteFile(p.file("front-proxy-ca.crt"), ca.pem, 0o644)
}

// kubeconfig is a kubeconfig with everything in it.
func kubeconfig(server string, ca []byte, who pair) []byte {
	base := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: lvme
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: user
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: lvme
  context: {cluster: lvme, user: user}
current-context: lvme
`, server, base(ca), base(who.cert), base(who.key))
}

// file is the path of a file of certificates and keys.
func (p *Plane) file(name string) string {
	return filepath.Join(p.config.Dir, "pki", name)
}

// kubeconfig is the path of the kubeconfig of that name.
func (p *Plane) kubeconfig(name string) string {
	return filepath.Join(p.config.Dir, name+".kubeconfig")
}

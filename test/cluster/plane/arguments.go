package plane

import (
	"fmt"
	"net"
	"path/filepath"

	"github.com/lvme/lvme/test/cluster/parts"
)

// The addresses of a control plane, besides the one at which nodes reach it.
const (
	servicePrefix  = "10.96.0.0/16"
	serviceAddress = "10.96.0.1" // of the service "kubernetes", which the nodes have to lead to the API server
	apiPort        = "6443"
	etcdURL        = "http://127.0.0.1:2379"
	etcdPeerURL    = "http://127.0.0.1:2380"

	controllerManagerAddress = "127.0.0.1:10257"
	schedulerAddress         = "127.0.0.1:10259"
)

// snapshotController is the name of the snapshot controller's user and kubeconfig.
const snapshotController = "snapshot-controller"

// server is the URL of the API server.
func (p *Plane) server() string {
	return "https://" + net.JoinHostPort(p.config.Address.String(), apiPort)
}

// arguments are those of a process.
func (p *Plane) arguments(part parts.Part) []string {
	switch part {
	case parts.Etcd:
		return p.etcd()
	case parts.APIServer:
		return p.apiServer()
	case parts.ControllerManager:
		return append(p.component("controller-manager", controllerManagerAddress),
			"--use-service-account-credentials=true",
			"--service-account-private-key-file="+p.file("accounts.key"),
			"--root-ca-file="+p.file("ca.crt"),
			"--cluster-signing-cert-file="+p.file("ca.crt"),
			"--cluster-signing-key-file="+p.file("ca.key"),
			"--allocate-node-cidrs=false", // the nodes' plan is fixed
		)
	case parts.Scheduler:
		return p.component("scheduler", schedulerAddress)
	case parts.SnapshotController:
		return []string{"--kubeconfig=" + p.kubeconfig(snapshotController), "--leader-election=false", "--v=2"}
	}
	panic(fmt.Sprintf("%s is no process of a control plane", part))
}

// etcd keeps its data where the cluster ends: there is nothing to be saved from a power cut.
func (p *Plane) etcd() []string {
	return []string{
		"--data-dir=" + filepath.Join(p.config.Dir, "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + etcdPeerURL,
		"--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=default=" + etcdPeerURL,
		"--log-level=warn",
	}
}

func (p *Plane) apiServer() []string {
	return []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=0.0.0.0",
		"--secure-port=" + apiPort,
		"--advertise-address=" + p.config.Address.String(),
		"--tls-cert-file=" + p.file("server.crt"),
		"--tls-private-key-file=" + p.file("server.key"),
		"--client-ca-file=" + p.file("ca.crt"),
		"--kubelet-client-certificate=" + p.file(kubeletClient+".crt"),
		"--kubelet-client-key=" + p.file(kubeletClient+".key"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--requestheader-client-ca-file=" + p.file("front-proxy-ca.crt"),
		"--requestheader-allowed-names=" + proxyClient,
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + p.file(proxyClient+".crt"),
		"--proxy-client-key-file=" + p.file(proxyClient+".key"),
		"--service-account-key-file=" + p.file("accounts.pub"),
		"--service-account-signing-key-file=" + p.file("accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-cluster-ip-range=" + servicePrefix,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--enable-priority-and-fairness=false",
	}
}

// component are the arguments that the controller manager and the scheduler share.
func (p *Plane) component(name, address string) []string {
	host, port, _ := net.SplitHostPort(address)
	config := p.kubeconfig(name)
	return []string{
		"--kubeconfig=" + config,
		"--authentication-kubeconfig=" + config,
		"--authorization-kubeconfig=" + config,
		"--bind-address=" + host,
		"--secure-port=" + port,
		"--tls-cert-file=" + p.file("server.crt"),
		"--tls-private-key-file=" + p.file("server.key"),
		"--leader-elect=false",
	}
}

package agent_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
)

const day = 24 * time.Hour

func authority(t *testing.T) *mtls.Authority {
	t.Helper()
	a, err := mtls.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func certificate(t *testing.T, a *mtls.Authority, role mtls.Role, from time.Time) mtls.Pair {
	t.Helper()
	p, err := a.Issue(role, from, day)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes a certificate into the directory of an agent.
func put(t *testing.T, dir string, p mtls.Pair, bundle []byte) {
	t.Helper()
	for name, text := range map[string][]byte{mtls.CertFile: p.Cert, mtls.KeyFile: p.Key, mtls.CAFile: bundle} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// dial is a connection to the agent's cluster listener.
func dial(t *testing.T, r *agenttest.Running, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	// As the router does it.
	ping := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}
	conn, err := grpc.NewClient(r.ClusterAddress(), grpc.WithTransportCredentials(c), grpc.WithKeepaliveParams(ping))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// as are the credentials of whoever shows that certificate, whatever it is.
func as(t *testing.T, p mtls.Pair, bundle []byte) credentials.TransportCredentials {
	t.Helper()
	s := mtls.FromCode()
	if err := s.Set(p, bundle); err != nil {
		t.Fatal(err)
	}
	return credentials.NewTLS(s.Client(mtls.Agent))
}

// showing are the credentials of one who shows that certificate even if it has
// expired, and asks nothing of the server.
func showing(t *testing.T, p mtls.Pair) credentials.TransportCredentials {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
}

func inCluster(t *testing.T) agent.Options {
	t.Helper()
	o := agenttest.Options(t)
	o.HTTP, o.ClusterAddress, o.TLSDir = "0", "127.0.0.1:0", t.TempDir()
	return o
}

func probe(t *testing.T, c *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := csi.NewIdentityClient(c).Probe(ctx, &csi.ProbeRequest{})
	return err
}

func TestClusterListenerServesTheRouterOnly(t *testing.T) {
	ours, theirs, now := authority(t), authority(t), time.Now()
	o := inCluster(t)
	put(t, o.TLSDir, certificate(t, ours, mtls.Agent, now), ours.Cert())
	host := agenttest.NewHost(t, 1)
	key := takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()

	router := dial(t, r, as(t, certificate(t, ours, mtls.Router, now), ours.Cert()))
	info, err := csi.NewIdentityClient(router).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || info.GetManifest()[driver.ManifestStore] != key || info.GetManifest()[driver.ManifestNode] != o.NodeID {
		t.Errorf("%v, %v", info, err)
	}
	v, err := csi.NewControllerClient(router).CreateVolume(t.Context(), createRequest("pvc-1"))
	if err != nil || !strings.HasPrefix(v.GetVolume().GetVolumeId(), key+"/") {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := csi.NewNodeClient(router).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("the node service is none of the router's business: %v", err)
	}
	for name, c := range map[string]credentials.TransportCredentials{
		"a certificate of another authority": as(t, certificate(t, theirs, mtls.Router, now), ours.Cert()),
		"another agent's certificate":        as(t, certificate(t, ours, mtls.Agent, now), ours.Cert()),
		"an expired certificate":             showing(t, certificate(t, ours, mtls.Router, now.Add(-2*day))),
		"no certificate":                     credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}),
		"plain text":                         insecure.NewCredentials(),
	} {
		if err := probe(t, dial(t, r, c)); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := probe(t, router); err != nil {
		t.Errorf("the router, after the others: %v", err)
	}
	_, text := get(t, r, "/metrics")
	if strings.Contains(text, "lvme_cluster_refused_total 0") || !strings.Contains(text, "lvme_certificate_expiry_timestamp_seconds 1.") {
		t.Errorf("the refused are not counted, or the expiry is not told:\n%s", text)
	}
}

// TestClusterCertificateComesAndGoes: there is none when the agent starts, and
// another one later, of another authority, while the router is connected.
func TestClusterCertificateComesAndGoes(t *testing.T) {
	first, second, now := authority(t), authority(t), time.Now()
	both := append(first.Cert(), second.Cert()...)
	o := inCluster(t)
	r := agenttest.Start(t, o, agenttest.NewHost(t, 1).Agent()).WaitOpen()
	router := as(t, certificate(t, first, mtls.Router, now), both)
	if err := probe(t, dial(t, r, router)); status.Code(err) != codes.Unavailable {
		t.Fatalf("without a certificate: %v", err)
	}
	put(t, o.TLSDir, certificate(t, first, mtls.Agent, now), both)
	old := dial(t, r, router)
	if err := probe(t, old); err != nil {
		t.Fatal(err)
	}
	put(t, o.TLSDir, certificate(t, second, mtls.Agent, now), second.Cert())
	if err := probe(t, old); err != nil {
		t.Errorf("an open connection after the rotation: %v", err)
	}
	if err := probe(t, dial(t, r, as(t, certificate(t, second, mtls.Router, now), second.Cert()))); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	if err := probe(t, dial(t, r, router)); status.Code(err) != codes.Unavailable {
		t.Errorf("a certificate of the old authority: %v", err)
	}
}

// TestClusterListenerStopsInPeace: a call of the router's that runs is answered.
func TestClusterListenerStopsInPeace(t *testing.T) {
	ours, now := authority(t), time.Now()
	o := inCluster(t)
	put(t, o.TLSDir, certificate(t, ours, mtls.Agent, now), ours.Cert())
	host := agenttest.NewHost(t, 1)
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	router := dial(t, r, as(t, certificate(t, ours, mtls.Router, now), ours.Cert()))
	held := host.LVM.Hold("lvcreate")
	answered := make(chan error, 1)
	go func() {
		_, err := csi.NewControllerClient(router).CreateVolume(context.WithoutCancel(t.Context()), createRequest("pvc-1"))
		answered <- err
	}()
	<-held.Waiting
	r.Signal()
	held.Release()
	if err := <-answered; err != nil {
		t.Errorf("the running call: %v", err)
	}
	r.Stop()
	if c, err := net.Dial("tcp", r.ClusterAddress()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

// TestClusterListenerWaitsForTheStore: the router learns why there is nothing.
func TestClusterListenerWaitsForTheStore(t *testing.T) {
	ours, now := authority(t), time.Now()
	host, o := agenttest.NewHost(t, 1), inCluster(t)
	takeAll(t, agenttest.Options(t), host.Agent()) // under another record
	put(t, o.TLSDir, certificate(t, ours, mtls.Agent, now), ours.Cert())
	router := dial(t, agenttest.Start(t, o, host.Agent()), as(t, certificate(t, ours, mtls.Router, now), ours.Cert()))
	eventually(t, "the reason is told", func() bool {
		_, err := csi.NewControllerClient(router).CreateVolume(t.Context(), createRequest("pvc-1"))
		return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "lvme adopt")
	})
	info, err := csi.NewIdentityClient(router).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || len(info.GetManifest()) != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

package control

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/kube"
)

// calls are calls through the replicas, one after the other, that go on until they are stopped.
type calls struct {
	stop func()

	mu     sync.Mutex
	count  int
	failed []error
}

// call asks each replica for a volume without a pause.
func (r *rig) call(t *testing.T, id string) *calls {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &calls{}
	var work sync.WaitGroup
	c.stop = func() { cancel(); work.Wait() }
	for _, x := range r.replicas {
		conn, err := grpc.NewClient("unix:"+x.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		work.Go(func() {
			for ctx.Err() == nil {
				_, err := csi.NewControllerClient(conn).ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: id})
				c.note(ctx, err)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return c
}

func (c *calls) note(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	c.count++
	if err != nil {
		c.failed = append(c.failed, err)
	}
}

// shown is the certificate that an agent shows to whoever connects.
func (n *node) shown() []byte {
	conn, err := tls.Dial("tcp", n.wire.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Raw
}

// age puts a certificate into a Secret that is to be renewed.
func (r *rig) age(t *testing.T, secret string, role mtls.Role) (serial []byte) {
	t.Helper()
	ca, err := r.secret(t.Context(), kube.SecretAuthority)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := mtls.ParseAuthority(mtls.Pair{Cert: ca.Data["ca.crt"], Key: ca.Data["ca.key"]})
	if err != nil {
		t.Fatal(err)
	}
	old, err := authority.Issue(role, time.Now().Add(-mtls.LeafLife*4/5), mtls.LeafLife)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.secret(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	s.Data[mtls.CertFile], s.Data[mtls.KeyFile] = old.Cert, old.Key
	if _, err := r.client.CoreV1().Secrets(namespace).Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return old.Cert
}

// renewed waits until other certificates than those are in their Secrets, and every agent shows the new one.
func (r *rig) renewed(t *testing.T, old map[string][]byte) (took time.Duration) {
	t.Helper()
	return await(t, "both certificates are renewed, and every agent shows the new one", func(ctx context.Context) (bool, string) {
		for name, was := range old {
			s, err := r.secret(ctx, name)
			if err != nil || bytes.Equal(s.Data[mtls.CertFile], was) {
				return false, fmt.Sprintf("%s is as old as before: %v", name, err)
			}
			block, _ := pem.Decode(s.Data[mtls.CertFile])
			for _, n := range r.all() {
				if name == kube.SecretAgent && !bytes.Equal(n.shown(), block.Bytes) {
					return false, n.name + " shows another"
				}
			}
		}
		return true, ""
	})
}

// unbroken verifies that calls went well all the time.
func (c *calls) unbroken(t *testing.T, after time.Duration) {
	t.Helper()
	c.stop()
	if len(c.failed) > 0 || c.count == 0 {
		t.Errorf("%d of %d calls failed, the first with %v", len(c.failed), c.count, c.failed)
	}
	t.Logf("renewed after %.1f s; %d calls meanwhile, %d failed", after.Seconds(), c.count, len(c.failed))
}

// reached cuts every connection, so that everybody has to show what is new, and calls.
func (r *rig) reached(t *testing.T, id string) {
	t.Helper()
	for _, n := range r.all() {
		n.wire.cut()
		n.wire.connect(t, n.running.ClusterAddress())
	}
	c := r.call(t, id)
	await(t, "the volume can be reached with the new ones", func(context.Context) (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.count > len(c.failed)+10, fmt.Sprint(c.failed)
	})
	c.stop()
}

// testCertificates: the controller has made them, and renews them without a broken call.
func testCertificates(t *testing.T, r *rig) {
	r.claim(t, "called", "waits", "1Gi")
	r.pod(t, "called", "node1", "called")
	volumes, _ := r.bound(t, "called")
	id := volumes[0].Spec.CSI.VolumeHandle
	c := r.call(t, id)
	took := r.renewed(t, map[string][]byte{
		kube.SecretAgent: r.age(t, kube.SecretAgent, mtls.Agent), kube.SecretRouter: r.age(t, kube.SecretRouter, mtls.Router),
	})
	c.unbroken(t, took)
	r.reached(t, id)
}

// announcedNote is the annotation that tells since when every bundle has the authority. It issues nothing for a quarter
// of an hour after that, so that every kubelet has brought the bundle to its agent.
const announcedNote = "lvme.dev/announced"

// testAuthority: the key of the authority is lost. The controller makes another one, which is believed everywhere before
// it issues anything, and no call is broken.
func testAuthority(t *testing.T, r *rig) {
	r.claim(t, "trusted", "waits", "1Gi")
	r.pod(t, "trusted", "node1", "trusted")
	volumes, _ := r.bound(t, "trusted")
	id := volumes[0].Spec.CSI.VolumeHandle
	old := map[string][]byte{}
	for _, name := range []string{kube.SecretAgent, kube.SecretRouter} {
		s, err := r.secret(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = s.Data[mtls.CertFile]
	}
	c := r.call(t, id)
	secrets := r.client.CoreV1().Secrets(namespace)
	if err := secrets.Delete(t.Context(), kube.SecretAuthority, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "a new authority is announced", func(ctx context.Context) (bool, string) {
		s, err := r.secret(ctx, kube.SecretAuthority)
		return err == nil && s.Annotations[announcedNote] != "", fmt.Sprint(err)
	})
	authority, err := r.secret(t.Context(), kube.SecretAuthority)
	if err != nil {
		t.Fatal(err)
	}
	for name, was := range old {
		s, err := r.secret(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(s.Data[mtls.CAFile], authority.Data["ca.crt"]) || !bytes.Equal(s.Data[mtls.CertFile], was) {
			t.Errorf("%s does not believe the new authority, or has a certificate of it already", name)
		}
	}
	authority.Annotations[announcedNote] = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	if _, err := secrets.Update(t.Context(), authority, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.unbroken(t, r.renewed(t, old))
	r.reached(t, id)
}

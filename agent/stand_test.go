package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	kubelet "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// TestSilence: a kubelet that lost the event of the socket gets another one,
// and one that registered the driver is left in peace.
func TestSilence(t *testing.T) {
	r := newRegistration(t.TempDir(), "/run/lvme/csi.sock")
	r.poll, r.silence = time.Millisecond, 20*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()

	first := socketOf(t, r, nil)
	second := socketOf(t, r, first)
	if err := r.Ready(); !errors.Is(err, ErrUnregistered) || !strings.Contains(err.Error(), "the kubelet has not asked") {
		t.Errorf("it says %v", err)
	}
	notify(t, r, "")
	if err := r.Ready(); err != nil {
		t.Fatal(err)
	}
	now := socketOf(t, r, second)
	for range 10 {
		wait(t.Context(), r.silence/2)
		if !r.stands(now) {
			t.Fatal("the socket was made anew although the driver is registered")
		}
	}
	notify(t, r, "no "+strings.Repeat("\xff", 2*maxReason))
	if err := r.Ready(); err == nil || len(err.Error()) > 2*maxReason {
		t.Errorf("it says %v", err)
	}
	cancel()
	<-done
	if _, err := os.Lstat(r.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left: %v", err)
	}
}

// socketOf waits for a socket other than that one. The last one counts: with
// nobody asking there is soon another.
func socketOf(t *testing.T, r *registration, other fs.FileInfo) fs.FileInfo {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); wait(t.Context(), time.Millisecond) {
		info, err := os.Lstat(r.path)
		if err == nil && (other == nil || !os.SameFile(info, other) || !info.ModTime().Equal(other.ModTime()) || r.Ready() == nil) {
			return info
		}
	}
	t.Fatal("no socket within 30 s")
	return nil
}

// notify tells the agent how registration went, "" for well.
func notify(t *testing.T, r *registration, failure string) {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+r.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	status := &kubelet.RegistrationStatus{PluginRegistered: failure == "", Error: strings.ToValidUTF8(failure, "ü")}
	if _, err := kubelet.NewRegistrationClient(conn).NotifyRegistrationStatus(t.Context(), status, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
}

func TestClear(t *testing.T) {
	r := newRegistration(t.TempDir(), "/run/lvme/csi.sock")
	if err := r.clear(); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.Mkdir(r.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.clear(); err == nil {
		t.Error("a directory was taken for a socket")
	}
}

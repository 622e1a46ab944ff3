package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// fakeKubelet does with the sockets of a directory what the kubelet does: asks
// a new one who is there, calls NodeGetInfo, adds the topology to the node's
// labels unless one of another value is there, and says how it went; tries
// again after a failure, later each time; and forgets the driver when the
// socket goes.
type fakeKubelet struct {
	dir  string
	stop func()

	mu         sync.Mutex
	labels     map[string]string
	registered map[string]fs.FileInfo // by driver
	events     []string
}

func newKubelet(t *testing.T) *fakeKubelet {
	t.Helper()
	dir := filepath.Dir(filepath.Dir(agenttest.Options(t).Socket)) // has a short path
	k := &fakeKubelet{dir: filepath.Join(dir, "plugins_registry"), labels: map[string]string{}, stop: func() {}}
	t.Cleanup(func() { k.stop() })
	return k
}

// start makes the directory and begins to look into it.
func (k *fakeKubelet) start(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); k.run(ctx) }()
	k.stop = func() { cancel(); <-done }
	k.mu.Lock()
	defer k.mu.Unlock()
	k.registered = map[string]fs.FileInfo{} // a new start knows of nobody
}

func (k *fakeKubelet) run(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var backoff, rest int
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Lstat(filepath.Join(k.dir, "csi.lvme.dev-reg.sock"))
		k.forget(info)
		if rest--; err != nil || k.knows(info) || rest > 0 {
			continue
		}
		if err := k.register(ctx, info); err != nil && ctx.Err() == nil {
			k.note("failed: " + err.Error())
			backoff = min(2*backoff+1, 20)
			rest = backoff
		}
	}
}

// forget forgets the driver if its socket is another one now, or none.
func (k *fakeKubelet) forget(now fs.FileInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if was := k.registered[driver.Name]; was != nil && (now == nil || !os.SameFile(was, now)) {
		delete(k.registered, driver.Name)
		k.events = append(k.events, "deregistered")
	}
}

func (k *fakeKubelet) knows(now fs.FileInfo) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.registered[driver.Name]
	return was != nil && os.SameFile(was, now)
}

func (k *fakeKubelet) note(event string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, event)
}

func (k *fakeKubelet) register(ctx context.Context, socket fs.FileInfo) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+filepath.Join(k.dir, socket.Name()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	plugin := registration.NewRegistrationClient(conn)
	info, err := plugin.GetInfo(ctx, &registration.InfoRequest{})
	if err != nil {
		return err
	}
	if info.GetType() != "CSIPlugin" || len(info.GetSupportedVersions()) != 1 || info.GetSupportedVersions()[0] != "1.0.0" {
		return fmt.Errorf("who is this: %v", info)
	}
	reason := k.install(ctx, info)
	status := &registration.RegistrationStatus{PluginRegistered: reason == nil}
	if reason != nil {
		status.Error = "RegisterPlugin error -- plugin registration failed with err: " + reason.Error()
	}
	if _, err := plugin.NotifyRegistrationStatus(ctx, status); err != nil || reason != nil {
		return errors.Join(reason, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.registered[info.GetName()] = socket
	k.events = append(k.events, "registered")
	return nil
}

// install takes over what the driver says of its node.
func (k *fakeKubelet) install(ctx context.Context, info *registration.PluginInfo) error {
	conn, err := grpc.NewClient("unix://"+info.GetEndpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	node, err := csi.NewNodeClient(conn).NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil {
		return err
	}
	topology := node.GetAccessibleTopology().GetSegments()
	if len(topology) == 0 {
		return errors.New("registered without topology: it cannot be changed later")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, value := range topology {
		if have, ok := k.labels[key]; ok && have != value {
			return fmt.Errorf("detected topology value collision: driver reported %q:%q but existing label is %q:%q", key, value, key, have)
		}
	}
	maps.Copy(k.labels, topology)
	return nil
}

func (k *fakeKubelet) setLabel(value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.labels[driver.TopologyKey] = value
}

func (k *fakeKubelet) has(event string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.events {
		if strings.HasPrefix(e, event) {
			return true
		}
	}
	return false
}

func (k *fakeKubelet) isRegistered() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.registered[driver.Name] != nil
}

// wantReady waits until /readyz answers so, and holds metric and liveness to it.
func wantReady(t *testing.T, r *agenttest.Running, want string) {
	t.Helper()
	ready := want == "ok"
	eventually(t, "readyz says "+want, func() bool {
		code, body := get(t, r, "/readyz")
		return strings.Contains(body, want) && (code == http.StatusOK) == ready
	})
	if code, _ := get(t, r, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	metric := "lvme_kubelet_registered 0"
	if ready {
		metric = "lvme_kubelet_registered 1"
	}
	if _, text := get(t, r, "/metrics"); !strings.Contains(text, metric) {
		t.Errorf("no %s in the metrics", metric)
	}
}

func registering(t *testing.T, k *fakeKubelet) agent.Options {
	t.Helper()
	o := agenttest.Options(t)
	o.HTTP, o.Register = "0", k.dir
	return o
}

func TestRegistersWithTheKubelet(t *testing.T) {
	k := newKubelet(t)
	o := registering(t, k)
	host := agenttest.NewHost(t, 1)
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	wantReady(t, r, "the kubelet's directory for registrations") // it has not started yet
	k.start(t)
	wantReady(t, r, "ok")
	info, err := csi.NewIdentityClient(r.Conn).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || k.labels[driver.TopologyKey] != info.GetManifest()[driver.ManifestStore] {
		t.Errorf("labels %v, plugin %v, %v", k.labels, info, err)
	}
	socket := filepath.Join(k.dir, "csi.lvme.dev-reg.sock")
	wantMode(t, socket, fs.ModeSocket|0o600)

	k.stop()
	k.start(t) // the kubelet was started anew
	eventually(t, "the new kubelet knows the driver", k.isRegistered)
	if err := os.Remove(socket); err != nil { // somebody cleaned up
		t.Fatal(err)
	}
	eventually(t, "the driver is forgotten", func() bool { return k.has("deregistered") })
	eventually(t, "it is registered again", k.isRegistered)
	wantReady(t, r, "ok")

	r.Stop()
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left: %v", err)
	}
	eventually(t, "the driver is forgotten at its end", func() bool { return !k.isRegistered() })

	again := agenttest.Start(t, o, host.Agent()).WaitOpen()
	wantReady(t, again, "ok")
}

// TestRoomOfFirstDrives: a node that takes its first drives is known, and how
// much room it has is not, rather than none.
func TestRoomOfFirstDrives(t *testing.T) {
	k := newKubelet(t)
	k.start(t)
	o := registering(t, k)
	o.Config.Classes[0].Auto, o.Config.Classes[0].Select = true, drive.Selector{Transport: []string{"pcie"}}
	host := agenttest.NewHost(t, 1)
	hold := host.LVM.Hold("vgcreate")
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	<-hold.Waiting
	wantReady(t, r, "ok")
	ask := func() (int64, error) {
		resp, err := csi.NewControllerClient(r.Conn).GetCapacity(t.Context(), &csi.GetCapacityRequest{})
		return resp.GetAvailableCapacity(), err
	}
	if room, err := ask(); status.Code(err) != codes.Unavailable || room != 0 {
		t.Errorf("while it takes its drive: %d bytes, %v, want %s", room, err, codes.Unavailable)
	}
	hold.Release()
	eventually(t, "its room is known", func() bool { room, err := ask(); return err == nil && room > 0 })
}

// TestRefusedByTheKubelet: the node bears another store's label until somebody
// moves it.
func TestRefusedByTheKubelet(t *testing.T) {
	k := newKubelet(t)
	k.labels[driver.TopologyKey] = "another1"
	k.start(t)
	r := agenttest.Start(t, registering(t, k), agenttest.NewHost(t, 1).Agent()).WaitOpen()
	wantReady(t, r, "the kubelet refuses: RegisterPlugin error -- plugin registration failed with err: detected topology value collision")
	probe, err := csi.NewIdentityClient(r.Conn).Probe(t.Context(), &csi.ProbeRequest{})
	if err != nil || !probe.GetReady().GetValue() {
		t.Errorf("what it has, it serves: %v, %v", probe, err)
	}
	k.setLabel(r.Store().Key())
	wantReady(t, r, "ok")
}

// TestRegistersOnlyWithAStore: without one there is no topology to register.
func TestRegistersOnlyWithAStore(t *testing.T) {
	k := newKubelet(t)
	k.start(t)
	host := agenttest.NewHost(t, 1)
	takeAll(t, agenttest.Options(t), host.Agent())
	o := registering(t, k) // another state directory: the record is lost
	socket := filepath.Join(k.dir, "csi.lvme.dev-reg.sock")
	leave(t, socket) // and the agent before has crashed
	r := agenttest.Start(t, o, host.Agent())
	wantReady(t, r, "lvme adopt")
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a socket for the kubelet: %v", err)
	}
	if k.has("registered") {
		t.Error("it was registered")
	}
	if _, err := volume.Adopt(t.Context(), host.Agent().StoreOptions(o.StateDir, o.Config)); err != nil {
		t.Fatal(err)
	}
	wantReady(t, r, "ok")
}

func TestRegistrationSocketIsNoSocket(t *testing.T) {
	k := newKubelet(t)
	k.start(t)
	if err := os.WriteFile(filepath.Join(k.dir, "csi.lvme.dev-reg.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := registering(t, k)
	if _, err := agent.New(t.Context(), o, agenttest.NewHost(t, 0).Agent()); err == nil || !strings.Contains(err.Error(), "--register") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(o.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left: %v", err)
	}
}

package agent_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// takeAll has a command of the operator's take every drive of the host.
func takeAll(t *testing.T, o agent.Options, h agent.Host) (store string) {
	t.Helper()
	s, err := volume.Open(t.Context(), h.StoreOptions(o.StateDir, o.Config))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Init(t.Context(), s.Plan(nil), func(string) {}); err != nil {
		t.Fatal(err)
	}
	return s.Key()
}

func createRequest(name string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: 1 << 30},
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "xfs"}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		}},
	}
}

// eventually waits for what the agent does by itself.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestAgentServes(t *testing.T) {
	host, o := agenttest.NewHost(t, 2), agenttest.Options(t)
	key := takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	wantMode(t, filepath.Dir(o.Socket), fs.ModeDir|0o700)
	wantMode(t, o.Socket, fs.ModeSocket|0o600)

	info, err := csi.NewIdentityClient(r.Conn).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || info.GetName() != driver.Name || info.GetManifest()[driver.ManifestStore] != key || info.GetManifest()[driver.ManifestNode] != o.NodeID {
		t.Errorf("plugin %v, %v", info, err)
	}
	probe, err := csi.NewIdentityClient(r.Conn).Probe(t.Context(), &csi.ProbeRequest{})
	if err != nil || !probe.GetReady().GetValue() {
		t.Errorf("probe %v, %v", probe, err)
	}
	node, err := csi.NewNodeClient(r.Conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || node.GetNodeId() != o.NodeID || node.GetAccessibleTopology().GetSegments()[driver.TopologyKey] != key || node.GetMaxVolumesPerNode() != o.Config.MaxVolumes {
		t.Errorf("node %v, %v", node, err)
	}
	v, err := csi.NewControllerClient(r.Conn).CreateVolume(t.Context(), createRequest("pvc-1"))
	if err != nil || v.GetVolume().GetCapacityBytes() != 1<<30 || !strings.HasPrefix(v.GetVolume().GetVolumeId(), key+"/") {
		t.Errorf("volume %v, %v", v, err)
	}
	r.Stop()
	if _, err := os.Lstat(o.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	host.LVM.Check(t)
}

func TestAgentWithoutDrivesRegistersWithNoCapacity(t *testing.T) {
	r := agenttest.Start(t, agenttest.Options(t), agenttest.NewHost(t, 0).Agent()).WaitOpen()
	node, err := csi.NewNodeClient(r.Conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || len(node.GetAccessibleTopology().GetSegments()[driver.TopologyKey]) != 8 {
		t.Errorf("node %v, %v", node, err)
	}
	capacity, err := csi.NewControllerClient(r.Conn).GetCapacity(t.Context(), &csi.GetCapacityRequest{})
	if err != nil || capacity.GetAvailableCapacity() != 0 {
		t.Errorf("capacity %v, %v", capacity, err)
	}
	if _, err = csi.NewControllerClient(r.Conn).CreateVolume(t.Context(), createRequest("pvc-1")); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("create: %v", err)
	}
}

func TestAgentWaitsForAdoption(t *testing.T) {
	host, old := agenttest.NewHost(t, 1), agenttest.Options(t)
	key := takeAll(t, old, host.Agent())
	o := agenttest.Options(t) // another state directory: the record is lost
	o.HTTP = "0"
	r := agenttest.Start(t, o, host.Agent())

	eventually(t, "the reason is told", func() bool {
		_, err := csi.NewNodeClient(r.Conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
		if err == nil {
			t.Fatal("a node that is not adopted was registered")
		}
		return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "lvme adopt")
	})
	info, err := csi.NewIdentityClient(r.Conn).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || len(info.GetManifest()) != 0 {
		t.Errorf("it says whose store it serves before it does: %v, %v", info, err)
	}
	probe, err := csi.NewIdentityClient(r.Conn).Probe(t.Context(), &csi.ProbeRequest{})
	if err != nil || probe.GetReady() == nil || probe.GetReady().GetValue() {
		t.Errorf("probe %v, %v", probe, err)
	}
	if code, body := get(t, r, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "lvme adopt") {
		t.Errorf("readyz: %d %q", code, body)
	}
	if code, _ := get(t, r, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}

	adopted, err := volume.Adopt(t.Context(), host.Agent().StoreOptions(o.StateDir, o.Config))
	if err != nil || adopted != key {
		t.Fatalf("adopt: %q, %v", adopted, err)
	}
	r.WaitOpen()
	node, err := csi.NewNodeClient(r.Conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || node.GetAccessibleTopology().GetSegments()[driver.TopologyKey] != key {
		t.Errorf("node %v, %v", node, err)
	}
	if code, body := get(t, r, "/readyz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
}

func TestAgentTakesDrivesThatArePluggedIn(t *testing.T) {
	host, o := agenttest.NewHost(t, 0), agenttest.Options(t)
	o.Config.Classes[0].Auto, o.Config.Classes[0].Select = true, drive.Selector{Transport: []string{"pcie"}}
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	host.Plug()
	eventually(t, "the drive is taken", func() bool { return capacity(t, r) > 0 })
	one := capacity(t, r)
	host.Plug()
	eventually(t, "the second drive is taken", func() bool { return capacity(t, r) > one })
}

func TestAgentTakesNoDriveUnasked(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	agenttest.Start(t, o, host.Agent()).WaitOpen().Stop()
	if got := host.LVM.String(); strings.Contains(got, "lvme-") {
		t.Errorf("a drive was taken:\n%s", got)
	}
}

func TestAgentFollowsWhatCommandsDo(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	if got := capacity(t, r); got != 0 {
		t.Fatalf("capacity %d before a drive was taken", got)
	}
	takeAll(t, o, host.Agent())
	eventually(t, "the pool is known", func() bool { return capacity(t, r) > 0 })
}

func TestAgentNoticesADriveThatLeaves(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	host.Unplug("/dev/nvme0n1")
	eventually(t, "the drive is away", func() bool { return capacity(t, r) == 0 })
	host.Replug("/dev/nvme0n1")
	eventually(t, "the drive is back", func() bool { return capacity(t, r) > 0 })
}

// TestAgentNoticesADriveThatHangs: no event tells of it, but the kernel's
// counters do.
func TestAgentNoticesADriveThatHangs(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	takeAll(t, o, host.Agent())
	h := host.Agent()
	var hangs, asked, seen atomic.Bool
	h.Stalls = func(time.Time) []string {
		asked.Store(true)
		if hangs.Load() {
			seen.Store(true)
			return []string{"nvme0n1"}
		}
		return nil
	}
	r := agenttest.Start(t, o, h).WaitOpen()
	eventually(t, "the first look has ended", asked.Load)
	well := drive.Content{Probed: true, Signatures: []string{drive.LVMMember}}
	host.Change("/dev/nvme0n1", func(d *drive.Drive) { d.Content = drive.Content{Silent: true, Error: "no answer"} })
	heal := host.LVM.Hang("/dev/nvme0n1")
	hangs.Store(true)
	// An event of the start may have had it looked at before its counters tell.
	eventually(t, "the drive is given nothing more", func() bool { return capacity(t, r) == 0 && seen.Load() })
	host.Change("/dev/nvme0n1", func(d *drive.Drive) { d.Content = well })
	heal()
	hangs.Store(false)
	eventually(t, "the drive is used again", func() bool { return capacity(t, r) > 0 })
}

func TestAgentStopsAfterRunningCommands(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	takeAll(t, o, host.Agent())
	o.Grace = time.Millisecond // the call is given up, its command is not
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	held := host.LVM.Hold("lvcreate")
	answered := make(chan error, 1)
	go func() {
		_, err := csi.NewControllerClient(r.Conn).CreateVolume(context.WithoutCancel(t.Context()), createRequest("pvc-1"))
		answered <- err
	}()
	<-held.Waiting
	r.Signal()
	if err := <-answered; err == nil {
		t.Error("the call was answered although its command is held")
	}
	select {
	case <-r.Done():
		t.Fatal("the agent ended with an LVM command running")
	case <-time.After(50 * time.Millisecond):
	}
	held.Release()
	r.Stop()
	if !strings.Contains(host.LVM.String(), "v-pvc-1") {
		t.Errorf("the command did not end:\n%s", host.LVM.String())
	}
}

func TestAgentSaysWhatTheHostLacks(t *testing.T) {
	host := agenttest.NewHost(t, 1)
	thick := drive.DefaultConfig()
	thick.Classes[0].Thin.Share, thick.Classes[0].Thick.Share = 0, 90
	for _, tc := range []struct {
		name    string
		config  drive.Config
		prepare func()
		want    string // "" for no fault
	}{
		{"thin without its tools", drive.DefaultConfig(), func() { host.LVM.Else = nil }, "thin-provisioning-tools"},
		{"thick needs none", thick, func() {}, ""},
		{"no LVM", thick, func() { host.LVM.Uninstall(true) }, "lvm2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.prepare()
			err := agent.CheckHost(t.Context(), host.Agent(), tc.config)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), "install the package "+tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	o := agenttest.Options(t)
	if _, err := agent.New(t.Context(), o, host.Agent()); err == nil {
		t.Error("an agent started without LVM")
	}
	if _, err := os.Stat(o.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was made: %v", err)
	}
}

func TestOnlyOneAgent(t *testing.T) {
	host, o := agenttest.NewHost(t, 0), agenttest.Options(t)
	first := agenttest.Start(t, o, host.Agent()).WaitOpen()
	sameStore := agenttest.Options(t)
	sameStore.StateDir = o.StateDir
	if _, err := agent.New(t.Context(), sameStore, host.Agent()); !errors.Is(err, agent.ErrRunning) {
		t.Errorf("a second agent of the store: %v", err)
	}
	sameSocket := agenttest.Options(t)
	sameSocket.Socket = o.Socket
	if _, err := agent.New(t.Context(), sameSocket, host.Agent()); !errors.Is(err, driver.ErrSocketInUse) {
		t.Errorf("a second agent on the socket: %v", err)
	}
	first.Stop()
	agenttest.Start(t, sameStore, host.Agent()).WaitOpen()
	agenttest.Start(t, sameSocket, host.Agent()).WaitOpen()
}

func TestPortInUseLeavesNoSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := agenttest.Options(t)
	o.HTTP = l.Addr().String()
	if _, err := agent.New(t.Context(), o, agenttest.NewHost(t, 0).Agent()); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(o.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left: %v", err)
	}
}

// TestAgentTrims: what is staged is trimmed again and again, and what came back is counted.
func TestAgentTrims(t *testing.T) {
	host, o := agenttest.NewHost(t, 1), agenttest.Options(t)
	o.HTTP, o.Config.TrimEvery = ":0", 50*time.Millisecond
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	created, err := csi.NewControllerClient(r.Conn).CreateVolume(t.Context(), createRequest("pvc-1"))
	if err != nil {
		t.Fatal(err)
	}
	trimmed := func(least float64) func() bool {
		return func() bool {
			_, text := get(t, r, "/metrics")
			m := regexp.MustCompile(`(?m)^lvme_trimmed_bytes_total (\S+)$`).FindStringSubmatch(text)
			if m == nil || !strings.Contains(text, "lvme_failed_trims_total 0") {
				t.Fatalf("of trims the metrics tell\n%s", text)
			}
			n, err := strconv.ParseFloat(m[1], 64)
			return err == nil && n >= least
		}
	}
	if trimmed(1)() {
		t.Error("something came back, and nothing is staged")
	}
	staging := filepath.Join(host.Mounts.Root, "staged")
	if err := os.Mkdir(staging, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := csi.NewNodeClient(r.Conn).NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: created.GetVolume().GetVolumeId(), StagingTargetPath: staging, VolumeCapability: createRequest("pvc-1").GetVolumeCapabilities()[0],
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two trims of the volume", trimmed(1<<30)) // the fake gives half of it back each time
}

func TestMetrics(t *testing.T) {
	host, o := agenttest.NewHost(t, 2), agenttest.Options(t)
	o.HTTP = ":0"
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	if _, err := csi.NewControllerClient(r.Conn).CreateVolume(t.Context(), createRequest("pvc-1")); err != nil {
		t.Fatal(err)
	}
	if h, _, err := net.SplitHostPort(r.HTTPAddress()); err != nil || h != "127.0.0.1" {
		t.Errorf("listens on %s, %v", r.HTTPAddress(), err)
	}
	held := host.LVM.Hold("fullreport") // a scrape must not wait for LVM
	defer held.Release()
	code, text := get(t, r, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	for _, want := range []string{
		`lvme_ready 1`, `lvme_build_info{`, `lvme_store_info{store="`,
		`lvme_rpc_duration_seconds_count{code="OK",method="CreateVolume"} 1`,
		`lvme_lvm_command_duration_seconds_count{changes="yes",result="ok",verb="lvcreate"} 1`,
		`lvme_pool_thin_bytes{class="default",vg="lvme-`, `lvme_pool_metadata_bytes{`, `lvme_volumes{class="default",vg="lvme-`,
		`lvme_drive_temperature_celsius{drive="eui.00000000000000000000000000000001",name="nvme0n1"} 38`,
		`lvme_drive_info{class="default",drive="eui.`, `lvme_failed_looks_total 0`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if code, _ := get(t, r, "/"); code != http.StatusNotFound {
		t.Errorf("/: %d", code)
	}
}

func capacity(t *testing.T, r *agenttest.Running) int64 {
	t.Helper()
	resp, err := csi.NewControllerClient(r.Conn).GetCapacity(t.Context(), &csi.GetCapacityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetAvailableCapacity()
}

func get(t *testing.T, r *agenttest.Running, path string) (code int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + r.HTTPAddress() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %s, want %s", path, info.Mode(), want)
	}
}

// leave leaves a socket behind, as an agent that was killed does.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

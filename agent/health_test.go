package agent_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/agent/agenttest"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/internal/mtls"
	"github.com/lvme/lvme/volume"
)

// storageHealth is what the agent says of its storage, to whoever asks on that connection.
func storageHealth(t *testing.T, conn *grpc.ClientConn) *csi.NodeGetStorageHealthResponse {
	t.Helper()
	resp, err := csi.NewNodeClient(conn).NodeGetStorageHealth(t.Context(), &csi.NodeGetStorageHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// ails says that of the VG, and what is said of it.
func ails(resp *csi.NodeGetStorageHealthResponse, vg string, r volume.Reason) (volume.Ailment, bool) {
	all := driver.PoolsHealth(resp)
	i := slices.IndexFunc(all, func(h volume.PoolHealth) bool { return h.VG == vg && h.Ailment.Reason == r })
	if i < 0 {
		return volume.Ailment{}, false
	}
	return all[i].Ailment, true
}

// TestRouterIsToldHealth over TLS, pool by pool, and of early warnings too, which are none of the kubelet's business.
func TestRouterIsToldHealth(t *testing.T) {
	ours, now := authority(t), time.Now()
	o, host := inCluster(t), agenttest.NewHost(t, 2)
	put(t, o.TLSDir, certificate(t, ours, mtls.Agent, now), ours.Cert())
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	router := dial(t, r, as(t, certificate(t, ours, mtls.Router, now), ours.Cert()))
	if all := storageHealth(t, router).GetBackendHealth(); len(all) != 0 {
		t.Errorf("of a healthy node: %v", all)
	}
	p := r.Store().Pools(t.Context())[0]
	used := func(percent int64) { host.LVM.FillMetadata(p.VG, "pool", p.MetadataBytes/4096*percent/100) }
	used(60)
	eventually(t, "the router is warned early", func() bool {
		a, ok := ails(storageHealth(t, router), p.VG, volume.MetadataFilling)
		return ok && a.Effect == volume.Early && strings.Contains(a.Message, "delete snapshots") && strings.Contains(a.Message, "LVME000")
	})
	if all := storageHealth(t, r.Conn).GetBackendHealth(); len(all) != 0 {
		t.Errorf("the kubelet is told of a pool that works: %v", all)
	}
	used(0)
	eventually(t, "the warning ends", func() bool {
		_, ok := ails(storageHealth(t, router), p.VG, volume.MetadataFilling)
		return !ok
	})
	host.Change("/dev/nvme1n1", func(d *drive.Drive) {
		d.Health = drive.Health{Status: drive.HealthCritical, Reasons: []string{"spare blocks are below the drive's threshold"}}
	})
	host.Tell()
	eventually(t, "both are told of the drive", func() bool {
		all, kubelet := storageHealth(t, router).GetBackendHealth(), storageHealth(t, r.Conn).GetBackendHealth()
		return len(all) == 1 && len(kubelet) == 1 && all[0].GetReason() == string(volume.DriveFailing) && kubelet[0].GetReason() == all[0].GetReason() &&
			strings.Contains(all[0].GetMessage(), "LVME0001") && strings.Contains(all[0].GetMessage(), "spare blocks") && strings.Contains(all[0].GetMessage(), "replace it")
	})
}

// TestRouterGetsNothingElseOfTheNodeService, whatever it asks for.
func TestRouterGetsNothingElseOfTheNodeService(t *testing.T) {
	ours, now := authority(t), time.Now()
	o, host := inCluster(t), agenttest.NewHost(t, 1)
	put(t, o.TLSDir, certificate(t, ours, mtls.Agent, now), ours.Cert())
	takeAll(t, o, host.Agent())
	r := agenttest.Start(t, o, host.Agent()).WaitOpen()
	router := dial(t, r, as(t, certificate(t, ours, mtls.Router, now), ours.Cert()))
	methods := csi.Node_ServiceDesc.Methods
	if len(methods) < 9 {
		t.Fatalf("the node service has %d methods: the test looks in the wrong place", len(methods))
	}
	for _, m := range methods {
		want := codes.Unimplemented
		if m.MethodName == "NodeGetStorageHealth" {
			want = codes.OK
		}
		// An empty message is one of any kind.
		err := router.Invoke(t.Context(), "/"+csi.Node_ServiceDesc.ServiceName+"/"+m.MethodName, &csi.NodeGetInfoRequest{}, &csi.ProbeResponse{})
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %s", m.MethodName, err, want)
		}
	}
	if n := len(csi.Node_ServiceDesc.Streams); n > 0 {
		t.Errorf("the node service has %d streams, which nobody has thought of", n)
	}
}

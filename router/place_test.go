package router_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
	"github.com/lvme/lvme/router/routertest"
)

// oneZone is a cluster whose nodes are all in one zone. It counts how often it
// is asked for that.
type oneZone struct {
	*routertest.Cluster
	asked int
}

func (c *oneZone) Segments(string) map[string]string {
	c.asked++
	return map[string]string{zone: "a"}
}

// TestAllNodesNamed: csi-provisioner names every node of the cluster, in both
// lists, for a volume that may be anywhere. What the router does then grows with
// the number of nodes, and not with its square.
func TestAllNodesNamed(t *testing.T) {
	const nodes = 400
	cluster := &oneZone{Cluster: &routertest.Cluster{}}
	r, err := router.New(router.Config{Cluster: cluster, Ledger: new(routertest.Ledger).Replica(), Credentials: plainText, Restart: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	where := new(csi.TopologyRequirement)
	for i := range nodes {
		where.Requisite = append(where.Requisite, segments(driver.TopologyKey, fmt.Sprintf("store%03d", i), zone, "a"))
	}
	where.Preferred = append(where.Preferred, where.Requisite[nodes/2:]...)
	where.Preferred = append(where.Preferred, where.Requisite[:nodes/2]...)
	_, err = r.CreateVolume(t.Context(), volumeOf("anywhere", where))
	if got := status.Code(driver.ToStatus(err)); got != codes.Unavailable {
		t.Errorf("with no agent there: %v, want %s", err, codes.Unavailable)
	}
	if cluster.asked == 0 || cluster.asked > 4*nodes {
		t.Errorf("of %d nodes, the cluster was asked %d times for the zone of one", nodes, cluster.asked)
	}
}

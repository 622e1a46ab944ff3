package driver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"github.com/lvme/lvme/volume"
)

const (
	vgA = "lvme-aaaaaaaa"
	vgB = "lvme-bbbbbbbb"
)

func ailing(vg string, e volume.Effect, r volume.Reason, text string) volume.PoolHealth {
	return volume.PoolHealth{VG: vg, Ailment: volume.Ailment{Effect: e, Reason: r, Message: text}}
}

// TestHealthReachesTheRouter: what an agent says is what its router reads, pool by pool.
func TestHealthReachesTheRouter(t *testing.T) {
	all := []volume.PoolHealth{
		ailing(vgA, volume.Inaccessible, volume.DriveMissing, "one of two: gone"),
		ailing(vgB, volume.Inaccessible, volume.DriveMissing, "both gone"),
		ailing(vgB, volume.Degraded, volume.DriveFailing, "replace it"),
		ailing("lvme-cccccccc", volume.Degraded, volume.DriveMissing, "its mirror works on"),
		ailing(vgA, volume.Early, volume.PoolFilling, "delete something"),
	}
	resp := StorageHealth(all)
	kinds := map[string]bool{}
	for _, b := range resp.GetBackendHealth() {
		kind := b.GetStatus().String() + " " + b.GetReason()
		if kinds[kind] {
			t.Errorf("two entries for %s", kind)
		}
		kinds[kind] = true
	}
	if len(kinds) != 4 {
		t.Errorf("%v", kinds)
	}
	wire, err := proto.Marshal(resp)
	if err != nil {
		t.Fatal(err)
	}
	read := new(csi.NodeGetStorageHealthResponse)
	if err := proto.Unmarshal(wire, read); err != nil {
		t.Fatal(err)
	}
	got := PoolsHealth(read)
	for _, h := range all {
		if !slices.Contains(got, h) {
			t.Errorf("%+v is lost", h)
		}
	}
	if len(got) != len(all) {
		t.Errorf("%+v", got)
	}
	if got := StorageHealth(nil); len(got.GetBackendHealth()) != 0 || PoolsHealth(got) != nil {
		t.Errorf("of a healthy node: %v", got)
	}
}

// TestHealthNamesDrives, once, and whatever bytes they say of themselves.
func TestHealthNamesDrives(t *testing.T) {
	for _, tc := range []struct{ message, drives, want string }{
		{"thin pool is full", "M S1", "thin pool is full (on M S1)"},
		{"not here: M S1; plug it in", "M S1", "not here: M S1; plug it in"},
		{"two\nlines\x1b[31m", "", "two lines [31m"},
		{"odd", "M\xff S1", "odd (on M? S1)"},
		{strings.Repeat("ä", maxAilment), "", strings.Repeat("ä", (maxAilment-3)/2) + "…"},
	} {
		h := ailing(vgA, volume.Degraded, volume.PoolFull, tc.message)
		h.Drives = tc.drives
		resp := StorageHealth([]volume.PoolHealth{h})
		if _, err := proto.Marshal(resp); err != nil {
			t.Errorf("%q cannot be sent: %v", tc.message, err)
		}
		if got := PoolsHealth(resp); len(got) != 1 || got[0].Ailment.Message != tc.want || len(tc.want) > maxAilment {
			t.Errorf("%q on %q: %+v, want %q", tc.message, tc.drives, got, tc.want)
		}
	}
}

// TestHealthOfAHostileAgent: what it says is bounded, and cannot be more than words about pools.
func TestHealthOfAHostileAgent(t *testing.T) {
	entry := func(reason, message string) *csi.NodeGetStorageHealthResponse_StorageBackendHealth {
		return &csi.NodeGetStorageHealthResponse_StorageBackendHealth{Status: 7, Reason: reason, Message: message}
	}
	var flood strings.Builder
	for i := range 10 * maxAilments {
		fmt.Fprintf(&flood, "lvme-%08d: %s\n", i, strings.Repeat("é", 1000))
	}
	for name, tc := range map[string]struct {
		reason, message string
		want            int
	}{
		"no reason":          {"", vgA + ": x", 0},
		"a sentence":         {"Call this number", vgA + ": x", 0},
		"a long word":        {"A" + strings.Repeat("a", 100), vgA + ": x", 0},
		"no VG":              {"Odd", "x", 0},
		"a VG of others":     {"Odd", "data: x", 0},
		"a path":             {"Odd", "lvme-../../aa: x", 0},
		"nothing":            {"Odd", "", 0},
		"a reason yet to be": {"SomethingNew", vgA + ": x", 1},
		"very much":          {"Odd", flood.String(), maxAilments},
	} {
		got := PoolsHealth(&csi.NodeGetStorageHealthResponse{BackendHealth: []*csi.NodeGetStorageHealthResponse_StorageBackendHealth{entry(tc.reason, tc.message)}})
		if len(got) != tc.want {
			t.Errorf("%s: %d are believed, want %d", name, len(got), tc.want)
		}
		for _, h := range got {
			if m := h.Ailment.Message; len(m) > maxAilment || !utf8.ValidString(m) || h.Ailment.Effect != volume.Degraded {
				t.Fatalf("%s: %+v", name, h)
			}
		}
	}
}

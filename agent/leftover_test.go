package agent

import (
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/mount"
)

func TestLeftovers(t *testing.T) {
	device := "/dev/mapper/lvme--abcd1234-v--a"
	n := mount.Number{Major: 253, Minor: 3}
	devices := map[string]mount.Number{device: n, "/dev/mapper/other-lv": {Major: 253, Minor: 9}}
	known := map[string]bool{device: true}
	for name, tc := range map[string]struct {
		point mount.Point
		says  string // "" for nothing
	}{
		"a volume":                   {mount.Point{Source: device, Device: n, FSType: "xfs", Root: "/"}, ""},
		"a raw volume":               {mount.Point{Source: "udev", Device: n, FSType: "devtmpfs", Root: "/dm-3"}, ""},
		"of others":                  {mount.Point{Source: "/dev/mapper/other-lv", Device: n, FSType: "xfs", Root: "/"}, ""},
		"a raw device of others":     {mount.Point{Source: "udev", Device: devices["/dev/mapper/other-lv"], FSType: "devtmpfs", Root: "/dm-9"}, ""},
		"another node of /dev":       {mount.Point{Source: "udev", Device: mount.Number{Major: 1, Minor: 3}, FSType: "devtmpfs", Root: "/null"}, ""},
		"a device that is gone":      {mount.Point{Source: "/dev/mapper/lvme--abcd1234-v--b", Device: n, FSType: "xfs", Root: "/"}, "is gone"},
		"a device of the same name":  {mount.Point{Source: device, Device: mount.Number{Major: 253, Minor: 4}, FSType: "xfs", Root: "/"}, "another has its name"},
		"a raw device that is gone":  {mount.Point{Source: "udev", Device: mount.Number{Major: 253, Minor: 7}, FSType: "devtmpfs", Root: "/dm-7"}, "behind this node is gone"},
		"a node that was made again": {mount.Point{Source: "udev", Device: n, FSType: "devtmpfs", Root: "/dm-3//deleted"}, "behind this node is gone"},
	} {
		if says := leftover(tc.point, devices, known); (says == "") != (tc.says == "") || !strings.Contains(says, tc.says) {
			t.Errorf("%s: %q, want %q", name, says, tc.says)
		}
	}
	if says := leftover(mount.Point{Source: device, Device: n, FSType: "xfs", Root: "/"}, devices, nil); !strings.Contains(says, "volume of this mount is not there") {
		t.Errorf("a device without a volume: %q", says)
	}
}

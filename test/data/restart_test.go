package data

import (
	"testing"

	"google.golang.org/grpc/codes"
)

// testRestart: an agent that starts anew finds everything as it was, with all
// mounted as before and with nothing mounted or active, as after a reboot.
func testRestart(t *testing.T, n *node) {
	r := chance(t)
	volumes := []*vol{
		n.create(t, spec{name: "ext4", fs: "ext4", bytes: minBytes("ext4")}),
		n.create(t, spec{name: "xfs", fs: "xfs", bytes: minBytes("xfs")}),
		n.create(t, spec{name: "block", bytes: minBytes("")}),
		n.create(t, spec{name: "thick", bytes: minBytes(""), thick: true}),
	}
	fresh := n.create(t, spec{name: "fresh", fs: "ext4", bytes: minBytes("ext4")})
	n.publish(t, volumes...)
	content := map[*vol]sums{}
	for _, v := range volumes {
		content[v] = n.fill(t, r, v)
	}
	old := content[volumes[0]]
	snapshot := n.snapshot(t, "snap", volumes[0])
	content[volumes[0]] = n.fill(t, r, volumes[0])
	known := n.state(t)

	// The agent alone.
	n.restart(t)
	if again := n.state(t); again != known {
		t.Errorf("the agent's restart changed\n%s\nto\n%s", known, again)
	}
	n.publish(t, volumes...) // again, which changes nothing
	n.consistent(t)

	// The whole machine.
	n.reboot(t)
	n.connect(t)
	n.consistent(t)
	_, err := n.NodePublishVolume(t.Context(), volumes[0].publishRequest())
	refused(t, "publish before it is staged", err, codes.FailedPrecondition, "not staged")
	restored := n.create(t, spec{name: "restored", fs: "ext4", source: snapshot})
	n.publish(t, append(volumes, restored, fresh)...)
	for _, v := range volumes {
		n.holds(t, content[v], v)
	}
	n.holds(t, old, restored)
	n.expand(t, volumes[0], volumes[0].size+16*mib)
	n.roomy(t, volumes[0])
	n.unpublish(t, append(volumes, restored, fresh)...)
	for _, v := range append(volumes, restored, fresh) {
		n.remove(t, v.id)
	}
	n.remove(t, snapshot)
}

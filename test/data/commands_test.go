package data

import (
	"context"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// testCommands counts what each call runs of LVM.
func testCommands(t *testing.T, n *node) {
	count := func(what, want string) {
		t.Helper()
		if got := n.fake.alive().Take(); got != want {
			t.Errorf("%s ran %q, want %q", what, got, want)
		}
	}
	n.fake.alive().Take()
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	count("create", "lvcreate")
	n.create(t, v.spec)
	count("create again", "")
	v.mkdirs(t)
	ask(t, n.NodeStageVolume, v.stageRequest())
	count("first stage", "lvchange lvchange lvchange")
	ask(t, n.NodePublishVolume, v.publishRequest())
	count("publish", "")
	for range 3 {
		ask(t, n.NodeGetVolumeStats, &csi.NodeGetVolumeStatsRequest{VolumeId: v.id, VolumePath: v.target()})
	}
	count("statistics", "")
	snapshot := n.snapshot(t, "s", v)
	count("snapshot", "lvcreate")
	n.snapshot(t, "s", v)
	count("snapshot again", "")
	same := n.create(t, spec{name: "same", fs: "ext4", source: snapshot})
	count("restore", "lvcreate")
	larger := n.create(t, spec{name: "larger", fs: "ext4", bytes: v.size + mib, source: snapshot})
	count("restore larger", "lvcreate lvextend")
	clone := n.create(t, spec{name: "clone", fs: "ext4", source: v.id})
	count("clone", "lvcreate")
	n.expand(t, v, v.size+mib)
	count("expand", "lvextend")
	n.known(t)
	n.available(t, "thin")
	count("lists and capacity", "")
	n.remove(t, snapshot)
	count("delete a snapshot", "lvremove")
	n.unpublish(t, v)
	count("unstage", "lvchange")
	ask(t, n.NodeStageVolume, v.stageRequest())
	count("stage again", "lvchange")
	ask(t, n.NodeUnstageVolume, v.unstageRequest())
	count("unstage", "lvchange")
	ask(t, n.NodeUnstageVolume, v.unstageRequest())
	count("unstage again", "")
	n.remove(t, clone.id)
	count("delete, giving blocks back", "lvchange lvremove")
	fresh := n.create(t, spec{name: "fresh", bytes: mib})
	count("create", "lvcreate")
	n.remove(t, fresh.id)
	count("delete what nobody wrote to", "lvremove")
	n.remove(t, v.id, same.id, larger.id)

	thick := n.create(t, spec{name: "thick", bytes: mib, thick: true})
	n.fake.alive().Take()
	must(t, insist(t.Context(), func(ctx context.Context) error { return n.drop(ctx, thick.id) }))
	n.wiped(t)
	eventually(t, "the pool was looked at after the wipe", func() bool {
		_, largest := n.available(t, "thick")
		return largest > 0
	})
	if got := n.fake.alive().Take(); got != "lvrename lvchange lvchange lvremove + 1 reports" && got != "lvrename lvchange lvchange lvremove" {
		t.Errorf("a thick delete ran %q", got)
	}
}

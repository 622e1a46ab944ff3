package data

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// hostileIDs are ids that no volume has, by what is wrong with them. Where the
// id has to be somebody's, key is this store's and vg one of its VGs.
func hostileIDs(key, vg string) map[string]string {
	return map[string]string{
		"word":              "volume",
		"parent":            key + "/" + vg + "/..",
		"path":              "../../../etc/passwd",
		"path in a name":    key + "/" + vg + "/v-../../../dev/sda",
		"comma":             key + "/" + vg + "/v-a,suid,dev",
		"newline":           key + "/" + vg + "/v-a\nb",
		"nul":               key + "/" + vg + "/v-a\x00b",
		"blank":             key + "/" + vg + "/v-a b",
		"option":            "--config=x",
		"option as a name":  key + "/" + vg + "/--all",
		"unicode":           key + "/" + vg + "/v-ärger",
		"129 bytes":         key + "/" + vg + "/v-" + strings.Repeat("x", 129-len(key)-len(vg)-4),
		"4 parts":           key + "/" + vg + "/v-a/v-b",
		"the pool":          key + "/" + vg + "/pool",
		"LVM's own":         key + "/" + vg + "/pool_tdata",
		"a doomed LV":       key + "/" + vg + "/w-init",
		"empty name":        key + "/" + vg + "/v-",
		"upper-case key":    strings.ToUpper(key) + "/" + vg + "/v-a",
		"a VG that is none": key + "/zzzzzzzz/v-a",
		"nobody's":          key + "/" + vg + "/v-nobody",
	}
}

// testHostileIDs: whatever an id is, it reads as nobody's, is deleted already,
// and reaches nothing.
func testHostileIDs(t *testing.T, n *node) {
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	n.publish(t, v)
	parts := strings.Split(v.id, "/")
	n.unchanged(t, func() {
		for what, id := range hostileIDs(parts[0], parts[1]) {
			fake := *v
			fake.id = id
			calls := idCalls(t, n, &fake, v)
			for call, err := range calls {
				switch {
				case strings.HasPrefix(call, "Delete"):
					refused(t, call+" "+what, err, codes.OK)
				case strings.HasPrefix(call, "NodeUn"):
					// Something else is mounted where it is said to be.
					refused(t, call+" "+what, err, codes.FailedPrecondition)
				default:
					refused(t, call+" "+what, err, codes.NotFound)
				}
			}
		}
		foreign := *v
		foreign.id = "zzzzzzzz/zzzzzzzz/" + parts[2]
		for call, err := range idCalls(t, n, &foreign, v) {
			want, texts := codes.FailedPrecondition, []string{"another store"}
			if strings.HasPrefix(call, "NodeUn") {
				texts = nil
			}
			if call == "Delete snapshot" { // The id names a volume.
				want, texts = codes.OK, nil
			}
			refused(t, call+" of another store", err, want, texts...)
		}
		empty := *v
		empty.id = ""
		for call, err := range idCalls(t, n, &empty, v) {
			refused(t, call+" without an id", err, codes.InvalidArgument, "_id")
		}
	})
	n.unpublish(t, v)
	n.remove(t, v.id)
}

// idCalls are the answers to every call that takes an id, about v at the paths
// of another.
func idCalls(t *testing.T, n *node, v, at *vol) map[string]error {
	t.Helper()
	ctx := t.Context()
	errs := map[string]error{}
	note := func(call string, err error) { errs[call] = err }
	_, err := n.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: v.id})
	note("ControllerGetVolume", err)
	_, err = n.ControllerExpandVolume(ctx, v.expandRequest(gib))
	note("ControllerExpandVolume", err)
	_, err = n.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: v.id, VolumeCapabilities: []*csi.VolumeCapability{v.capability()}})
	note("ValidateVolumeCapabilities", err)
	_, err = n.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.id})
	note("CreateSnapshot", err)
	_, err = n.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.id})
	note("Delete volume", err)
	_, err = n.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: v.id})
	note("Delete snapshot", err)
	stage, publish, expand := v.stageRequest(), v.publishRequest(), v.nodeExpandRequest(gib)
	stage.StagingTargetPath, publish.StagingTargetPath, publish.TargetPath, expand.VolumePath = at.staging(), at.staging(), at.target(), at.target()
	_, err = n.NodeStageVolume(ctx, stage)
	note("NodeStageVolume", err)
	_, err = n.NodePublishVolume(ctx, publish)
	note("NodePublishVolume", err)
	_, err = n.NodeExpandVolume(ctx, expand)
	note("NodeExpandVolume", err)
	_, err = n.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: v.id, VolumePath: at.target()})
	note("NodeGetVolumeStats", err)
	_, err = n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: at.target()})
	note("NodeUnpublishVolume", err)
	_, err = n.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.id, StagingTargetPath: at.staging()})
	note("NodeUnstageVolume", err)
	return errs
}

// testNames: any name of up to 128 bytes is a name, of a volume and of a
// snapshot, and no two are the same.
func testNames(t *testing.T, n *node) {
	names := []string{
		"a", "A", strings.Repeat("x", 128), strings.Repeat("é", 64), "two words", "../../etc/passwd", "pvc,suid", "line\nbreak", "tab\t",
		"v-a", "s-a", "w-init", "pool", "snapshot0", "pvmove0", "-a", "--all", ".", "..", "x_tdata", "lvol0_pmspare", "+a", "=2f", "a=2fb", "a/b",
		"😀", `"quoted"`, "$(reboot)", "%s", "@tag", strings.Repeat("-", 100),
	}
	if n.real && !full() {
		names = []string{strings.Repeat("x", 128), strings.Repeat("é", 64), "../../etc/passwd", "line\nbreak", "-a", "x_tdata", "pool", "$(reboot)"}
	}
	ids := map[string]string{}
	var all []string
	for _, name := range names {
		v := n.create(t, spec{name: name, bytes: 4 * mib})
		snapshot := n.snapshot(t, name, v)
		for _, id := range []string{v.id, snapshot} {
			if other, twice := ids[id]; twice || len(id) > 128 {
				t.Errorf("%q and %q have the id %s", name, other, id)
			}
			ids[id] = name
		}
		all = append(all, v.id, snapshot)
		if again := n.create(t, spec{name: name, bytes: 4 * mib}); again.id != v.id {
			t.Errorf("%q again is %s, not %s", name, again.id, v.id)
		}
	}
	n.restart(t)
	n.consistent(t)
	n.remove(t, all...)
	n.unchanged(t, func() {
		for what, c := range map[string]struct{ name, allowed string }{
			"no name":         {"", "1 to 128 bytes"},
			"129 bytes":       {strings.Repeat("x", 129), "at most 128 bytes"},
			"a control":       {"a\x01b", "no control characters"},
			"a late control":  {"a\u0085b", "no control characters"},
			"nul":             {"a\x00b", "no control characters"},
			"delete":          {"a\x7f", "no control characters"},
			"two MB of bytes": {strings.Repeat("x", 2<<20), "at most 128 bytes"},
		} {
			_, err := n.CreateVolume(t.Context(), spec{name: c.name, bytes: 4 * mib}.request())
			refused(t, what, err, codes.InvalidArgument, "name", c.allowed)
		}
	})
}

// testHostilePaths: nothing is mounted but where the kubelet may ask for it.
func testHostilePaths(t *testing.T, n *node) {
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	n.publish(t, v)
	outside := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(n.root, "dir", "sub"), 0o755))
	must(t, os.Symlink(outside, filepath.Join(n.root, "link")))
	must(t, os.Symlink(filepath.Join(n.root, "dir"), filepath.Join(n.root, "inside")))
	must(t, os.WriteFile(filepath.Join(n.root, "file"), []byte("precious"), 0o600))
	other := n.create(t, spec{name: "b", fs: "ext4", bytes: minBytes("ext4")})
	paths := map[string]string{
		"relative":             "var/lib/kubelet/a",
		"parent":               n.root + "/dir/../../../../etc",
		"hidden parent":        n.root + "/dir/../dir/a",
		"outside":              outside + "/a",
		"the root of all":      "/",
		"double slash":         n.root + "//a",
		"symbolic link":        n.root + "/link",
		"below a link":         n.root + "/link/a",
		"below a link inside":  n.root + "/inside/a",
		"nul":                  n.root + "/a\x00b",
		"system directory":     "/etc",
		"file of somebody":     n.root + "/file",
		"no parent directory":  n.root + "/none/none/a",
		"another volume's dir": v.target(),
	}
	calls := map[string]func(ctx context.Context, path string) error{
		"stage": func(ctx context.Context, path string) error {
			r := other.stageRequest()
			r.StagingTargetPath = path
			_, err := n.NodeStageVolume(ctx, r)
			return err
		},
		"publish": func(ctx context.Context, path string) error {
			r := v.publishRequest()
			r.TargetPath = path
			_, err := n.NodePublishVolume(ctx, r)
			return err
		},
	}
	n.unchanged(t, func() {
		for what, path := range paths {
			want, says := codes.InvalidArgument, "path"
			switch what {
			case "no parent directory":
				want = codes.FailedPrecondition
			case "another volume's dir":
				want, says = codes.FailedPrecondition, "something else is mounted"
			}
			for call, do := range calls {
				switch {
				case what == "file of somebody" && call == "stage", what == "another volume's dir" && call == "publish":
					continue // The first is looked at below; the second is where it is published already.
				}
				refused(t, call+" at "+what, do(t.Context(), path), want, says)
			}
		}
		_, err := n.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: other.id, VolumeCapability: other.capability()})
		refused(t, "stage without a path", err, codes.InvalidArgument, "staging_target_path")
		_, err = n.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: n.root + "/link"})
		refused(t, "unpublish a link", err, codes.InvalidArgument, "target_path", "symbolic link")
	})
	// The device is made before the place is looked at in full; nothing else is.
	refused(t, "stage at a file", calls["stage"](t.Context(), paths["file of somebody"]), codes.InvalidArgument)
	if b, err := os.ReadFile(filepath.Join(n.root, "file")); err != nil || string(b) != "precious" {
		t.Errorf("a file in the way became %q, %v", b, err)
	}
	must(t, os.RemoveAll(filepath.Join(n.root, "link")))
	must(t, os.RemoveAll(filepath.Join(n.root, "inside")))
	other.mkdirs(t)
	ask(t, n.NodeUnstageVolume, other.unstageRequest())
	n.unpublish(t, v)
	n.remove(t, v.id, other.id)
}

package data

import (
	"strings"
	"testing"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// TestNodeForeignLVM puts LVM of other people wherever it can lie: in a volume,
// under the name and even the identity of ours; on a copy of a drive; on a drive
// of its own; among our LVs. The agent starts beside all of it, under another
// host name, serves what is its own and touches nothing else.
func TestNodeForeignLVM(t *testing.T) {
	n := startNode(t)
	pair := n.twins(t, rig.Spec{Name: "machine", Bytes: 96 * mib})
	file := n.twins(t, rig.Spec{Name: "files", FS: "ext4", Bytes: 64 * mib})
	vg := n.poolOf(t, pair.a).VG
	for _, v := range []*rig.Volume{pair.a, pair.b, file.a} {
		must(t, n.agent.Publish(t.Context(), v))
	}
	n.sh(t, `echo precious >"$1"/f; sync "$1"/f`, file.a.Target())

	// A virtual machine's disk: LVM under the name of the VG that it lies in. The
	// machine has a /dev of its own, without that VG in it.
	device := n.sh(t, `readlink -f /dev/mapper/"$1"`, mapped(pair.a))
	inner := `unshare -m bash -ec 'd=$(mktemp -d); mount -t tmpfs none "$d"; cp -a /dev/. "$d"; rm -r "$d/$2"; mount --bind "$d" /dev
		lvm vgcreate --devices "$1" --config "devices{scan_lvs=1}" "$2" "$1"; lvm lvcreate --devices "$1" --config "devices{scan_lvs=1}" -an -Zn -Wn -L 8m -n inside "$2"' machine "$1" "$2"`
	n.sh(t, inner, device, vg)
	// Another: the first MiBs of drive A itself, with the identity of its PV and VG.
	dev, err := n.Device(t.Context(), "A")
	must(t, err)
	n.sh(t, `dd if="$1" of="$2" bs=1M count=40 iflag=direct oflag=direct conv=notrunc status=none`, dev, n.sh(t, `readlink -f /dev/mapper/"$1"`, mapped(pair.b)))
	// A drive with a VG of somebody else's, and an LV among ours.
	must(t, n.AddDrive(t.Context(), bed.Drive{Serial: "F", Size: gib}))
	foreign, err := n.Device(t.Context(), "F")
	must(t, err)
	n.sh(t, `lvm vgcreate --devices "$1" foreign "$1" && lvm lvcreate --devices "$1" -an -Zn -Wn -L 16m -n theirs foreign`, foreign)
	n.sh(t, `lvm lvcreate --devices "$1" -an -Zn -Wn -L 8m -n home "$2"`, dev, vg)
	before := n.sh(t, `head -c 4M "$1" | sha256sum; head -c 64M "$2" | sha256sum`, foreign, device)

	n.agent.Kill()
	n.sh(t, `hostname another-name`)
	n.serve(t)
	n.works(t, file)
	if p := n.poolOf(t, file.a); p.Problem != "" || len(p.Strange) != 1 || p.Strange[0] != "home" {
		t.Errorf("lvme pools says %+v", p)
	}
	if after := n.sh(t, `head -c 4M "$1" | sha256sum; head -c 64M "$2" | sha256sum`, foreign, device); after != before {
		t.Error("what is other people's was changed")
	}
	if out := n.sh(t, rig.Binary+` drives | grep -w F`); !strings.Contains(out, `"foreign"`) {
		t.Errorf("lvme drives says %q", out)
	}
	n.sh(t, `lvm lvs --devices "$1" "$2"/home`, dev, vg)

	// A copy of drive A on another drive: which of them is true nobody can know.
	must(t, n.AddDrive(t.Context(), bed.Drive{Serial: "Z", Size: 3 * gib}))
	copied, err := n.Device(t.Context(), "Z")
	must(t, err)
	n.sh(t, `dd if="$1" of="$2" bs=1M count=40 iflag=direct oflag=direct status=none; udevadm settle`, dev, copied)
	n.agent.Kill()
	n.serve(t)
	spare, err := n.agent.Create(t.Context(), rig.Spec{Name: "beside-a-copy", FS: "ext4", Bytes: 64 * mib})
	must(t, err)
	must(t, n.agent.Publish(t.Context(), spare))
	must(t, n.agent.Unpublish(t.Context(), spare))
	if serial := n.serialOf(t, spare); serial == "Z" {
		t.Error("a volume was made on the copy of a drive")
	}
	must(t, n.agent.Delete(t.Context(), spare))
	must(t, n.RemoveDrive(t.Context(), "Z"))
	n.agent.Kill()
	n.serve(t)
	n.works(t, file)
	if text := n.sh(t, `cat "$1"/f`, file.a.Target()); text != "precious" {
		t.Errorf("a file is %q now", text)
	}
}

// mapped is the name of a volume's device.
func mapped(v *rig.Volume) string {
	parts := strings.Split(v.ID, "/")
	return "lvme--" + parts[1] + "-" + strings.ReplaceAll(parts[2], "-", "--")
}

// works makes, uses and deletes a volume on each drive, and grows one that is in use.
func (n *wholeNode) works(t *testing.T, used twin) {
	t.Helper()
	pair := n.twins(t, rig.Spec{Name: "works", FS: "ext4", Bytes: 64 * mib})
	for _, v := range []*rig.Volume{pair.a, pair.b} {
		must(t, n.agent.Publish(t.Context(), v))
		must(t, n.agent.Expand(t.Context(), v, 96*mib))
		must(t, n.agent.Unpublish(t.Context(), v))
		must(t, n.agent.Delete(t.Context(), v))
	}
	must(t, n.agent.Expand(t.Context(), used.a, used.a.Size+32*mib))
}

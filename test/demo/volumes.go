package main

import (
	"fmt"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/test/demo/rig"
)

func createVolumes(a *act) (verified string) {
	a.xfs = a.create(rig.Spec{Name: "pvc-xfs", FS: "xfs", Bytes: gib})
	a.ext4 = a.create(rig.Spec{Name: "pvc-ext4", FS: "ext4", Bytes: gib})
	a.block = a.create(rig.Spec{Name: "pvc-block", Bytes: 256 * mib})
	for _, v := range a.volumes() {
		a.equal("id of a repeated create", a.create(v.Spec).ID, v.ID)
	}
	larger := a.xfs.Spec
	larger.Bytes *= 2
	_, err := a.agent.Create(a.ctx, larger)
	a.refused("a volume of the same name and another size", err, codes.AlreadyExists)
	a.equal("volumes listed", len(call(a, a.agent.ListVolumes, &csi.ListVolumesRequest{}).GetEntries()), 3)
	a.equal("volumes active before they are staged", a.sh(`lvs --noheadings --options lv_name --select 'lv_active=active && lv_name=~^v-'`), "")
	return "1 GiB, 1 GiB, 256 MiB; listed; repeated: the same ids; the same name with another size: refused; none active yet"
}

func publishVolumes(a *act) (verified string) {
	for range 2 { // a kubelet may always ask again
		a.publish(a.volumes()...)
	}
	a.roomy(a.volumes()...)
	for _, v := range []*rig.Volume{a.xfs, a.ext4} {
		a.equal("filesystem of "+v.Name, a.sh(`findmnt --noheadings --output FSTYPE --mountpoint "$1"`, v.Target()), v.FS)
	}
	return "xfs and ext4 made and mounted for their pods, the block device shows 256 MiB; each call repeated"
}

func writeFiles(a *act) (verified string) {
	a.fill(a.volumes()...)
	a.verify(a.volumes()...)
	return fmt.Sprintf("%d files and %s MiB of the block device written, and read back from the drives: SHA-256 equal",
		a.count(a.xfs, a.ext4), blockMiB)
}

func statistics(a *act) (verified string) {
	const df = `df -B1 --output=size,used,avail,itotal,iused,iavail "$1" | tail -n 1 | xargs`
	usage := func(v *rig.Volume) []*csi.VolumeUsage {
		return call(a, a.agent.NodeGetVolumeStats, &csi.NodeGetVolumeStatsRequest{VolumeId: v.ID, VolumePath: v.Target()}).GetUsage()
	}
	var used []string
	for _, v := range []*rig.Volume{a.xfs, a.ext4} {
		var figures []string
		for _, u := range usage(v) {
			figures = append(figures, fmt.Sprint(u.GetTotal(), u.GetUsed(), u.GetAvailable()))
		}
		a.equal("statistics of "+v.Name, strings.Join(figures, " "), a.sh(df, v.Target()))
		used = append(used, v.FS+" "+size(usage(v)[0].GetUsed()))
	}
	a.equal("size of the block volume", usage(a.block)[0].GetTotal(), a.block.Size)
	return fmt.Sprintf("bytes and inodes exactly what df says (used: %s); block: the size of the device", strings.Join(used, ", "))
}

func expandOnline(a *act) (verified string) {
	for _, to := range []struct {
		v     *rig.Volume
		bytes int64
	}{{a.xfs, 3 * gib / 2}, {a.ext4, 2 * gib}, {a.block, 384 * mib}} {
		a.must(a.agent.Expand(a.ctx, to.v, to.bytes))
		a.equal("size of "+to.v.Name, to.v.Size, to.bytes)
	}
	a.roomy(a.xfs, a.ext4, a.block)
	a.verify(a.xfs, a.ext4, a.block)
	return "while mounted: xfs 1 → 1.5 GiB, ext4 1 → 2 GiB, block 256 → 384 MiB; df and blockdev show it, content equal"
}

func thickVolume(a *act) (verified string) {
	a.thick = a.create(rig.Spec{Name: "pvc-thick", FS: "ext4", Bytes: 128 * mib, Parameters: map[string]string{"type": "thick"}})
	a.publish(a.thick)
	a.fill(a.thick)
	a.verify(a.thick)
	a.equal("type of its LV", a.sh(`lvs --noheadings --options segtype --select lv_name=v-pvc-thick | xargs`), "linear")
	a.equal("thick capacity", a.available("thick"), a.thickAtStart-a.thick.Size)
	_, err := a.agent.Snapshot(a.ctx, "of-thick", a.thick)
	a.refused("a snapshot of a thick volume", err, codes.InvalidArgument)
	return "ext4 on a linear LV of 128 MiB, files equal; thick capacity less by just that; a snapshot of it: refused"
}

// recycledExtents shows that the next owner of extents reads nothing of the one before.
func recycledExtents(a *act) (verified string) {
	const isZero = `cmp -n "$2" "$1" /dev/zero >/dev/null && echo zeros || echo something`
	const use = `{ yes secret || true; } | dd of="$1" bs=1M iflag=fullblock count=32 oflag=direct status=none`
	var places []string
	for _, name := range []string{"pvc-first-tenant", "pvc-next-tenant"} {
		v := a.create(rig.Spec{Name: name, Bytes: 32 * mib, Parameters: map[string]string{"type": "thick"}})
		a.publish(v)
		a.equal("content of a new thick volume", a.sh(isZero, v.Target(), fmt.Sprint(v.Size)), "zeros")
		a.sh(use, v.Target())
		places = append(places, a.sh(`lvs --noheadings --options seg_pe_ranges --select "lv_name=$1" | xargs`, "v-"+name))
		a.remove(v)
		a.awaitThick(a.thickAtStart - a.thick.Size)
	}
	a.equal("extents of the second volume", places[1], places[0])
	return fmt.Sprintf("thick block volume filled and deleted, the next in its extents (%s): reads zeros only", places[0])
}

// awaitThick waits until deleted thick volumes are wiped.
func (a *act) awaitThick(want int64) {
	a.eventually(func() error { return equal("thick capacity", a.available("thick"), want) })
}

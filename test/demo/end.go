package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/test/demo/rig"
)

func capacityWithVolumes(a *act) (verified string) {
	var promised int64
	for _, v := range a.volumes() {
		if v != a.thick {
			promised += v.Size
		}
	}
	left := a.available("thin")
	reserved := a.thinAtStart - promised - left
	if reserved <= 0 || reserved > gib {
		a.fail("thin capacity: %d of %d bytes left, with %d bytes of volumes", left, a.thinAtStart, promised)
	}
	a.show("pools")
	a.show("volumes")
	a.show("snapshots")
	return fmt.Sprintf("thin: %s of %s left; volumes take %s, %d snapshots what their origins had written, %s",
		size(left), size(a.thinAtStart), size(promised), len(a.snapshots), size(reserved))
}

// inventory is all that the agent tells of its volumes and snapshots.
func (a *act) inventory() string {
	var lines []string
	for _, e := range call(a, a.agent.ListVolumes, &csi.ListVolumesRequest{}).GetEntries() {
		v := e.GetVolume()
		lines = append(lines, fmt.Sprint(v.GetVolumeId(), v.GetCapacityBytes(), v.GetContentSource(), v.GetAccessibleTopology()))
	}
	for _, e := range call(a, a.agent.ListSnapshots, &csi.ListSnapshotsRequest{}).GetEntries() {
		s := e.GetSnapshot()
		lines = append(lines, fmt.Sprint(s.GetSnapshotId(), s.GetSourceVolumeId(), s.GetSizeBytes(), s.GetCreationTime().AsTime()))
	}
	return strings.Join(lines, "\n")
}

func cutPower(a *act) (verified string) {
	before := a.inventory()
	a.fill(a.ext4, a.restored, a.thick)
	a.node.PowerCut()
	a.agent.Kill()
	start := time.Now()
	a.must(a.node.Boot(a.ctx))
	up := time.Since(start)
	// On a real node they are part of the image. Here they were copied, and perhaps had not reached the disk.
	a.must(rig.Install(a.ctx, a.node, a.binary, driveConfig))
	start = time.Now()
	var err error
	a.agent, err = rig.StartAgent(a.ctx, a.node, a.log)
	a.must(err)
	ready := time.Since(start)
	a.equal("inventory", a.inventory(), before)
	return fmt.Sprintf("a power cut right after an fsync, no shutdown; up in %.1f s, agent ready in %.1f s; same store, %d volumes and %d snapshots listed as before",
		up.Seconds(), ready.Seconds(), len(a.volumes()), len(a.snapshots))
}

func findAgain(a *act) (verified string) {
	a.publish(a.volumes()...)
	a.verify(a.volumes()...)
	return fmt.Sprintf("all %d volumes staged and published, all %d checksums equal, those fsynced right before the cut among them",
		len(a.volumes()), a.count(a.volumes()...))
}

func deleteOrigins(a *act) (verified string) {
	a.refused("deletion of a volume in use", a.agent.Delete(a.ctx, a.xfs), codes.FailedPrecondition)
	a.removeAll(&a.xfs, &a.ext4, &a.block)
	for _, s := range a.snapshots {
		for range 2 {
			call(a, a.agent.DeleteSnapshot, &csi.DeleteSnapshotRequest{SnapshotId: s.id})
		}
	}
	a.verify(a.volumes()...)
	return "origins before their snapshots, restores and clone (one in use: refused); what was made from them is as it was"
}

func (a *act) removeAll(volumes ...**rig.Volume) {
	for _, v := range volumes {
		a.remove(*v)
		*v = nil
	}
}

func deleteAll(a *act) (verified string) {
	a.removeAll(&a.restored, &a.larger, &a.cloned, &a.thick)
	a.equal("inventory", a.inventory(), "")
	return "each unpublished, unstaged, deleted, and deleted again; no volume and no snapshot listed"
}

func drivesClean(a *act) (verified string) {
	a.awaitThick(a.thickAtStart)
	a.equal("thin capacity", a.available("thin"), a.thinAtStart)
	a.equal("metadata and data in use", a.poolUse(), a.usedAtStart)
	a.equal("LVs", a.sh(`lvs --noheadings --options lv_name | xargs`), "pool pool")
	a.equal("mounts", a.sh(`grep -c /var/lib/kubelet /proc/mounts || true`), "0")
	a.equal("devices of volumes", a.sh(`dmsetup ls | grep -c -- '-[vsw]--' || true`), "0")
	a.show("pools")
	return "no LV but the pools, no mount, no device; use of both pools and capacity, thin and thick, as at the start"
}

func stopAgent(a *act) (verified string) {
	a.must(a.agent.Stop(a.ctx))
	a.agent = nil
	return "SIGTERM: it ended with exit code 0"
}

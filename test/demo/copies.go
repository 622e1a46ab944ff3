package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/test/demo/rig"
)

func snapshotUnderWrite(a *act) (verified string) {
	w := startWriter(a.ctx, a.node, a.xfs)
	defer w.cancel()
	a.must(w.await(a.ctx, 20))
	safe, before := w.acknowledged()
	start := time.Now()
	a.snapshot(a.xfs, a.sums[a.xfs]+"\n"+safe)
	took := time.Since(start)
	a.must(w.await(a.ctx, before+20))
	a.sums[a.xfs] += "\n" + w.stop()
	a.snapshot(a.ext4, a.sums[a.ext4])
	a.snapshot(a.block, a.sums[a.block])
	a.verify(a.xfs)
	return fmt.Sprintf("xfs in %.1f s while two writers wrote: %d records were fsynced before it, and writing went on after; then ext4 and block",
		took.Seconds(), before)
}

// snapshot takes a snapshot that must have the content of these checksums.
func (a *act) snapshot(of *rig.Volume, sums string) {
	id, err := a.agent.Snapshot(a.ctx, "snap-of-"+of.Name, of)
	a.must(err)
	a.snapshots = append(a.snapshots, snapshot{id, sums})
}

func overwrite(a *act) (verified string) {
	records := strings.TrimPrefix(a.sums[a.xfs], a.snapshots[0].sums) // since the snapshot; they stay
	a.fill(a.xfs, a.ext4, a.block)
	a.sums[a.xfs] += records
	a.verify(a.xfs, a.ext4, a.block)
	return "every data file and the block device written anew; the new checksums equal"
}

// restore makes a volume of a snapshot and publishes it.
func (a *act) restore(s snapshot, spec rig.Spec) *rig.Volume {
	spec.Snapshot = s.id
	v := a.create(spec)
	a.sums[v] = s.sums
	a.publish(v)
	return v
}

func restoreLarger(a *act) (verified string) {
	a.restored = a.restore(a.snapshots[0], rig.Spec{Name: "pvc-xfs-restored", FS: "xfs", Bytes: 2 * gib})
	a.larger = a.restore(a.snapshots[2], rig.Spec{Name: "pvc-block-restored", Bytes: 320 * mib})
	a.roomy(a.restored, a.larger)
	a.verify(a.restored, a.larger, a.xfs, a.block)
	return fmt.Sprintf("xfs 1 → 2 GiB, mounted beside its origin: all %d files as they were, every fsynced record among them; block 256 → 320 MiB: the old bytes",
		a.count(a.restored))
}

// checkFilesystem looks at the snapshot as its filesystem's own checker sees it, through a restored block volume.
func checkFilesystem(a *act) (verified string) {
	// XFS leaves something in the log on purpose when it is frozen; mounting is what replays it.
	const check = `dir=$(mktemp -d); mount -o nouuid "$1" "$dir"; umount "$dir"; xfs_repair -n "$1"`
	spec := rig.Spec{Name: "pvc-xfs-as-block", Bytes: gib, Snapshot: a.snapshots[0].id}
	_, err := a.agent.Create(a.ctx, spec)
	a.refused("a block volume from a filesystem, without asking for it", err, codes.InvalidArgument)
	spec.Parameters = map[string]string{"allowModeChange": "true"}
	v := a.restore(a.snapshots[0], spec)
	a.sh(check, v.Target())
	a.remove(v)
	return "xfs_repair -n on what was taken under write, restored as a block device: consistent; without allowModeChange: refused"
}

func clone(a *act) (verified string) {
	a.cloned = a.create(rig.Spec{Name: "pvc-ext4-clone", FS: "ext4", Bytes: gib, Volume: a.ext4.ID})
	a.sums[a.cloned] = a.sums[a.ext4]
	a.publish(a.cloned)
	a.verify(a.cloned)
	a.fill(a.cloned)
	a.verify(a.cloned, a.ext4)
	return "of the ext4 volume in use, mounted beside it: content equal; written anew, and the original stays as it was"
}

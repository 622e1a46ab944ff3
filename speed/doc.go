// Package speed measures what each layer between a drive and a pod's file costs: `lvme bench`.
//
// A layer is a place to read and write: the drive itself, a bare dm-linear, a thick volume, a thin one in the states that
// cost something, a filesystem in a published volume. A workload is what fio does there. All layers take turns within each
// round, so that what else happens on the machine meets them alike, and a ratio is formed within a round. Beside times,
// which are the machine's, it counts what is not: the I/Os, bytes and flushes that one I/O of a user becomes below, and
// holds them against what device-mapper is known to do.
//
// It has no space of its own making. Volumes and snapshots are made by the agent, through its CSI socket, and have names
// that only it gives; the drive is read and written in the sectors of such a thick volume and nowhere else, after proof of
// which these are. What it makes it takes away, and what a killed run has left, the next one does.
//
// It judges counts, not speeds: which ratio is good enough depends on the drive.
package speed

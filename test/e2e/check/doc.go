// Package check compares what Kubernetes says of the volumes of lvme with what LVM has on the nodes: every
// PersistentVolume and VolumeSnapshotContent has exactly one logical volume, on the node where it must be, and every
// logical volume of lvme has somebody who wants it, or is owed a deletion.
//
// The words: a volume is lost when its logical volume is nowhere; a logical volume is leaked when nobody wants it;
// double when it bears the name of a volume that is elsewhere; misplaced when it is not where Kubernetes believes it;
// foreign when it lies in a volume group of lvme and is not of lvme's kinds; owed when a deletion of it is recorded and
// not yet done; in the making when the claim or snapshot that asked for it still waits for the answer.
//
// It looks and judges; it neither waits nor repairs.
package check

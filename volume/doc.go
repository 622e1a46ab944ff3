// Package volume is the domain of lvme: volumes, snapshots and pools kept as
// LVM logical volumes whose tags are the only record.
//
// A volume is one logical volume (LV) in one volume group (VG) of this node's
// store. A pool is a VG that the store owns together with the thin pool in it.
// A snapshot is a thin LV that is never activated and from which volumes are
// made. What must be remembered of any of them is written as tags by the very
// command that makes it, so that a crash leaves either nothing or something
// that the next call, or the repair at start, recognises.
//
// Every verb converges: it looks, compares, acts on the difference. Called
// again after any failure it ends where an undisturbed call would have ended.
//
// The package knows nothing of CSI, protobuf or Kubernetes, and starts no
// program by itself: packages lvm and drive do.
package volume

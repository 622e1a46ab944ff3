// Package fault breaks a cluster while volumes are made and deleted in it, and finds out whether each was made once,
// where it belongs, and is deleted when it should be; and whether data that was there before is there after.
//
// A wave is a number of claims for each node, which name their node themselves, so that no pod has to be started for
// them. The residents are a pod on each node with data whose checksum is known, from the first fault to the last.
package fault

// Package drive knows a node's NVMe drives: which there are, who they are, how
// they are, what is on them, and whether lvme may take them.
//
// A drive here is one NVMe namespace as the host sees it: /dev/nvme0n1, never
// its partitions, never one of the hidden paths below a multipath head, and
// never a block device that is not NVMe. Its name changes from boot to boot
// and is no identity; Drive.ID is.
//
// A drive class is a named rule of the configuration: which drives it selects
// and how they are laid out. Judge brings the two together and says of every
// drive that it is free, ours, or refused, with each reason and the next step.
//
// The package takes no drive and writes to none: it reads sysfs, procfs, the
// drive's first and last MiB, its SMART log, and what blkid finds. It knows
// nothing of LVM; what is to be known of physical volumes is given to Judge.
package drive

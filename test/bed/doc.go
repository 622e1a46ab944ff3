// Package bed is a disposable virtual bare-metal node: QEMU emulating a machine with NVMe drives, Debian's kernel and
// userland in it, and a small daemon through which Go code on the outside runs commands, moves files, dials sockets,
// pulls drives out and cuts the power.
//
// It exists because LVM, device-mapper, NVMe and power cuts cannot be had in a container. It knows nothing of lvme: what
// is tested comes in as a binary. It is no cluster and no benchmark: the guest's CPU is emulated and about 16 times
// slower than the real one.
//
// The images are made from Debian packages by [Build], once, into a cache; [Start] restores a saved state of a booted
// guest in about two seconds and plugs the drives in. README.md tells how it works, and how to run a test in it.
package bed

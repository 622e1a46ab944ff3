package hostns

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// capability is one that the agent and the programs it starts keep.
type capability struct {
	number int
	name   string
	why    string
}

// kept are all capabilities that remain; docs/security.md tells people why.
// They leave whoever takes over the agent strong enough: the point is that what
// nobody needs is not there to be used by mistake.
var kept = []capability{
	{unix.CAP_SYS_ADMIN, "SYS_ADMIN", "mounts, device-mapper, trimming and growing filesystems, the NVMe health log"},
	{unix.CAP_DAC_OVERRIDE, "DAC_OVERRIDE", "directories of the kubelet and of pods that belong to other users"},
	{unix.CAP_CHOWN, "CHOWN", "device nodes that LVM makes where udev does not"},
	{unix.CAP_FOWNER, "FOWNER", "the mode of such nodes and of mount points"},
	{unix.CAP_MKNOD, "MKNOD", "device nodes that LVM makes where udev does not"},
	{unix.CAP_IPC_LOCK, "IPC_LOCK", "LVM locks itself into memory while devices are suspended"},
	{unix.CAP_SYS_NICE, "SYS_NICE", "LVM raises its priority while devices are suspended"},
	{unix.CAP_SYS_RESOURCE, "SYS_RESOURCE", "growing a mounted ext4"},
	{unix.CAP_SYS_MODULE, "SYS_MODULE", "LVM loads the modules of device-mapper that a volume needs"},
}

// dropCapabilities takes all other capabilities away from the calling thread
// and from every program that it becomes or starts. The thread must be locked.
func dropCapabilities() error {
	var keep uint64
	for _, c := range kept {
		keep |= 1 << c.number
	}
	for n := range 64 {
		if keep&(1<<n) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel has no more
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	// What a process inherits survives execve, whatever the bounding set says.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		mask := uint32(keep >> (32 * i))
		data[i].Effective &= mask
		data[i].Permitted &= mask
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

package mount

import (
	"slices"
	"strings"
)

// baseOptions are what every filesystem of that type is mounted with.
//
// nosuid and nodev: what a tenant wrote is visible in the host's own mounts,
// where a set-user-id file or a device node would act for whoever reaches it.
//
// xfs nouuid: a clone has its source's UUID, and XFS refuses to mount one UUID
// twice. Giving the clone a new UUID instead rewrites its metadata, for which
// its log must be clean; nouuid needs nothing and changes nothing on disk.
//
// ext4 errors=remount-ro: mkfs.ext4's default goes on writing to a filesystem
// that is known to be damaged.
var baseOptions = map[string][]string{
	Ext4:  {"nosuid", "nodev", "errors=remount-ro"},
	XFS:   {"nosuid", "nodev", "nouuid"},
	Btrfs: {"nosuid", "nodev"},
}

// Options joins the options that a filesystem of that type always has with
// lists of others. Of two that contradict each other the later wins; ro and rw
// are dropped, for a filesystem is staged writable and published as asked.
func Options(fsType string, lists ...[]string) []string {
	var options []string
	for _, o := range slices.Concat(append([][]string{baseOptions[fsType]}, lists...)...) {
		if o == "" || o == "defaults" || o == "ro" || o == "rw" {
			continue
		}
		key := optionKey(o)
		options = slices.DeleteFunc(options, func(other string) bool { return optionKey(other) == key })
		options = append(options, o)
	}
	return options
}

// optionKey is equal for options that exclude each other: noatime and
// relatime, suid and nosuid, logbsize=32k and logbsize=64k.
func optionKey(option string) string {
	name, _, _ := strings.Cut(option, "=")
	name = strings.TrimPrefix(name, "no")
	switch name {
	case "relatime", "strictatime":
		return "atime"
	case "async":
		return "sync"
	}
	return name
}

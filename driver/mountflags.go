package driver

import (
	"fmt"
	"strings"

	"github.com/lvme/lvme/volume"
)

// maxFlags is how many bytes all mount flags of a request may have (CSI
// specification, VolumeCapability.MountVolume.mount_flags).
const maxFlags = 4 << 10

// anyFSFlags are the mount options for every filesystem. What gives a tenant
// more than a plain mount is not in it: suid, dev, exec, remount, bind, x-*.
// The context options carry the SELinux label that the kubelet hands over.
var anyFSFlags = allow(
	"defaults", "ro", "rw", "noatime", "nodiratime", "relatime", "strictatime", "lazytime", "nolazytime",
	"sync", "dirsync", "nosuid", "nodev", "noexec",
	"context=<label>", "fscontext=<label>", "defcontext=<label>", "rootcontext=<label>",
)

// mountFlags are the mount options of one filesystem. Not in it: whatever
// opens another device or file (logdev, journal_path, device), drops flushes
// (nobarrier: loses acknowledged data), skips recovery or checks, or makes an
// error stop the node (errors=panic); and nouuid, which the node sets itself.
var mountFlags = map[string]allowList{
	"ext4": allow(
		"acl", "noacl", "user_xattr", "nouser_xattr", "barrier", "barrier=1", "commit=<number>",
		"data=ordered|journal|writeback", "errors=remount-ro", "discard", "nodiscard", "delalloc", "nodelalloc",
		"auto_da_alloc", "noauto_da_alloc", "dioread_lock", "dioread_nolock", "init_itable=<number>", "noinit_itable",
		"inode_readahead_blks=<number>", "journal_checksum", "max_batch_time=<number>", "min_batch_time=<number>",
		"stripe=<number>", "prjquota", "usrquota", "grpquota", "noquota",
	),
	"xfs": allow(
		"allocsize=<size>", "discard", "nodiscard", "filestreams", "ikeep", "noikeep", "inode32", "inode64",
		"largeio", "nolargeio", "logbufs=<number>", "logbsize=<size>", "noalign", "sunit=<number>", "swidth=<number>",
		"swalloc", "wsync", "uquota", "gquota", "pquota", "usrquota", "grpquota", "prjquota", "noquota",
	),
	"btrfs": allow(
		"acl", "noacl", "autodefrag", "noautodefrag", "barrier", "commit=<number>",
		"compress", "compress=no|lzo|zlib|zstd|zlib:<number>|zstd:<number>",
		"compress-force", "compress-force=no|lzo|zlib|zstd|zlib:<number>|zstd:<number>",
		"datacow", "nodatacow", "datasum", "nodatasum", "discard", "discard=sync|async", "nodiscard",
		"flushoncommit", "noflushoncommit", "max_inline=<size>", "space_cache=v2", "ssd", "nossd", "ssd_spread",
		"thread_pool=<number>", "treelog", "notreelog",
	),
}

// CheckMountFlags checks mount options for that filesystem, "" for any. Each
// flag is one option: a list in one flag could smuggle in another.
func CheckMountFlags(field, fsType string, flags []string) error {
	n := 0
	for i, flag := range flags {
		if n += len(flag); n > maxFlags {
			return volume.Invalid(field, fmt.Sprintf("%d bytes", n), fmt.Sprintf("at most %d bytes in all", maxFlags))
		}
		at := fmt.Sprintf("%s[%d]", field, i)
		if mountFlagAllowed(fsType, flag) {
			continue
		}
		if strings.ContainsAny(flag, ",\n") && !strings.Contains(flag, `"`) {
			return unsupported(at, flag, "one option in each flag")
		}
		return unsupported(at, flag, flagHelp(fsType))
	}
	return nil
}

func mountFlagAllowed(fsType, flag string) bool {
	if anyFSFlags.has(flag) || mountFlags[fsType].has(flag) {
		return true
	}
	if fsType != "" {
		return false
	}
	for _, l := range mountFlags {
		if l.has(flag) {
			return true
		}
	}
	return false
}

func flagHelp(fsType string) string {
	if fsType == "" {
		return "one of " + anyFSFlags.String() + ", or an option of the filesystem (docs/parameters.md)"
	}
	return fmt.Sprintf("one of %s, for %s %s", anyFSFlags, fsType, mountFlags[fsType])
}

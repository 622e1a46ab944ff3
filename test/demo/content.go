package main

import (
	"fmt"
	"strings"

	"github.com/lvme/lvme/test/demo/rig"
)

const (
	// fillFiles writes $2 files of random bytes, of half a million bytes, a million, and so on.
	fillFiles = `cd "$1"; for i in $(seq "$2"); do head -c $((i * 500000)) /dev/urandom >data-$i; done; sync -f .; sha256sum data-*`
	// fillBlock writes $2 MiB of random bytes at the start of a device.
	fillBlock = `dd if=/dev/urandom of="$1" bs=1M count="$2" iflag=fullblock oflag=direct status=none; ` + sumBlock
	sumBlock  = `dd if="$1" bs=1M count="$2" iflag=direct status=none | sha256sum`
	// checkFiles reads from the drive, not from the memory of the node.
	checkFiles = `echo 3 >/proc/sys/vm/drop_caches; cd "$1"; sha256sum --quiet --check - <<<"$2"`

	fileCount = "6"
	blockMiB  = "16"
)

// fill writes new content to volumes, or over their old one, and notes its checksums.
func (a *act) fill(volumes ...*rig.Volume) {
	for _, v := range volumes {
		before := a.sums[v]
		if v.FS == "" {
			a.sums[v] = a.sh(fillBlock, v.Target(), blockMiB)
		} else {
			a.sums[v] = a.sh(fillFiles, v.Target(), fileCount)
		}
		if a.sums[v] == before {
			a.fail("%s: new content is as the old", v.Name)
		}
	}
}

// verify reads the content of published volumes and compares it with the noted checksums.
func (a *act) verify(volumes ...*rig.Volume) {
	for _, v := range volumes {
		switch {
		case a.sums[v] == "":
			a.fail("%s: no checksum was noted", v.Name)
		case v.FS == "":
			a.equal("checksum of "+v.Name, a.sh(sumBlock, v.Target(), blockMiB), a.sums[v])
		default:
			a.sh(checkFiles, v.Target(), a.sums[v])
		}
	}
}

// count is how many checksums were noted for volumes.
func (p *play) count(volumes ...*rig.Volume) int {
	n := 0
	for _, v := range volumes {
		n += strings.Count(p.sums[v], "\n") + 1
	}
	return n
}

// roomy verifies that a volume's bytes are there for its user: all of a device, nearly all of a filesystem.
func (a *act) roomy(volumes ...*rig.Volume) {
	for _, v := range volumes {
		script, least := `df -B1 --output=size "$1" | tail -n 1`, v.Size/100*90
		if v.FS == "" {
			script, least = `blockdev --getsize64 "$1"`, v.Size
		}
		var bytes int64
		if _, err := fmt.Sscan(a.sh(script, v.Target()), &bytes); err != nil || bytes < least || bytes > v.Size {
			a.fail("%s has %d bytes and shows %d to its user: %w", v.Name, v.Size, bytes, err)
		}
	}
}

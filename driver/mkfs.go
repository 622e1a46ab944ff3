package driver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lvme/lvme/volume"
)

// maxMkfsOptions bounds the text of mkfs options in bytes: it is kept in a tag.
const maxMkfsOptions = 256

// mkfsOptions are the options that a StorageClass may give mkfs, and what may
// stand in their values: a comma-separated list of these. Not in it: whatever
// names another file or device (-d DIR, -J device=, -l logdev=, -z, --rootdir),
// forces or skips (-F, -f, -n, -S), labels (-L, -U: udev offers labels to the
// whole host), what cannot grow online (bigalloc, meta_bg, -resize_inode), no
// journal, and -E: the last one given replaces ours, and geometry is read from
// the device anyway.
var mkfsOptions = map[string]map[string]allowList{
	"ext4": {
		"-b": allow("1024|2048|4096"),
		"-G": allow("16|32|64|128|256|512|1024"),
		"-i": allow("4096|8192|16384|32768|65536|131072|262144|524288|1048576|2097152|4194304"),
		"-I": allow("256|512|1024"),
		"-J": allow("size=<number>"),
		"-m": allow("<percent>"),
		"-O": allow(
			"casefold", "encrypt", "huge_file", "inline_data", "large_dir", "metadata_csum", "metadata_csum_seed",
			"orphan_file", "project", "quota", "verity", "^huge_file", "^metadata_csum", "^metadata_csum_seed", "^orphan_file",
		),
		"-T": allow("big|huge|largefile|largefile4|news|small"),
	},
	"xfs": {
		"-b": allow("size=1024|2048|4096"),
		"-d": allow("agcount=<number>", "agsize=<size>", "noalign", "su=<size>", "sw=<number>", "sunit=<number>", "swidth=<number>"),
		"-i": allow("maxpct=<percent>", "nrext64=0|1", "size=512|1024|2048", "sparse=0|1"),
		"-l": allow("size=<size>", "su=<size>", "sunit=<number>"),
		"-m": allow("bigtime=0|1", "finobt=0|1", "inobtcount=0|1", "reflink=0|1", "rmapbt=0|1"),
		"-n": allow("size=4096|8192|16384|32768|65536"),
		"-s": allow("size=512|4096"),
	},
	"btrfs": {
		"-d":     allow("single|dup"),
		"-m":     allow("single|dup"),
		"-n":     allow("4096|8192|16384|32768|65536|4k|8k|16k|32k|64k"),
		"-s":     allow("4096|4k"),
		"-O":     allow("block-group-tree", "extref", "free-space-tree", "no-holes", "skinny-metadata", "^block-group-tree", "^no-holes"),
		"--csum": allow("crc32c|xxhash|sha256|blake2"),
	},
}

// ParseMkfsOptions splits the text of mkfs options for that filesystem into
// arguments and checks each. Values stand apart from their option: "-m 1 -T largefile".
func ParseMkfsOptions(field, fsType, text string) ([]string, error) {
	if len(text) > maxMkfsOptions {
		return nil, volume.Invalid(field, fmt.Sprintf("%d bytes", len(text)), fmt.Sprintf("at most %d bytes", maxMkfsOptions))
	}
	args := strings.Fields(text)
	if len(args) == 0 {
		return nil, nil
	}
	options := mkfsOptions[fsType]
	seen := map[string]bool{}
	for i := 0; i < len(args); i += 2 {
		option := args[i]
		values, ok := options[option]
		switch {
		case !ok:
			return nil, volume.Invalid(field, option, fmt.Sprintf("for %s the options %s, each with its value after a space",
				fsType, strings.Join(slices.Sorted(maps.Keys(options)), ", ")))
		case seen[option]:
			return nil, volume.Invalid(field, option, "each option once")
		case i+1 == len(args):
			return nil, volume.Invalid(field, option, "a value after it: "+values.String())
		}
		seen[option] = true
		if err := checkValues(field, option, args[i+1], values); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func checkValues(field, option, value string, allowed allowList) error {
	for part := range strings.SplitSeq(value, ",") {
		if !allowed.has(part) {
			return volume.Invalid(field, option+" "+part, option+" with "+allowed.String())
		}
	}
	return nil
}

// MkfsArgs are mkfs's arguments of a volume whose profile and StorageClass
// both give options: an option of the class replaces the profile's, because
// mkfs.ext4 takes some only once.
func MkfsArgs(profile, class []string) []string {
	var args []string
	keep := true
	for _, arg := range profile {
		if strings.HasPrefix(arg, "-") {
			keep = !slices.Contains(class, arg)
		}
		if keep {
			args = append(args, arg)
		}
	}
	return append(args, class...)
}

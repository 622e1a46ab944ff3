package volume

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// MaxName is the longest name of a volume or snapshot, in bytes (CSI spec,
// "Size Limits").
const MaxName = 128

const (
	// lvNameChars are the characters of an LV name (lvm(8), "VALID NAMES").
	lvNameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-"
	// maxPlain is the longest name that becomes part of an LV name as it is.
	maxPlain = 60
	// maxPlainDM bounds the same name in device-mapper, where each hyphen is
	// written twice: 127 less the VG ("lvme--xxxxxxxx-"), the prefix ("v--")
	// and the longest suffix that LVM puts behind it ("_rimage_0-missing_0_0").
	maxPlainDM = 80
	// hashMark begins the names that are hashes. A plain name never holds it,
	// so that no name can be made to meet another's hash.
	hashMark = "+"
)

// reserved are the parts that LVM keeps for itself (lvm(8), "VALID NAMES").
var reserved = []string{
	"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta",
	"_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
}

// VolumeLV is the name of the LV of the volume of that name, whichever VG it
// is in.
func VolumeLV(name string) string { return volumePrefix + plainOrHash(name) }

// snapshotLV is the name of the LV of the snapshot of that name.
func snapshotLV(name string) string { return snapshotPrefix + plainOrHash(name) }

// plainOrHash returns name where LVM allows it and a hash of it elsewhere.
func plainOrHash(name string) string {
	if plain(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hashMark + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

func plain(name string) bool {
	if name == "" || len(name) > maxPlain || len(name)+strings.Count(name, "-") > maxPlainDM {
		return false
	}
	if strings.Trim(name, lvNameChars) != "" || strings.Contains(name, hashMark) {
		return false
	}
	for _, r := range reserved {
		if strings.Contains(name, r) {
			return false
		}
	}
	return true
}

// checkName says whether name may name a volume or a snapshot.
func checkName(name string) error {
	switch {
	case name == "":
		return Invalid("name", name, "a name of 1 to 128 bytes")
	case len(name) > MaxName:
		return Invalid("name", name, "at most 128 bytes")
	}
	for _, r := range name {
		// CSI spec, "Required": no control characters but tab, newline and carriage return are to be used.
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r <= 0x9f {
			return Invalid("name", name, "no control characters")
		}
	}
	return nil
}

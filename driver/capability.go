package driver

import (
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/volume"
)

// FSTypes are the filesystems a volume may have.
var FSTypes = []string{"btrfs", "ext4", "xfs"}

// Capability is a checked volume capability.
type Capability struct {
	Mode   volume.Mode
	Access csi.VolumeCapability_AccessMode_Mode
	// FSType is one of FSTypes, or empty when the caller leaves it open and
	// for a block volume.
	FSType string
	// MountFlags are mount options, each allowed for FSType, or for some
	// filesystem when that is empty: whoever mounts checks them again.
	MountFlags []string
}

// ReadOnly says that nobody may write through this capability.
func (c Capability) ReadOnly() bool {
	return c.Access == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
}

// OneWorkload says that one target path at most may have the volume.
func (c Capability) OneWorkload() bool {
	return c.Access == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
}

// accessModes are the modes of a volume that one node reaches.
var accessModes = []csi.VolumeCapability_AccessMode_Mode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
}

// ParseCapabilities reads the capabilities that one volume is to have all of.
// They must agree on mode and filesystem, which are those of the Capability
// returned; its other fields are the first one's. At least one is required.
func ParseCapabilities(field string, caps []*csi.VolumeCapability) (Capability, error) {
	if len(caps) == 0 {
		return Capability{}, volume.Invalid(field, "", "at least one capability")
	}
	var all Capability
	for i, c := range caps {
		at := fmt.Sprintf("%s[%d]", field, i)
		one, err := ParseCapability(at, c)
		if err != nil {
			return Capability{}, err
		}
		if i == 0 {
			all = one
		}
		if err := agree(at, &all, one); err != nil {
			return Capability{}, err
		}
	}
	return all, nil
}

func agree(field string, all *Capability, one Capability) error {
	if one.Mode != all.Mode {
		return unsupported(field+".access_type", string(one.Mode), "a volume is either block or mount: as capability 0, "+string(all.Mode))
	}
	if all.FSType == "" {
		all.FSType = one.FSType
	}
	if one.FSType != "" && one.FSType != all.FSType {
		return unsupported(field+".mount.fs_type", one.FSType, "one filesystem in all capabilities, here "+all.FSType)
	}
	return nil
}

// ParseCapability checks one capability. An ErrUnsupported says that it is
// well-formed and yet nothing lvme has.
func ParseCapability(field string, c *csi.VolumeCapability) (Capability, error) {
	if c == nil {
		return Capability{}, volume.Invalid(field, "", "a volume capability")
	}
	access := c.GetAccessMode().GetMode()
	if err := checkAccess(field+".access_mode", access); err != nil {
		return Capability{}, err
	}
	switch {
	case c.GetBlock() != nil:
		return Capability{Mode: volume.Block, Access: access}, nil
	case c.GetMount() != nil:
		return parseMount(field+".mount", access, c.GetMount())
	}
	return Capability{}, volume.Invalid(field+".access_type", "", "block or mount")
}

func checkAccess(field string, mode csi.VolumeCapability_AccessMode_Mode) error {
	if mode == csi.VolumeCapability_AccessMode_UNKNOWN {
		return volume.Invalid(field, mode.String(), names(accessModes))
	}
	if !slices.Contains(accessModes, mode) {
		return unsupported(field, mode.String(), names(accessModes)+" (a volume lives on the drives of one node)")
	}
	return nil
}

func names(modes []csi.VolumeCapability_AccessMode_Mode) string {
	text := make([]string, len(modes))
	for i, m := range modes {
		text[i] = m.String()
	}
	return strings.Join(text, ", ")
}

func parseMount(field string, access csi.VolumeCapability_AccessMode_Mode, m *csi.VolumeCapability_MountVolume) (Capability, error) {
	if err := CheckFSType(field+".fs_type", m.GetFsType()); err != nil {
		return Capability{}, err
	}
	if err := CheckMountFlags(field+".mount_flags", m.GetFsType(), m.GetMountFlags()); err != nil {
		return Capability{}, err
	}
	if g := m.GetVolumeMountGroup(); g != "" {
		return Capability{}, unsupported(field+".volume_mount_group", g, "none: VOLUME_MOUNT_GROUP is not offered")
	}
	return Capability{Mode: volume.Filesystem, Access: access, FSType: m.GetFsType(), MountFlags: m.GetMountFlags()}, nil
}

// CheckFSType checks the name of a filesystem, empty for "any".
func CheckFSType(field, fsType string) error {
	if fsType != "" && !slices.Contains(FSTypes, fsType) {
		return unsupported(field, fsType, "one of "+strings.Join(FSTypes, ", ")+", or empty for the profile's")
	}
	return nil
}

func unsupported(field, value, allowed string) error {
	return fmt.Errorf("%w: %w", ErrUnsupported, volume.Invalid(field, value, allowed))
}

// maxMap is how many bytes the keys and values of a map may have (CSI
// specification, "Size Limits").
const maxMap = 4 << 10

// CheckMap checks the size of a map in a request.
func CheckMap(field string, m map[string]string) error {
	n := 0
	for k, v := range m {
		n += len(k) + len(v)
	}
	if n > maxMap {
		return volume.Invalid(field, fmt.Sprintf("%d bytes", n), fmt.Sprintf("at most %d bytes of keys and values", maxMap))
	}
	return nil
}

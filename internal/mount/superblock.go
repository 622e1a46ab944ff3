package mount

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

// superblock is what a filesystem says of itself on its device.
type superblock struct {
	// bytes is its size.
	bytes int64
	// damaged: ext4 has recorded errors.
	damaged bool
	// id is btrfs's filesystem id.
	id [16]byte
	// log: btrfs has a log that the next mount replays.
	log bool
}

// Offsets are those of the kernel's fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h
// and include/uapi/linux/btrfs_tree.h.
const (
	ext4Super  = 1024
	btrfsSuper = 64 << 10
)

// readSuper reads the superblock of a filesystem of that type.
func readSuper(dev, fsType string) (superblock, error) {
	f, err := os.Open(dev)
	if err != nil {
		return superblock{}, err
	}
	defer f.Close()
	data := make([]byte, btrfsSuper+4096)
	if _, err := f.ReadAt(data, 0); err != nil {
		return superblock{}, fmt.Errorf("read the superblock of %s: %w", dev, err)
	}
	var s superblock
	var ok bool
	switch fsType {
	case Ext4:
		s, ok = ext4Superblock(data[ext4Super:])
	case XFS:
		s, ok = xfsSuperblock(data)
	case Btrfs:
		s, ok = btrfsSuperblock(data[btrfsSuper:])
	}
	if !ok {
		return superblock{}, fmt.Errorf("%s holds no %s filesystem", dev, fsType)
	}
	return s, nil
}

func ext4Superblock(b []byte) (superblock, bool) {
	const errorFS = 2
	le := binary.LittleEndian
	if le.Uint16(b[0x38:]) != 0xEF53 || le.Uint32(b[0x18:]) > 6 {
		return superblock{}, false
	}
	blocks := int64(le.Uint32(b[0x4:]))
	const incompat64Bit = 0x80
	if le.Uint32(b[0x60:])&incompat64Bit != 0 {
		blocks |= int64(le.Uint32(b[0x150:])) << 32
	}
	return superblock{bytes: blocks << (10 + le.Uint32(b[0x18:])), damaged: le.Uint16(b[0x3A:])&errorFS != 0}, true
}

func xfsSuperblock(b []byte) (superblock, bool) {
	be := binary.BigEndian
	return superblock{bytes: int64(be.Uint32(b[4:])) * int64(be.Uint64(b[8:]))}, bytes.HasPrefix(b, []byte("XFSB"))
}

func btrfsSuperblock(b []byte) (superblock, bool) {
	le := binary.LittleEndian
	s := superblock{bytes: int64(le.Uint64(b[0x70:])), id: [16]byte(b[0x20:0x30]), log: le.Uint64(b[0x60:]) != 0}
	return s, bytes.Equal(b[0x40:0x48], []byte("_BHRfS_M"))
}

package drive

import "slices"

// Drive is one NVMe namespace of this host. Sizes are in bytes.
type Drive struct {
	// Name is the kernel's name, such as nvme0n1, and Path its device node.
	// Both may change with every boot and every plugging.
	Name string `json:"name"`
	Path string `json:"path"`
	// ID is the drive's stable identity: "eui.<NGUID>", else "eui.<EUI64>",
	// else the kernel's WWID, else "nvme.<model>_<serial>_<nsid>".
	ID string `json:"id"`

	Model    string `json:"model"`
	Serial   string `json:"serial"`
	Firmware string `json:"firmware"`
	// WWID is what the kernel built. EUI64 and NGUID are lower-case hex
	// digits, UUID is in its usual form; each is empty when the drive has
	// none, or one that the kernel knows to be bogus.
	WWID  string `json:"wwid,omitempty"`
	EUI64 string `json:"eui64,omitempty"`
	NGUID string `json:"nguid,omitempty"`
	UUID  string `json:"uuid,omitempty"`
	NSID  int64  `json:"nsid"`

	Bytes         int64 `json:"bytes"`
	LogicalBlock  int64 `json:"logicalBlock"`
	PhysicalBlock int64 `json:"physicalBlock"`
	// DiscardMax and WriteZeroesMax are the largest single request, 0 when the
	// drive cannot do it.
	DiscardMax     int64 `json:"discardMax"`
	WriteZeroesMax int64 `json:"writeZeroesMax"`
	// Zoned is the kernel's word for a zoned namespace ("host-managed"), empty
	// for an ordinary one.
	Zoned    string `json:"zoned,omitempty"`
	ReadOnly bool   `json:"readOnly"`

	// NUMANode is -1 when the host does not say.
	NUMANode int `json:"numaNode"`
	// Transport is pcie, tcp, rdma, fc, loop, or apple-nvme.
	Transport string `json:"transport"`
	// Address is where the controller sits: a PCI address, or the fabric's.
	Address string `json:"address,omitempty"`
	// Controllers are those through which the namespace is reached (nvme0).
	Controllers []string `json:"controllers"`
	// State is "live" when at least one controller is, else the state of the
	// first one: new, resetting, connecting, deleting, dead, or unknown.
	State string `json:"state"`

	// Paths are the links below /dev/disk/by-id and /dev/disk/by-path that
	// lead to the drive, sorted.
	Paths []string `json:"paths"`
	Major uint32   `json:"major"`
	Minor uint32   `json:"minor"`

	// What uses the drive, the drive itself or one of its partitions.
	Partitions []Partition `json:"partitions,omitempty"`
	Holders    []Use       `json:"holders,omitempty"`
	Mounts     []Use       `json:"mounts,omitempty"`
	Swaps      []string    `json:"swaps,omitempty"`

	Content Content `json:"content"`
	Health  Health  `json:"health"`
}

// Partition is one partition of a drive.
type Partition struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Major uint32 `json:"-"`
	Minor uint32 `json:"-"`
}

// Use says that a device, the drive or one of its partitions, is used by
// something: a mount point, or a device on top of it such as "dm-3 (vg-lv)".
type Use struct {
	Device string `json:"device"`
	By     string `json:"by"`
}

// Content is what was found on a drive.
type Content struct {
	// Probed says that the drive was read. When false, Error says why not and
	// nothing else here means anything.
	Probed bool   `json:"probed"`
	Error  string `json:"error,omitempty"`
	// Silent says that the drive did not answer in time, or has not answered
	// yet: a command that touches it may hang.
	Silent bool `json:"silent,omitempty"`
	// Signatures are the types that blkid knows: ext4, LVM2_member, gpt, ...
	Signatures []string `json:"signatures,omitempty"`
	// Blank says that the first and the last MiB read as zeros. A drive may
	// hold no signature and still not be blank.
	Blank bool `json:"blank"`
	// Busy says that somebody holds the drive open exclusively.
	Busy bool `json:"busy,omitempty"`
}

// LVMMember is the signature of an LVM physical volume.
const LVMMember = "LVM2_member"

// stateLive is the state of a controller that does I/O.
const stateLive = "live"

// Live reports whether a controller of the drive does I/O.
func (d Drive) Live() bool { return d.State == stateLive }

// IDs are all identities that the drive can be known by, the stable one first.
// A kernel update may stop trusting (or start to trust) the EUI64 and NGUID of
// a model, and then ID changes for the same drive: a look-up of a recorded
// drive goes through Is.
func (d Drive) IDs() []string {
	var ids []string
	for _, id := range []string{eui(d.NGUID), eui(d.EUI64), d.WWID, fallbackID(d)} {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Is reports whether this is the drive that was recorded with the identity id.
func (d Drive) Is(id string) bool { return slices.Contains(d.IDs(), id) }

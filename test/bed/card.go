package bed

import "context"

// Card is a network card that connects a node with a tap device of this process's network namespace. In the guest it is
// the one with that address; nothing is set up on it. It takes a slot of NUMA node 0, which then has one less for drives.
type Card struct {
	Tap string // the tap device, which must be there
	MAC string // as in 52:54:00:00:00:01
}

// cardSlot is the slot of a card: the last of NUMA node 0.
var cardSlot = nodeSlots[0][len(nodeSlots[0])-1]

// cardID is the name of the card and of what is behind it in QEMU.
const cardID = "card"

func (c *Card) backend() args {
	return args{"type": "tap", "id": cardID, "ifname": c.Tap, "script": "no", "downscript": "no"}
}

func (c *Card) device() args {
	return args{"driver": "virtio-net-pci", "id": cardID, "netdev": cardID, "mac": c.MAC, "romfile": "", "bus": port(cardSlot)}
}

// args are the arguments of QEMU for the card, if there is one.
func (c *Card) args() []string {
	if c == nil {
		return nil
	}
	return []string{"-netdev", encode(c.backend()), "-device", encode(c.device())}
}

// attachCard plugs a card in, if there is one. The guest finds it in its own time.
func (m *machine) attachCard(ctx context.Context, c *Card) error {
	if c == nil {
		return nil
	}
	if err := m.qmp.do(ctx, "netdev_add", c.backend()); err != nil {
		return err
	}
	return m.qmp.do(ctx, "device_add", c.device())
}

package cluster

import "fmt"

// ControlPlane stands for the control plane where a node's number is wanted.
const ControlPlane = 0

// cut is a pair of numbers, the lower one first.
type cut [2]int

// Cut cuts the network between two nodes, or between a node and the control plane, in both directions: packets get
// lost. It holds until it is healed, also while a node is off.
func (c *Cluster) Cut(a, b int) error {
	return c.setCut(a, b, true)
}

// Heal takes a cut back.
func (c *Cluster) Heal(a, b int) error {
	return c.setCut(a, b, false)
}

func (c *Cluster) setCut(a, b int, on bool) error {
	pair := cut{min(a, b), max(a, b)}
	if pair[0] < ControlPlane || pair[0] == pair[1] || pair[1] > c.opts.Nodes {
		return fmt.Errorf("there is no network between %d and %d", a, b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts[pair] == on {
		return nil
	}
	if err := c.rewire(pair, on); err != nil {
		return fmt.Errorf("change the network between %d and %d: %w", a, b, err)
	}
	c.cuts[pair] = on
	return nil
}

// rewire changes the network. The bridge passes nothing between two ports that are both isolated: with more than one cut
// between nodes, that is more than was asked for.
func (c *Cluster) rewire(pair cut, on bool) error {
	if pair[0] == ControlPlane {
		return cutControlPlane(pair[1], on)
	}
	for other, cut := range c.cuts {
		if cut && on && other[0] != ControlPlane {
			return fmt.Errorf("there is a cut between nodes %d and %d already: one at a time", other[0], other[1])
		}
	}
	state := map[bool]string{true: "on", false: "off"}[on]
	for _, number := range pair {
		if err := ip("link set " + tap(number) + " type bridge_slave isolated " + state); err != nil {
			return err
		}
	}
	return nil
}

// cutControlPlane has the control plane answer a node into a network where nobody is. From there it takes nothing of the
// node's either, since packets must come from where the answer would go (rp_filter).
func cutControlPlane(node int, on bool) error {
	if on {
		return ip(
			"route add "+nodeAddress(node)+" dev "+hole+" src "+HostAddress,
			"neigh replace "+nodeAddress(node)+" lladdr 02:00:00:00:00:01 nud permanent dev "+hole,
			"route replace "+podRange(node)+" via "+nodeAddress(node)+" dev "+hole+" onlink",
		)
	}
	return ip(
		"route del "+nodeAddress(node)+" dev "+hole,
		"route replace "+podRange(node)+" via "+nodeAddress(node)+" dev "+bridge,
	)
}

package cluster

import (
	"strings"
	"testing"
)

// TestVerbs: words that make no sense are refused before anything is done.
func TestVerbs(t *testing.T) {
	c := &Cluster{opts: Options{Nodes: 2}, nodes: []*Node{{Name: "node1", Number: 1}, {Name: "node2", Number: 2}}, cuts: map[cut]bool{}}
	for _, tc := range []struct {
		words, want string
	}{
		{"off", "one node"},
		{"off node1 node2", "one node"},
		{"off node3", `no node "node3"`},
		{"reboot", "one node"},
		{"cut node1", "two ends"},
		{"cut node1 node3", `no node "node3"`},
		{"cut node1 node1", "no network"},
		{"cut control control", "no network"},
		{"pull node1", "serial number"},
		{"hang node3 A", `no node "node3"`},
		{"import", "path of an image"},
		{"install one two", "its tag"},
	} {
		t.Run(tc.words, func(t *testing.T) {
			words := strings.Fields(tc.words)
			err := verbs[words[0]](t.Context(), c, words[1:])
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestOneCut: a second cut between nodes would cut more than is asked for.
func TestOneCut(t *testing.T) {
	c := &Cluster{opts: Options{Nodes: 3}, cuts: map[cut]bool{{1, 2}: true, {ControlPlane, 3}: true}}
	if err := c.Cut(2, 3); err == nil || !strings.Contains(err.Error(), "nodes 1 and 2") {
		t.Errorf("a second cut: %v", err)
	}
	if err := c.Cut(2, 1); err != nil {
		t.Errorf("the same cut again: %v", err)
	}
	if err := c.Heal(1, 3); err != nil {
		t.Errorf("heal what is not cut: %v", err)
	}
}

// TestAddresses: no two nodes share one, nor the control plane's.
func TestAddresses(t *testing.T) {
	seen := map[string]int{HostAddress: ControlPlane}
	for i := 1; i <= 9; i++ {
		for _, address := range []string{nodeAddress(i), podRange(i), tap(i), card(i).MAC} {
			if other, ok := seen[address]; ok {
				t.Errorf("nodes %d and %d share %s", other, i, address)
			}
			seen[address] = i
		}
	}
}

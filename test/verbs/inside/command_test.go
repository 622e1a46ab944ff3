package main

import (
	"slices"
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	c := command{Args: strings.Fields("lvcreate --devices /dev/nvme0n1 --config SETTINGS -an -V 64b -n v-pvc-bench-" + token +
		" --addtag lvme:volume=pvc-bench-" + token + " -T lvme-abcd1234/pool")}
	want := "lvcreate -an -V 64b -n v-pvc-bench-a --addtag lvme:volume=pvc-bench-a -T lvme-abcd1234/pool"
	if got := strings.Join(c.plain().with(token, "a").Args, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !strings.Contains(strings.Join(c.Args, " "), token) || len(c.Args) != 14 {
		t.Errorf("the command itself was changed: %q", c.Args)
	}
	if !c.changes() || lvm("fullreport").changes() {
		t.Error("what changes LVM and what reads is mixed up")
	}
}

// TestPeers: every verb of LVM has its steps, and each step names what is of its own
// tag only.
func TestPeers(t *testing.T) {
	for name, side := range map[string]*replaySide{"TopoLVM": topoLVM("lvme-abcd1234"), "OpenEBS": openEBS("lvme-abcd1234")} {
		for _, verb := range []string{create, takeSnapshot, restore, expand, deleteRestore, deleteSnap, deleteVolume} {
			all, changes := side.commands(verb)
			if changes == 0 {
				t.Errorf("%s changes nothing for %s", name, verb)
			}
			if all != len(side.steps[verb]) {
				t.Errorf("%s: %d of %d commands counted for %s", name, all, len(side.steps[verb]), verb)
			}
			for _, c := range side.steps[verb] {
				if c.changes() && !strings.Contains(strings.Join(c.Args, " "), side.token) {
					t.Errorf("%s: %q of %s has nothing of its tag", name, c.Args, verb)
				}
			}
		}
	}
}

func TestCreationInAnotherGroup(t *testing.T) {
	b := &bench{
		groups: []group{{"lvme-aaaaaaaa", "/dev/nvme0n1", "v-a"}, {"lvme-bbbbbbbb", "/dev/nvme1n1", "v-b"}},
		notes:  map[string][]command{create: {{Args: []string{"lvcreate", "--devices", "/dev/nvme1n1", "-n", "v-pvc-bench-" + token, "-T", "lvme-bbbbbbbb/pool"}}}},
	}
	want := []string{"lvcreate", "--devices", "/dev/nvme0n1", "-n", "v-pvc-bench-x", "-T", "lvme-aaaaaaaa/pool"}
	if got := b.creationIn(b.groups[0], "x"); len(got) != 1 || !slices.Equal(got[0].Args, want) {
		t.Errorf("got %q", got)
	}
}

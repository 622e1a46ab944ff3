package data

import (
	"os"
	"testing"

	"github.com/lvme/lvme/drive"
)

func TestMain(m *testing.M) {
	if options := os.Getenv(agentMarker); options != "" {
		os.Exit(agentMain(options))
	}
	os.Exit(m.Run())
}

// where says on what a case runs.
type where int

const (
	onFake where = 1 << iota
	onReal
	both = onFake | onReal
)

// testCase is one case. It leaves the node as it found it: with an agent that
// runs and nothing in its pools.
type testCase struct {
	name string
	on   where
	// layout of the drives; per-drive if empty.
	layout drive.Layout
	run    func(*testing.T, *node)
}

var cases = []testCase{
	{"content/ext4", both, "", func(t *testing.T, n *node) { testContent(t, n, "ext4") }},
	{"content/xfs", both, "", func(t *testing.T, n *node) { testContent(t, n, "xfs") }},
	{"content/btrfs", both, "", func(t *testing.T, n *node) { testContent(t, n, "btrfs") }},
	{"content/block", both, "", func(t *testing.T, n *node) { testContent(t, n, "") }},
	{"content/written while it is taken", onReal, "", testSnapshotUnderWrite},
	{"hostile/ids", both, "", testHostileIDs},
	{"hostile/names", both, "", testNames},
	{"hostile/parameters", both, "", testHostileParameters},
	{"hostile/sizes", both, "", testHostileSizes},
	{"hostile/capabilities", both, "", testHostileCapabilities},
	{"hostile/paths", both, "", testHostilePaths},
	{"commands", onFake, "", testCommands},
	{"concurrency", both, "", testConcurrency},
	{"full", both, "", func(t *testing.T, n *node) { testPoolFull(t, n, "ext4") }},
	{"full/xfs", both, "", func(t *testing.T, n *node) { testPoolFull(t, n, "xfs") }},
	{"restart", both, "", testRestart},
	{"crash/killed", onReal, "", testKilled},
	{"isolation/stale thin", both, "", testStaleThin},
	{"faults/no LVM", both, "", testNoLVM},
	{"faults/pool off", both, "", testPoolOff},
	{"faults/pool gone", onFake, "", testPoolGone},
	{"faults/pool damaged", onFake, "", testPoolDamaged},
	{"isolation/linear", onReal, drive.PerDrive, testIsolation},
	{"isolation/striped", both, drive.Striped, testIsolation},
	{"isolation/mirrored", both, drive.Mirrored, testIsolation},
	{"faults/drive pulled", both, "", testDrivePulled},
}

// full asks for the long form of the cases that have one.
func full() bool { return os.Getenv("LVME_DATA") == "full" }

func TestFake(t *testing.T) {
	for _, c := range cases {
		if c.on&onFake == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			n := fakeNode(t, config(c.layout))
			c.run(t, n)
			n.empty(t)
		})
	}
}

// TestReal gives cases that follow each other the same node, for taking drives
// takes longer than most of them. A node on which a case failed is not used
// again.
func TestReal(t *testing.T) {
	if os.Getenv("LVME_BED") != "1" {
		t.Skip("needs the bed: make test-real REAL=./test/data")
	}
	r := &reals{}
	defer r.end(t)
	for _, c := range cases {
		if c.on&onReal == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			n := r.node(t, c.layout)
			c.run(t, n)
			n.empty(t)
			r.good = !t.Failed() && !n.spoiled
		})
	}
}

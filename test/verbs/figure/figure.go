// Package figure holds what is measured of the control path: the order for it,
// its figures, what they must not exceed, and their tables. It measures nothing.
package figure

import (
	"math"
	"slices"
	"time"
)

// Order says what is to be measured.
type Order struct {
	// Volumes are the sizes of the node at which all is measured, ascending; Groups
	// are the numbers of volume groups that they are spread over, each on a node of
	// its own.
	Volumes, Groups []int
	// Rounds is how often each verb is measured; Batches and AtOnce are how often, and
	// how many creations at once.
	Rounds, Batches int
	AtOnce          []int
	// Starts is how often the agent is started, Rest how long it is watched.
	Starts int
	Rest   time.Duration
	// LargeGiB is the size of the volume whose deletion is measured, 0 for none.
	LargeGiB int64
	// Peers has the steps of other drivers measured too.
	Peers bool
}

// Milliseconds are a time.
type Milliseconds float64

// Of is a duration in them.
func Of(d time.Duration) Milliseconds {
	return Milliseconds(float64(d) / float64(time.Millisecond))
}

// Times are what one thing took, again and again.
type Times []Milliseconds

// Percentile is the smallest time that so many per cent of all do not exceed, 0 of
// none (the nearest rank).
func (t Times) Percentile(percent float64) Milliseconds {
	if len(t) == 0 {
		return 0
	}
	ordered := slices.Sorted(slices.Values(t))
	rank := int(math.Ceil(percent / 100 * float64(len(ordered))))
	return ordered[max(rank, 1)-1]
}

// Median is the middle one, or the mean of the two in the middle.
func (t Times) Median() Milliseconds {
	if len(t) == 0 {
		return 0
	}
	ordered := slices.Sorted(slices.Values(t))
	half := len(ordered) / 2
	if len(ordered)%2 == 1 {
		return ordered[half]
	}
	return (ordered[half-1] + ordered[half]) / 2
}

// Ratio is the median of t by that of others, 0 where there is nothing to compare.
func (t Times) Ratio(others Times) float64 {
	if others.Median() == 0 {
		return 0
	}
	return float64(t.Median() / others.Median())
}

// Report is all that was measured.
type Report struct {
	Date  time.Time
	Order Order
	Nodes []Node
}

// Node is what was measured on one node.
type Node struct {
	Groups int
	// Kernel and LVM are the versions, CPUs how many it has.
	Kernel, LVM string
	CPUs        int
	Sizes       []Size
	Large       *Large
}

// Size is what was measured with so many volumes on the node.
type Size struct {
	Volumes int
	Verbs   []Verb
	AtOnce  []AtOnce
	Start   Start
	Rest    Rest
}

// The sides that do the same in turn. Bare runs the commands that lvme was seen to
// run, Defaults the same without its --config and --devices.
const (
	Lvme     = "lvme"
	Bare     = "bare"
	Defaults = "defaults"
	TopoLVM  = "TopoLVM"
	OpenEBS  = "OpenEBS LVM"
)

// Verb is one verb by all sides.
type Verb struct {
	Name  string
	Sides []Side
}

// Side is one verb by one side.
type Side struct {
	Name string
	// Commands of LVM are started by it, Changes are those that change something.
	Commands, Changes int
	Times             Times
	// Own is what lvme's own took beside its commands.
	Own Times
	// Disturbed counts rounds in which something else ran beside it; they are not
	// among Times.
	Disturbed int
}

// Side is that side's, nothing if it does not have the verb.
func (v Verb) Side(name string) Side {
	for _, s := range v.Sides {
		if s.Name == name {
			return s
		}
	}
	return Side{Name: name}
}

// AtOnce are creations at once, and deletions of what they made.
type AtOnce struct {
	Calls, Failed int
	// Lvme is from the first call to the last answer, Bare the same commands one
	// after another in each group, all groups at once; a time for each batch.
	Lvme, Bare, Deleted Times
	// Each is every single call.
	Each Times
}

// Start is the agent's, from its exec until it is ready, and one report of all drives.
type Start struct {
	Times, Report Times
	// Commands are the verbs of LVM that it runs.
	Commands []string
}

// Rest is the agent with nothing to do.
type Rest struct {
	Window time.Duration
	// StartKiB is resident memory after the start, ResidentKiB at rest after all
	// work, PeakKiB the most ever.
	StartKiB, ResidentKiB, PeakKiB int
	// CPU is the time used in Window, as the node counts it.
	CPU time.Duration
}

// Large is the deletion of a volume whose blocks are all mapped.
type Large struct {
	GiB int64
	// Bare is lvremove alone; Kept and GivenBack are DeleteVolume without and with
	// giving its blocks back to the drive.
	Bare, Kept, GivenBack Milliseconds
}

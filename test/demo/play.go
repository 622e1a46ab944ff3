package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// step is one act of the play. It returns what it has verified, in words for the audience.
type step struct {
	name string
	do   func(*act) (verified string)
}

var steps = []step{
	{"boot a node", boot},
	{"start the agent", startAgent},
	{"look at the drives", lookAtDrives},
	{"show what init would do", dryRun},
	{"take the drives", takeDrives},
	{"capacity before", capacityBefore},
	{"create xfs, ext4, block volumes", createVolumes},
	{"stage and publish", publishVolumes},
	{"write files", writeFiles},
	{"statistics", statistics},
	{"snapshot under write", snapshotUnderWrite},
	{"overwrite the originals", overwrite},
	{"restore to a larger size", restoreLarger},
	{"check the snapshot's filesystem", checkFilesystem},
	{"clone", clone},
	{"expand online", expandOnline},
	{"thick volume", thickVolume},
	{"another in its extents", recycledExtents},
	{"capacity with all volumes", capacityWithVolumes},
	{"cut the power, boot again", cutPower},
	{"find everything again", findAgain},
	{"delete origins and snapshots", deleteOrigins},
	{"delete all", deleteAll},
	{"drives clean", drivesClean},
	{"stop the agent", stopAgent},
}

// play is what one step leaves for the next.
type play struct {
	screen       *screen
	dir          string // on this host
	binary       string
	log, console *rig.Tail

	node  *bed.Node
	agent *rig.Agent

	// What it is at the beginning, and is to be again at the end.
	thinAtStart, thickAtStart int64
	usedAtStart               string

	xfs, ext4, block         *rig.Volume
	restored, larger, cloned *rig.Volume
	thick                    *rig.Volume
	snapshots                []snapshot
	// sums are what sha256sum must say of each volume's content.
	sums map[*rig.Volume]string
}

// snapshot is a snapshot that was taken, and the content it must have.
type snapshot struct{ id, sums string }

// volumes are those that exist, in the order of their making.
func (p *play) volumes() []*rig.Volume {
	var all []*rig.Volume
	for _, v := range []*rig.Volume{p.xfs, p.ext4, p.block, p.restored, p.larger, p.cloned, p.thick} {
		if v != nil {
			all = append(all, v)
		}
	}
	return all
}

// perform plays one step after the other.
func (p *play) perform(ctx context.Context) error {
	for i, step := range steps {
		p.screen.begin(i+1, len(steps), step.name)
		start := time.Now()
		a := &act{play: p, ctx: ctx}
		verified := a.run(step.do)
		p.screen.end(verified, time.Since(start), a.err)
		if a.err != nil {
			return fmt.Errorf("%s: %w", step.name, a.err)
		}
	}
	return nil
}

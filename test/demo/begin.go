package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// driveBytes is small for a drive: what of it is wiped is wiped by an emulated CPU.
const driveBytes = 8 * gib

// driveConfig has one class with room for both types of volumes.
const driveConfig = `classes:
  - name: fast
    select: {transport: [pcie]}
    layout: per-drive
    thin: {share: 93}
    thick: {share: 4}
    reserve: 3
`

func boot(a *act) (verified string) {
	const about = `. /etc/os-release; lvm=$(lvm version | sed -n 's/.*LVM version: *\([0-9.]*\).*/\1/p'); echo "$PRETTY_NAME, Linux $(uname -r), LVM $lvm"`
	var err error
	a.binary, err = rig.Build(a.ctx, a.dir)
	a.must(err)
	a.node, err = bed.Start(a.ctx, bed.Options{
		Name: rig.NodeID, Console: a.console,
		Drives: []bed.Drive{{Serial: "DEMO-A", Size: driveBytes}, {Serial: "DEMO-B", Size: driveBytes}},
	})
	a.must(err)
	a.must(rig.Install(a.ctx, a.node, a.binary, driveConfig))
	a.equal("sizes of the drives in sectors", a.sh(`cat /sys/block/nvme*/size | xargs`), fmt.Sprint(driveBytes/512, driveBytes/512))
	return fmt.Sprintf("%s; two NVMe drives of %s; lvme built and put there", a.sh(about), size(driveBytes))
}

func startAgent(a *act) (verified string) {
	var err error
	a.agent, err = rig.StartAgent(a.ctx, a.node, a.log)
	a.must(err)
	info := call(a, a.agent.GetPluginInfo, &csi.GetPluginInfoRequest{})
	a.equal("driver", info.GetName(), "csi.lvme.dev")
	node := call(a, a.agent.NodeGetInfo, &csi.NodeGetInfoRequest{})
	a.equal("node id", node.GetNodeId(), rig.NodeID)
	store := node.GetAccessibleTopology().GetSegments()["topology.lvme.dev/store"]
	if store == "" {
		a.fail("the node has no topology: %v", node)
	}
	return fmt.Sprintf("probe: ready; %s %s; store %s made, and in the topology; %d plugin, %d controller, %d node capabilities",
		info.GetName(), info.GetVendorVersion(), store,
		len(call(a, a.agent.GetPluginCapabilities, &csi.GetPluginCapabilitiesRequest{}).GetCapabilities()),
		len(call(a, a.agent.ControllerGetCapabilities, &csi.ControllerGetCapabilitiesRequest{}).GetCapabilities()),
		len(call(a, a.agent.NodeGetCapabilities, &csi.NodeGetCapabilitiesRequest{}).GetCapabilities()))
}

// drives is what lvme says of the drives: status and class of each.
func (a *act) drives() string {
	var answer struct {
		Drives []struct{ Status, Class string }
	}
	a.must(json.Unmarshal([]byte(a.lvme("drives", "--output", "json")), &answer))
	return fmt.Sprint(answer.Drives)
}

// vgs are the VGs on the node, by LVM's own word.
func (a *act) vgs() string { return a.sh(`vgs --noheadings --options vg_name,vg_uuid,pv_count`) }

func lookAtDrives(a *act) (verified string) {
	a.show("drives")
	a.equal("drives", a.drives(), "[{free fast} {free fast}]")
	return "both free, of class fast"
}

func dryRun(a *act) (verified string) {
	a.show("init", "--dry-run")
	a.equal("VGs", a.vgs(), "")
	a.equal("capacity", a.available("thin"), int64(0))
	return "nothing changed: no VG on the node, capacity 0"
}

func takeDrives(a *act) (verified string) {
	a.show("init", "--yes")
	vgs := a.vgs()
	a.equal("number of VGs", strings.Count(vgs, "lvme-"), 2)
	a.lvme("init", "--yes")
	a.equal("VGs after a second init", a.vgs(), vgs)
	a.equal("drives", a.drives(), "[{ours fast} {ours fast}]")
	return "two VGs, one a drive; a second init changed nothing"
}

func capacityBefore(a *act) (verified string) {
	// The agent that runs notices the pools, and wipes their thick shares.
	a.eventually(func() error {
		a.thinAtStart, a.thickAtStart = a.available("thin"), a.available("thick")
		if a.thinAtStart > driveBytes && a.thickAtStart > driveBytes/100*6 {
			return nil
		}
		return fmt.Errorf("capacity of two new drives is %d bytes thin, %d thick", a.thinAtStart, a.thickAtStart)
	})
	a.usedAtStart = a.poolUse()
	largest := call(a, a.agent.GetCapacity, &csi.GetCapacityRequest{}).GetMaximumVolumeSize().GetValue()
	a.equal("largest volume, that of one drive", largest, a.thinAtStart/2)
	return fmt.Sprintf("noticed without a restart: %s thin, the largest volume %s (one drive); %s thick, wiped",
		size(a.thinAtStart), size(largest), size(a.thickAtStart))
}

// poolUse is how many blocks of metadata and of data each thin pool has in use, by the kernel's word.
func (a *act) poolUse() string {
	return a.sh(`dmsetup status --target thin-pool | sort | awk '{print $6, $7}' | xargs`)
}

package data

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/e2e/walk"
)

// operations is the document whose repairs are typed as they stand in it.
const operations = "../../docs/operations.md"

// commandsOf are the blocks of commands in a section of the document.
func commandsOf(t *testing.T, section string) []string {
	t.Helper()
	text, err := os.ReadFile(operations)
	must(t, err)
	blocks, err := walk.Parse(string(text))
	must(t, err)
	var all []string
	for _, b := range blocks {
		if b.Section == section {
			all = append(all, b.Script)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no commands in the section %q", operations, section)
	}
	return all
}

// TestRepairsAreTyped: no section of the document has commands that no test
// types.
func TestRepairsAreTyped(t *testing.T) {
	text, err := os.ReadFile(operations)
	must(t, err)
	blocks, err := walk.Parse(string(text))
	must(t, err)
	typed := map[string]bool{"Lost VG metadata": true, "Transaction id": true, "Damaged pool metadata": true, "Full pool metadata": true, "Moved drive": true, "Replace a chassis": true}
	for _, b := range blocks {
		if !typed[b.Section] {
			t.Errorf("%s: nobody types the commands in line %d, of %q", operations, b.Line, b.Section)
		}
	}
}

// hurt is a node with a volume that holds something, whose pool is to be broken.
type hurt struct {
	*wholeNode
	kept *rig.Volume
	sum  string
	// vg and device are those that hold the volume.
	vg, device string
}

const contentSum = `cat "$1"/data | sha256sum`

func startHurt(t *testing.T) *hurt {
	t.Helper()
	n := &hurt{wholeNode: startNode(t)}
	n.kept, n.sum = n.filled(t, "kept")
	n.vg = "lvme-" + strings.Split(n.kept.ID, "/")[1]
	n.device = strings.TrimSpace(n.sh(t, `vgs --noheadings -o pv_name "$1"`, n.vg))
	return n
}

// filled makes a volume, writes to it, and unmounts it.
func (n *hurt) filled(t *testing.T, name string) (v *rig.Volume, sum string) {
	t.Helper()
	v, err := n.agent.Create(t.Context(), rig.Spec{Name: name, FS: "ext4", Bytes: 64 * mib})
	must(t, err)
	must(t, n.agent.Publish(t.Context(), v))
	n.sh(t, `head -c 9000000 /dev/urandom >"$1"/data; sync -f "$1"`, v.Target())
	sum = n.sh(t, contentSum, v.Target())
	must(t, n.agent.Unpublish(t.Context(), v))
	return v, sum
}

// types types commands of the document.
func (n *hurt) types(t *testing.T, script, id string) string {
	t.Helper()
	return n.sh(t, `VG=$1 DEVICES=$2 ID=$3; `+"\n"+script, n.vg, n.device, id)
}

// whole wants the volume to be served with what it held.
func (n *hurt) whole(t *testing.T) {
	t.Helper()
	must(t, n.agent.Publish(t.Context(), n.kept))
	if sum := n.sh(t, contentSum, n.kept.Target()); sum != n.sum {
		t.Error("the volume has another content")
	}
	must(t, n.agent.Unpublish(t.Context(), n.kept))
	v, err := n.agent.Create(t.Context(), rig.Spec{Name: "after", FS: "ext4", Bytes: 16 * mib})
	must(t, err)
	must(t, n.agent.Publish(t.Context(), v))
	must(t, n.agent.Unpublish(t.Context(), v))
	must(t, n.agent.Delete(t.Context(), v))
}

// found is what `lvme doctor` says, by check, but for what a running agent does
// by itself.
func (n *hurt) found(t *testing.T) map[string]string {
	t.Helper()
	var said struct {
		Findings []struct{ Severity, Check, On, Meaning, Mend string }
	}
	text := n.sh(t, `rc=0; "$1" doctor -o json || rc=$?; [ $rc = 0 ] || [ $rc = 3 ]`, rig.Binary)
	must(t, json.Unmarshal([]byte(text), &said))
	mends := map[string]string{}
	for _, f := range said.Findings {
		t.Logf("%s %s on %s: %s", f.Severity, f.Check, f.On, f.Meaning)
		if f.Severity != "info" && f.Check != "agent" && f.Check != "backup" {
			mends[f.Check] = f.Mend
		}
	}
	return mends
}

func wantChecks(t *testing.T, found map[string]string, want ...string) {
	t.Helper()
	for _, w := range want {
		if _, ok := found[w]; !ok {
			t.Errorf("the doctor does not find %s", w)
		}
	}
	if len(found) != len(want) {
		t.Errorf("the doctor finds %v, want %v", found, want)
	}
}

// copied waits until the newest copy of the VG's metadata is of its last change.
func (n *hurt) copied(t *testing.T) {
	t.Helper()
	eventually(t, "the metadata are copied", func() bool {
		return n.sh(t, `ls /var/lib/lvme/backup/"$1" | grep -c -- "-$(vgs --noheadings -o vg_seqno "$1" | tr -d ' ').vg$" || true`, n.vg) == "1"
	})
}

// TestNodeRepairLostMetadata: the drive's label and LVM's metadata are
// overwritten, when a volume had been made after the last copy of them.
func TestNodeRepairLostMetadata(t *testing.T) {
	n := startHurt(t)
	n.copied(t)
	var late *rig.Volume
	for i := 0; late == nil; i++ { // one in the same VG
		v, _ := n.filled(t, fmt.Sprintf("late-%d", i))
		if strings.Contains(n.vg, strings.Split(v.ID, "/")[1]) {
			late = v
		}
	}
	n.agent.Kill()
	n.sh(t, `bytes=$(pvs --noheadings --nosuffix --units b -o pe_start "$2" | tr -d ' ')
		vgchange -an "$1"; dd if=/dev/zero of="$2" bs=4096 count=$((bytes / 4096)) conv=fsync status=none; udevadm settle`, n.vg, n.device)
	wantChecks(t, n.found(t), "vg-lost")

	n.types(t, strings.Join(commandsOf(t, "Lost VG metadata"), "\n"), "")
	found := n.found(t)
	wantChecks(t, found, "transaction-id", "pool-off")
	id := regexp.MustCompile(`transaction_id = (\d+)/`).FindStringSubmatch(found["transaction-id"])
	if id == nil {
		t.Fatalf("no number in %q", found["transaction-id"])
	}
	n.types(t, strings.Join(commandsOf(t, "Transaction id"), "\n"), id[1])
	found = n.found(t)
	wantChecks(t, found, "thin-stale")
	n.sh(t, found["thin-stale"])
	n.serve(t)
	n.whole(t)
	if _, there := n.listed(t)[late.ID]; there {
		t.Errorf("%s was made after the copy and is listed", late.Name)
	}
	wantChecks(t, n.found(t))
}

// vital prints a block of a pool's metadata without which they do not pass a
// check and can still be repaired, and overwrites it on the drive.
const vital = `
	seg=$(pvs --noheadings --segments -o pvseg_start,lv_name -a "$2" | awk '$2 ~ /pool_tmeta/ {print $1}')
	at=$(($(pvs --noheadings --nosuffix --units b -o pe_start "$2" | tr -d ' ') + seg * 4194304))
	vgchange -an "$1" >&2
	cd "$(mktemp -d)"
	dd if="$2" of=whole bs=4096 skip=$((at / 4096)) count=4096 status=none
	for b in $(seq 1 60); do
		cp whole hurt
		head -c 4096 /dev/zero | tr '\0' '?' | dd of=hurt bs=4096 seek=$b conv=notrunc status=none
		if thin_check hurt >&2; then continue; fi
		rm -f new; truncate -s 16M new
		if thin_repair -i hurt -o new >&2 && thin_check new >&2; then
			head -c 4096 /dev/zero | tr '\0' '?' | dd of="$2" bs=4096 seek=$((at / 4096 + b)) conv=notrunc,fsync status=none
			echo $b
			exit 0
		fi
	done
	exit 1`

// TestNodeRepairDamagedMetadata: a block of the pool's metadata is overwritten.
func TestNodeRepairDamagedMetadata(t *testing.T) {
	n := startHurt(t)
	must(t, n.agent.Stop(t.Context()))
	t.Logf("block %s of the pool's metadata is overwritten", n.sh(t, vital, n.vg, n.device))
	wantChecks(t, n.found(t), "pool-off")
	blocks := commandsOf(t, "Damaged pool metadata")
	if said := n.types(t, blocks[0], ""); !strings.Contains(said, "damaged") {
		t.Errorf("the check says %q", said)
	}
	n.serve(t)
	n.whole(t)
	wantChecks(t, n.found(t), "strange")
	n.types(t, strings.Join(blocks[1:], "\n"), "")
	wantChecks(t, n.found(t))
}

// TestNodeRepairMovedDrive: the drives change their places while the agent runs.
func TestNodeRepairMovedDrive(t *testing.T) {
	n := startHurt(t)
	before, err := n.Device(t.Context(), "A")
	must(t, err)
	must(t, n.RemoveDrive(t.Context(), "A"))
	must(t, n.RemoveDrive(t.Context(), "B"))
	must(t, n.ReplugDrive(t.Context(), "B"))
	must(t, n.ReplugDrive(t.Context(), "A"))
	after, err := n.Device(t.Context(), "A")
	must(t, err)
	t.Logf("drive A was %s and is %s", before, after)
	eventually(t, "both pools are served", func() bool {
		said := n.types(t, strings.Join(commandsOf(t, "Moved drive"), "\n"), "")
		return strings.Count(said, " ours ") == 2 && !strings.Contains(said, "not in this node")
	})
	// The agent looks when it is told of the drives, and the kernel tells of
	// devices that the old drives have left.
	for check, mend := range n.found(t) {
		t.Errorf("after the move: %s, mended by %q", check, mend)
	}
	must(t, insistEver(t.Context(), func(ctx context.Context) error { return n.agent.Publish(ctx, n.kept) }))
	must(t, n.agent.Unpublish(t.Context(), n.kept))
	n.whole(t)
}

// TestNodeRepairReplacedChassis: another host, which has no record of the store.
func TestNodeRepairReplacedChassis(t *testing.T) {
	n := startHurt(t)
	must(t, n.agent.Stop(t.Context()))
	n.sh(t, `rm -rf /var/lib/lvme; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >/etc/machine-id`)
	wantChecks(t, n.found(t), "adopt")
	n.types(t, strings.Join(commandsOf(t, "Replace a chassis"), "\n"), "")
	n.serve(t)
	n.whole(t)
	n.copied(t)
	wantChecks(t, n.found(t))
}

// TestNodeRepairFullMetadata fills the metadata of two pools to the last block
// while nobody looks. Where there is a reserve the agent puts the pool to work
// again by itself; where there is none, it says so, and a person can.
func TestNodeRepairFullMetadata(t *testing.T) {
	const config = `classes:
  - {name: reserved, select: {serials: [A]}, layout: per-drive, thin: {share: 50, chunkSize: 64Ki}, reserve: 20}
  - {name: bare, select: {serials: [B]}, layout: per-drive, thin: {share: 100, chunkSize: 64Ki}, reserve: 0}
`
	n := &hurt{wholeNode: startNodeWith(t, config, bed.Drive{Serial: "A", Size: 2 * gib}, bed.Drive{Serial: "B", Size: gib})}
	volumes, sums := map[string]*rig.Volume{}, map[string]string{}
	for _, class := range []string{"reserved", "bare"} {
		v, err := n.agent.Create(t.Context(), rig.Spec{Name: class, Bytes: 200 * mib, Parameters: map[string]string{"driveClass": class}})
		must(t, err)
		volumes[class] = v
		must(t, n.agent.Publish(t.Context(), v))
		n.sh(t, `yes "$1" | head -c 200M | dd of="$2" bs=1M iflag=fullblock oflag=direct status=none || [ $? = 141 ]`, class, v.Target())
	}
	n.agent.Kill()
	for class, v := range volumes {
		status := n.fillMetadata(t, v)
		t.Logf("%s: %s", class, status)
		if !strings.Contains(status, " ro ") {
			t.Fatalf("%s: the pool is not read-only", class)
		}
		sums[class] = n.sh(t, `sha256sum <"$1"`, v.Target())
	}
	n.serve(t)
	const write = `head -c 1M /dev/urandom | dd of="$1" bs=64k seek=100 oflag=direct conv=notrunc iflag=fullblock status=none`
	eventually(t, "the pool with a reserve works again", func() bool {
		_, err := rig.Sh(t.Context(), n.Node, write, volumes["reserved"].Target())
		return err == nil
	})
	v, err := n.agent.Create(t.Context(), rig.Spec{Name: "new", Bytes: 16 * mib, Parameters: map[string]string{"driveClass": "reserved"}})
	must(t, err)
	must(t, n.agent.Delete(t.Context(), v))

	n.vg = n.poolOf(t, volumes["bare"]).VG
	n.device = strings.TrimSpace(n.sh(t, `vgs --noheadings -o pv_name "$1"`, n.vg))
	if p := n.poolOf(t, volumes["bare"]); !strings.Contains(p.Problem, `"ro"`) {
		t.Errorf("the pool without: %+v", p)
	}
	health := ask(t, n.agent.NodeGetVolumeHealth, &csi.NodeGetVolumeHealthRequest{VolumeId: volumes["bare"].ID}).GetVolumeHealth()
	if all := health.GetHealthStatuses(); len(all) == 0 || all[0].GetReason() != "PoolReadOnly" || all[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE {
		t.Errorf("health of its volume: %v", all)
	}
	if sum := n.sh(t, `sha256sum <"$1"`, volumes["bare"].Target()); sum != sums["bare"] {
		t.Error("what it held has another content")
	}
	for _, commands := range commandsOf(t, "Full pool metadata") {
		n.types(t, commands, "")
	}
	n.sh(t, write, volumes["bare"].Target())
	eventually(t, "nothing is wrong with it any more", func() bool { return n.metric(t, "lvme_pool_ok", n.vg) == 1 })
	for _, v := range volumes {
		must(t, n.agent.Unpublish(t.Context(), v))
		must(t, n.agent.Delete(t.Context(), v))
	}
}

// fillMetadata takes snapshots behind LVM's back, and has each cost as much as it
// can, until the pool has no block of metadata left.
func (n *hurt) fillMetadata(t *testing.T, v *rig.Volume) (status string) {
	t.Helper()
	return n.sh(t, `vg=$1 name=$2 volume=$3
		pool=${vg/-/--}-pool-tpool
		id=$(lvs --noheadings -o thin_id "$vg/$name" | tr -d ' ')
		for ((i = 1000; i < 1400; i++)); do
			dmsetup suspend "$volume"
			dmsetup message "$pool" 0 "create_snap $i $id" || { dmsetup resume "$volume"; break; }
			dmsetup resume "$volume"
			for ((chunk = 0; chunk < 3200; chunk += 60)); do
				dd if=/dev/zero of=/dev/mapper/"$volume" bs=4k seek=$((chunk * 16)) count=1 oflag=direct conv=notrunc status=none 2>/dev/null || break 2
			done
		done
		dmsetup status "$pool"`, "lvme-"+strings.Split(v.ID, "/")[1], strings.Split(v.ID, "/")[2], mapped(v))
}

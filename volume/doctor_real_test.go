package volume

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

// TestRealDoctor makes on real LVM what only a kernel and drives can make, and
// types what the doctor says that mends it.
func TestRealDoctor(t *testing.T) {
	r := realRig(t)
	c := &clinic{T: t, rig: r, cfg: fastClass(drive.PerDrive, 50, 0)}
	s := r.open(t, c.cfg)
	taken := 0
	must(t, s.Init(t.Context(), s.Plan(func(drive.Verdict) bool { taken++; return taken == 1 }), func(string) {}))
	if len(s.Pools(t.Context())) != 1 {
		t.Fatalf("no drive was taken: %+v", s.Verdicts())
	}
	c.id = s.Pools(t.Context())[0].ID
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	c.vg, c.volume = s.pools[c.id].vg, v.Key
	d, err := s.Activate(t.Context(), v.Key)
	must(t, err)
	_, err = s.SetState(t.Context(), v.Key, Raw, "")
	must(t, err)
	content := bytes.Repeat([]byte("kept"), mib)
	writeDevice(t, d.Path, 0, content)
	must(t, s.Deactivate(t.Context(), v.Key))
	s.Close()
	c.copyNow()
	c.is(c.diagnose())

	for _, step := range []struct {
		name   string
		infect func()
		want   []symptom
	}{
		{"stale thin", c.staleThin, []symptom{{SeverityError, CheckThinStale, "VG/pool", "delete 9"}}},
		{"metadata snapshot", func() { c.message("reserve_metadata_snap") }, []symptom{{SeverityWarning, CheckHeld, "VG/pool", "release_metadata_snap"}}},
		{"settings", c.otherSettings, []symptom{
			{SeverityError, CheckPoolSetting, "VG/pool", "--zero y"}, {SeverityWarning, CheckPoolSetting, "VG", "--setautoactivation n"},
			{SeverityWarning, CheckPoolSetting, "VG/pool", "--errorwhenfull y"}, {SeverityWarning, CheckPoolSetting, "VG/pool", "--discards passdown"}}},
		{"device left", func() { c.tool(t, "dmsetup", "create", dm.DeviceName(c.vg.Name, "v-gone"), "--table", "0 2048 zero") },
			[]symptom{{SeverityWarning, CheckDevice, "DM-v--gone", "dmsetup remove"}}},
		{"pool off", func() { c.hand("vgchange", "-an", c.vg.Name) }, []symptom{{SeverityError, CheckPoolOff, "VG/pool", "lvchange"}}},
		{"no copy", func() { must(t, os.RemoveAll(filepath.Join(c.dir, backupDir))) }, []symptom{{SeverityWarning, CheckBackup, "VG", "vgcfgbackup"}}},
		{"metadata lost", c.loseMetadata, []symptom{{SeverityError, CheckVGLost, "VG", "pvcreate"}}},
	} {
		step.infect()
		found := c.diagnose()
		c.is(found, step.want...)
		c.types(found)
		if step.name == "settings" {
			c.copyNow()
		}
		if step.name == "metadata lost" {
			c.hand("lvchange", "-ay", "-K", c.vg.Name+"/"+poolLV)
			c.copyNow()
		}
		c.is(c.diagnose())
		t.Logf("%s: found, mended by hand, and gone", step.name)
	}
	c.foreignTransaction(content)
	c.damage(content)
	c.agentReleases()
}

// copyNow is a start of the agent that has the time to copy.
func (c *clinic) copyNow() {
	c.Helper()
	s := c.open(c.T, c.cfg)
	c.ok(s.backUp(c.Context(), s.pools[c.id]))
	s.Close()
}

// types types the commands of the findings.
func (c *clinic) types(found []Finding) {
	c.Helper()
	for _, f := range found {
		if f.Mend != "" {
			c.tool(c.T, "bash", "-ec", f.Mend)
		}
	}
}

func (c *clinic) hand(verb string, args ...string) {
	c.tool(c.T, "bash", "-ec", c.vg.ByHand(verb, args...))
}

func (c *clinic) message(words string) {
	c.Helper()
	name, err := c.lvm().PoolTarget(c.Context(), c.vg.Name, poolLV)
	c.ok(err)
	c.tool(c.T, "dmsetup", "message", name, "0", words)
}

// staleThin has the kernel make a thin behind LVM's back, and writes to it.
func (c *clinic) staleThin() {
	c.Helper()
	c.message("create_thin 9")
	name, err := c.lvm().PoolTarget(c.Context(), c.vg.Name, poolLV)
	c.ok(err)
	c.tool(c.T, "dmsetup", "create", "stale", "--table", fmt.Sprintf("0 32768 thin %s 9", dm.Path(name)))
	c.tool(c.T, "udevadm", "settle")
	writeDevice(c.T, dm.Path("stale"), 0, bytes.Repeat([]byte("x"), mib))
	c.tool(c.T, "dmsetup", "remove", "--retry", "stale")
}

func (c *clinic) otherSettings() {
	c.hand("lvchange", "--zero", "n", c.vg.Name+"/"+poolLV)
	c.hand("lvchange", "--errorwhenfull", "n", c.vg.Name+"/"+poolLV)
	c.hand("lvchange", "--discards", "nopassdown", c.vg.Name+"/"+poolLV)
	c.hand("vgchange", "--setautoactivation", "y", c.vg.Name)
	s := c.readOnly() // the copy of the metadata is of another time: that is no finding here
	c.ok(s.backUp(c.Context(), s.pools[c.id]))
	s.Close()
}

func (c *clinic) readOnly() *Store {
	c.Helper()
	o := c.options(c.cfg)
	o.ReadOnly, o.Background = true, false
	s, err := Open(c.Context(), o)
	c.ok(err)
	return s
}

// loseMetadata overwrites the label and the metadata area of the drive.
func (c *clinic) loseMetadata() {
	c.hand("vgchange", "-an", c.vg.Name)
	report, err := c.lvm().Report(c.Context(), c.vg)
	c.ok(err)
	c.tool(c.T, "dd", "if=/dev/zero", "of="+c.vg.Devices[0], "bs=4096", fmt.Sprintf("count=%d", report.PVs[0].PEStart/4096), "conv=fsync", "status=none")
	c.tool(c.T, "udevadm", "settle")
}

// holds wants the volume's content to be as it was.
func (c *clinic) holds(content []byte) {
	c.Helper()
	s := c.open(c.T, c.cfg)
	defer s.Close()
	d, err := s.Activate(c.Context(), c.volume)
	c.ok(err)
	if !bytes.Equal(readDevice(c.T, d.Path, 0, len(content)), content) {
		c.Error("the volume has another content")
	}
	c.ok(s.Deactivate(c.Context(), c.volume))
}

// foreignTransaction has the pool be of another time than LVM's metadata, which
// is found while it is active and while it is not.
func (c *clinic) foreignTransaction(content []byte) {
	status, err := c.lvm().PoolStatus(c.Context(), c.vg.Name, poolLV)
	c.ok(err)
	c.message(fmt.Sprintf("set_transaction_id %d %d", status.TransactionID, status.TransactionID+7))
	want := fmt.Sprintf("transaction_id = %d/", status.TransactionID+7)
	c.is(c.diagnose(), symptom{SeverityError, CheckTransaction, "VG/pool", want})
	c.hand("vgchange", "-an", c.vg.Name)
	found := c.diagnose()
	c.is(found, symptom{SeverityError, CheckPoolOff, "VG/pool", "lvchange"}, symptom{SeverityError, CheckTransaction, "VG/pool", want})
	// A start of the agent cannot mend it.
	c.open(c.T, c.cfg).Close()
	c.is(c.diagnose(), symptom{SeverityError, CheckPoolOff, "VG/pool", "lvchange"}, symptom{SeverityError, CheckTransaction, "VG/pool", want})
	c.types(found[1:])
	c.holds(content)
	c.copyNow()
	c.is(c.diagnose())
	c.Log("transaction id: found active and off, mended by hand, and gone")
}

// damage overwrites a block of the pool's metadata: LVM's check fails, and a
// repair makes them anew. With the superblock damaged the drive tells it.
func (c *clinic) damage(content []byte) {
	c.hand("vgchange", "-an", c.vg.Name)
	report, err := c.lvm().Report(c.Context(), c.vg)
	c.ok(err)
	var at int64
	for _, seg := range report.PVs[0].Segments {
		if seg.LV == poolLV+"_tmeta" {
			at = report.PVs[0].PEStart + seg.Start*report.ExtentSize
		}
	}
	first := readDevice(c.T, c.vg.Devices[0], at, metaBlock)
	vital := c.vitalBlock(at)
	writeDevice(c.T, c.vg.Devices[0], at, make([]byte, metaBlock))
	c.is(c.diagnose(), symptom{SeverityError, CheckPoolMode, "VG/pool", "--repair"}, symptom{SeverityError, CheckPoolOff, "VG/pool", "lvchange"})
	writeDevice(c.T, c.vg.Devices[0], at, first)
	writeDevice(c.T, c.vg.Devices[0], at+vital*metaBlock, bytes.Repeat([]byte("?"), metaBlock))
	wantErr(c.T, "activation", c.lvm().Activate(c.Context(), c.vg, poolLV), lvm.ErrNeedsRepair)
	c.is(c.diagnose(), symptom{SeverityError, CheckPoolOff, "VG/pool", "lvchange"})
	pt := &patient{vg: c.vg, name: c.vg.Name}
	c.tool(c.T, "bash", "-ec", pt.repair())
	c.holds(content)
	c.copyNow()
	found := c.diagnose()
	c.is(found, symptom{SeverityWarning, CheckStrange, "VG/pool_meta0", "lvremove"})
	c.tool(c.T, "bash", "-ec", strings.ReplaceAll(found[0].Mend, "lvremove", "lvremove --yes"))
	c.copyNow()
	c.is(c.diagnose())
	c.Log("damaged metadata: found, repaired by hand, and gone")
}

// vitalBlock is a block of the pool's metadata, which begin there on the drive,
// without which they do not pass a check and can still be repaired.
func (c *clinic) vitalBlock(at int64) int64 {
	c.Helper()
	out := c.tool(c.T, "bash", "-ec", `
		cd "$(mktemp -d)"
		dd if="$1" of=whole bs=4096 skip=$(($2 / 4096)) count=4096 status=none
		for b in $(seq 1 60); do
			cp whole hurt
			head -c 4096 /dev/zero | tr '\0' '?' | dd of=hurt bs=4096 seek=$b conv=notrunc status=none
			if thin_check hurt >&2; then continue; fi
			rm -f new; truncate -s 16M new
			if thin_repair -i hurt -o new >&2 && thin_check new >&2; then echo $b; exit; fi
		done
		exit 1`, "bash", c.vg.Devices[0], fmt.Sprint(at))
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	c.ok(err)
	return n
}

// agentReleases: a snapshot that a process of lvme's has left goes at a start.
func (c *clinic) agentReleases() {
	c.message("reserve_metadata_snap")
	c.ok(os.WriteFile(filepath.Join(c.dir, heldMark+c.vg.Name), nil, 0o600))
	c.is(c.diagnose(), symptom{SeverityInfo, CheckHeld, "VG/pool", ""})
	c.hand("vgchange", "-an", c.vg.Name) // it outlives the pool's deactivation
	c.open(c.T, c.cfg).Close()
	c.is(c.diagnose())
}

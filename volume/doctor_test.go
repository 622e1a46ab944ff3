package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// clinic is a host with a store on which something is to be found.
type clinic struct {
	*testing.T
	*rig
	*lvmtest.Fake
	cfg drive.Config
	// id is the first pool's, vg how LVM is told of it.
	id string
	vg lvm.VG
	// volume and snapshot are in that pool.
	volume, snapshot Key
}

func (c *clinic) lvm() *lvm.LVM { return lvm.New(c.runner, c.kernel) }

func (c *clinic) ok(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// healthy takes the first drives and leaves a volume, a snapshot and a copy of
// the metadata; the agent has ended.
func healthy(t *testing.T, layout drive.Layout, drives int) *clinic {
	t.Helper()
	r, fake := sickRig(t)
	c := &clinic{T: t, rig: r, Fake: fake, cfg: fastClass(layout, 50, 10)}
	s := r.open(t, c.cfg)
	taken := 0
	must(t, s.Init(t.Context(), s.Plan(func(drive.Verdict) bool { taken++; return taken <= drives }), func(string) {}))
	waitWiped(t, s)
	c.id = s.Pools(t.Context())[0].ID
	v := mustCreate(t, s, CreateSpec{Name: "a", Mode: Block, Size: size(64 * mib)})
	if v.Key.VG != c.id {
		for id, p := range s.pools {
			if id == v.Key.VG {
				c.id = p.id
			}
		}
	}
	c.vg, c.volume = s.pools[c.id].vg, v.Key
	snap, err := s.CreateSnapshot(t.Context(), SnapshotSpec{Name: "a", Source: v.Key})
	must(t, err)
	c.snapshot = snap.Key
	for _, p := range s.pools {
		must(t, s.backUp(t.Context(), p))
	}
	s.Close()
	return c
}

// diagnose looks as `lvme doctor` does.
func (c *clinic) diagnose() []Finding {
	c.Helper()
	o := c.options(c.cfg)
	o.ReadOnly, o.Background = true, false
	s, err := Open(c.Context(), o)
	c.ok(err)
	defer s.Close()
	found, err := s.Diagnose(c.Context())
	c.ok(err)
	return found
}

// mended is what a start of the agent leaves to be found.
func (c *clinic) mended() []Finding {
	c.Helper()
	s := c.open(c.T, c.cfg)
	waitWiped(c.T, s)
	s.Close()
	return c.diagnose()
}

// hide has the drive at that path be out of the node.
func (c *clinic) hide(path string) {
	all := c.drives
	c.rig.drives = func(ctx context.Context) ([]drive.Drive, error) {
		drives, err := all(ctx)
		return slices.DeleteFunc(drives, func(d drive.Drive) bool { return d.Path == path }), err
	}
	c.Unplug(path)
}

// vgOn makes a VG with those tags on the second drive.
func (c *clinic) vgOn(name string, tags ...string) {
	c.Helper()
	c.ok(c.lvm().CreateVG(c.Context(), lvm.VGSpec{Name: name, Devices: []string{"/dev/nvme1n1"}, Tags: tags}))
}

// retag changes the tags of the volume.
func (c *clinic) retag(add, del string) {
	c.Helper()
	c.ok(c.lvm().ChangeTags(c.Context(), c.vg, c.volume.LV, []string{add}, []string{del}))
}

// symptom is a finding that must be found, and what must stand in its command.
// VG in it stands for the VG's name, ID for its short id.
type symptom struct {
	severity Severity
	check    Check
	on, mend string
}

func (c *clinic) is(found []Finding, want ...symptom) {
	c.Helper()
	var have []string
	for _, f := range found {
		have = append(have, fmt.Sprintf("%s %s on %s", f.Severity, f.Check, f.On))
		if f.Meaning == "" || strings.HasSuffix(f.Meaning, ".") {
			c.Errorf("what it means: %+v", f)
		}
	}
	var wanted []string
	fill := strings.NewReplacer("VG", VGName(c.id), "DM", strings.ReplaceAll(VGName(c.id), "-", "--"), "DIR", filepath.Join(c.dir, "backup"))
	for _, w := range want {
		wanted = append(wanted, fmt.Sprintf("%s %s on %s", w.severity, w.check, fill.Replace(w.on)))
	}
	if !slices.Equal(have, wanted) {
		c.Fatalf("found\n  %s\nwant\n  %s\n%+v", strings.Join(have, "\n  "), strings.Join(wanted, "\n  "), found)
	}
	for i, w := range want {
		if mend := fill.Replace(w.mend); (mend == "") != (found[i].Mend == "") || !strings.Contains(found[i].Mend, mend) {
			c.Errorf("%s: its command is %q, want %q in it", have[i], found[i].Mend, mend)
		}
	}
}

const listing = "--devices /dev/nvme0n1 "

// sicknesses are every finding with what makes it, and whether a start of the
// agent heals it. The agent has ended.
var sicknesses = []struct {
	name   string
	layout drive.Layout // per-drive if empty
	drives int          // 1 if 0
	infect func(*clinic)
	want   []symptom
	// after is what is left after a start of the agent; nil means the same.
	after *[]symptom
	// extended: the agent may have extended the pool when it ends, and not have
	// copied the metadata since.
	extended bool
}{
	{name: "nothing", infect: func(*clinic) {}},
	{name: "drive critical", infect: func(c *clinic) { c.ill(drive.HealthCritical) },
		want: []symptom{{SeverityError, CheckDriveHealth, "/dev/nvme0n1 Fake BED0", ""}}},
	{name: "drive worn", infect: func(c *clinic) { c.ill(drive.HealthWarning) },
		want: []symptom{{SeverityWarning, CheckDriveHealth, "/dev/nvme0n1 Fake BED0", ""}}},
	{name: "drive away", infect: func(c *clinic) { c.hide("/dev/nvme0n1") },
		want: []symptom{{SeverityError, CheckDriveAway, "Fake BED0", "lvme drives forget nvme.BED0"}, {SeverityWarning, CheckDevice, "DM-pool", "dmsetup remove --force DM-pool"},
			{SeverityWarning, CheckDevice, "DM-pool-tpool", "dmsetup remove --force DM-pool-tpool"}, {SeverityWarning, CheckDevice, "DM-pool_tdata", "DM-pool_tdata"},
			{SeverityWarning, CheckDevice, "DM-pool_tmeta", "DM-pool_tmeta"}}},
	{name: "drive back after it was pulled", infect: func(c *clinic) { c.Unplug("/dev/nvme0n1"); c.Plug("/dev/nvme0n1", "/dev/nvme0n1") },
		want: []symptom{{SeverityError, CheckDevice, "DM-pool", "dmsetup remove --force DM-pool"}, {SeverityError, CheckDevice, "DM-pool-tpool", "dmsetup remove --force DM-pool-tpool"},
			{SeverityError, CheckDevice, "DM-pool_tdata", "dmsetup remove --force DM-pool_tdata"}, {SeverityError, CheckDevice, "DM-pool_tmeta", "dmsetup remove --force DM-pool_tmeta"}}, after: &[]symptom{}},
	{name: "half a mirror", layout: drive.Mirrored, drives: 2, infect: func(c *clinic) { c.hide("/dev/nvme1n1") },
		want: []symptom{{SeverityError, CheckDriveGone, "VG", ""}}},
	{name: "metadata lost", infect: func(c *clinic) { c.Wipe("/dev/nvme0n1") },
		want: []symptom{{SeverityError, CheckVGLost, "VG", "--restorefile DIR/VG/"}}},
	{name: "foreign VG", infect: func(c *clinic) { c.vgOn("lvme-other000", tag(tagStore, "another0")) },
		want: []symptom{{SeverityWarning, CheckVGForeign, "lvme-other000", ""}}},
	{name: "two VGs of a name", infect: func(c *clinic) { c.vgOn(VGName(c.id), tag(tagStore, c.volume.Store)) },
		want: []symptom{{SeverityError, CheckVGTwice, "VG", "vgrename --devices /dev/nvme1n1 FakeID-"}}},
	{name: "VG with other tags", infect: func(c *clinic) { c.vgOn("lvme-other000", tag(tagStore, c.volume.Store), tag(tagThin, "x")) },
		want: []symptom{{SeverityError, CheckVGTags, "lvme-other000", ""}}},
	{name: "volume made twice", drives: 2, infect: (*clinic).double,
		want: []symptom{{SeverityWarning, CheckVolumeTwice, "volume a", "lvme orphans --pvs -"}}},
	{name: "no copy of the metadata", infect: func(c *clinic) { c.ok(os.RemoveAll(filepath.Join(c.dir, backupDir))) },
		want: []symptom{{SeverityWarning, CheckBackup, "VG", "vgcfgbackup " + listing + "-f DIR/VG/"}}},
	{name: "copy a little old", infect: func(c *clinic) { c.retag("x", "y") },
		want: []symptom{{SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "copy too old", infect: (*clinic).oldCopy,
		want: []symptom{{SeverityWarning, CheckBackup, "VG", "vgcfgbackup"}}},
	{name: "device left behind", infect: func(c *clinic) { c.AddDevice("lvme--" + c.id + "-v--gone") },
		want: []symptom{{SeverityWarning, CheckDevice, "DM-v--gone", "dmsetup remove DM-v--gone"}}},
	{name: "pool off", infect: func(c *clinic) { c.ok(c.lvm().Deactivate(c.Context(), c.vg, poolLV)) },
		want: []symptom{{SeverityError, CheckPoolOff, "VG/pool", "lvchange " + listing + "-ay -K VG/pool"}}, after: &[]symptom{}},
	{name: "pool read-only", infect: func(c *clinic) { c.Break(c.vg.Name, poolLV, "ro", false) },
		want: []symptom{{SeverityError, CheckPoolMode, "VG/pool", "lvconvert " + listing + "--yes --repair VG/pool"}}},
	{name: "pool failed", infect: func(c *clinic) { c.Break(c.vg.Name, poolLV, "Fail", false) },
		want: []symptom{{SeverityError, CheckPoolMode, "VG/pool", "--repair"}}},
	{name: "pool needs a check", infect: func(c *clinic) { c.Break(c.vg.Name, poolLV, "rw", true) },
		want: []symptom{{SeverityError, CheckPoolMode, "VG/pool", "--repair"}}, after: &[]symptom{}},
	{name: "pool off and needs a check", infect: func(c *clinic) {
		c.Break(c.vg.Name, poolLV, "rw", true)
		c.ok(c.lvm().Deactivate(c.Context(), c.vg, poolLV))
	}, want: []symptom{{SeverityError, CheckPoolMode, "VG/pool", "--repair"}, {SeverityError, CheckPoolOff, "VG/pool", "lvchange"}}, after: &[]symptom{}},
	{name: "pool damaged", infect: func(c *clinic) {
		c.Damage(c.vg.Name, poolLV)
		c.ok(c.lvm().Deactivate(c.Context(), c.vg, poolLV))
	}, want: []symptom{{SeverityError, CheckPoolMode, "VG/pool", "--repair"}, {SeverityError, CheckPoolOff, "VG/pool", "lvchange"}}},
	{name: "pool full", extended: true, infect: func(c *clinic) { c.Break(c.vg.Name, poolLV, "out_of_data_space", false) },
		want: []symptom{{SeverityError, CheckPoolMode, "VG/pool", "lvextend " + listing + "-l +50%FREE VG/pool"}}},
	{name: "metadata half full", infect: func(c *clinic) { c.fillMetadata(60) },
		want: []symptom{{SeverityWarning, CheckPoolRoom, "VG/pool", "lvextend " + listing + "--poolmetadatasize +8388608b VG/pool"}}},
	{name: "metadata nearly full", extended: true, infect: func(c *clinic) { c.fillMetadata(80) },
		want: []symptom{{SeverityError, CheckPoolRoom, "VG/pool", "--poolmetadatasize"}}},
	{name: "pool nearly full", infect: (*clinic).fillPool,
		want: []symptom{{SeverityWarning, CheckPoolRoom, "VG/pool", "lvextend"}, {SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "pool waits when full", infect: func(c *clinic) { c.QueueWhenFull(c.vg.Name, poolLV) },
		want:  []symptom{{SeverityWarning, CheckPoolSetting, "VG/pool", "lvchange " + listing + "--errorwhenfull y VG/pool"}},
		after: &[]symptom{{SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "pool does not zero", infect: func(c *clinic) { c.NoZeroing(c.vg.Name, poolLV) },
		want:  []symptom{{SeverityError, CheckPoolSetting, "VG/pool", "lvchange " + listing + "--zero y VG/pool"}},
		after: &[]symptom{{SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "pool keeps discards", infect: func(c *clinic) { c.Discards(c.vg.Name, poolLV, "ignore") },
		want: []symptom{{SeverityWarning, CheckPoolSetting, "VG/pool", "lvchange " + listing + "--discards passdown VG/pool"}}},
	{name: "VG comes up at boot", infect: func(c *clinic) { c.Autoactivate(c.vg.Name) },
		want: []symptom{{SeverityWarning, CheckPoolSetting, "VG", "vgchange " + listing + "--setautoactivation n VG"}}},
	{name: "other chunks", infect: func(c *clinic) {
		chunk := c.cfg.Classes[0].Thin.ChunkSize
		c.ok(c.lvm().ChangeVGTags(c.Context(), c.vg, []string{tag(tagChunk, fmt.Sprint(2*chunk))}, []string{tag(tagChunk, fmt.Sprint(chunk))}))
	}, want: []symptom{{SeverityInfo, CheckBackup, "VG", ""}, {SeverityInfo, CheckPoolSetting, "VG/pool", ""}}},
	{name: "settings not to be seen", infect: func(c *clinic) { c.Inject(lvmtest.Fault{Verb: "lvs"}) },
		want: []symptom{{SeverityWarning, CheckLook, "VG/pool", ""}}, after: &[]symptom{}},
	{name: "LVM one change ahead", infect: func(c *clinic) { c.CutShort(c.vg.Name, poolLV) },
		want: []symptom{{SeverityInfo, CheckTransaction, "VG/pool", ""}}, after: &[]symptom{}},
	{name: "pool of another history", infect: func(c *clinic) { c.ForeignTransaction(c.vg.Name, poolLV) },
		want: []symptom{{SeverityError, CheckTransaction, "VG/pool", "transaction_id = 92/' /root/VG.vg && vgcfgrestore " + listing + "--force -f /root/VG.vg VG"}}},
	{name: "pool of another history, off", infect: func(c *clinic) {
		c.ForeignTransaction(c.vg.Name, poolLV)
		c.ok(c.lvm().Deactivate(c.Context(), c.vg, poolLV))
	}, want: []symptom{{SeverityError, CheckPoolOff, "VG/pool", "lvchange"}, {SeverityError, CheckTransaction, "VG/pool", "transaction_id = 92"}}},
	{name: "metadata snapshot of somebody", infect: func(c *clinic) { c.HoldRoot(c.vg.Name, poolLV, true) },
		want: []symptom{{SeverityWarning, CheckHeld, "VG/pool", "dmsetup message DM-pool-tpool 0 release_metadata_snap"}}},
	{name: "metadata snapshot of ours", infect: func(c *clinic) {
		c.HoldRoot(c.vg.Name, poolLV, true)
		c.ok(os.WriteFile(filepath.Join(c.dir, heldMark+c.vg.Name), nil, 0o600))
	}, want: []symptom{{SeverityInfo, CheckHeld, "VG/pool", ""}}, after: &[]symptom{}},
	{name: "thin that LVM does not know", infect: func(c *clinic) { c.StaleThin(c.vg.Name, poolLV, mib) },
		want: []symptom{{SeverityError, CheckThinStale, "VG/pool", `dmsetup message DM-pool-tpool 0 "delete 3"`}}},
	{name: "thin that the pool does not know", infect: func(c *clinic) { c.LoseThin(c.vg.Name, c.volume.LV) },
		want: []symptom{{SeverityError, CheckThinLost, "VG/v-a", ""}}},
	{name: "no thin_ls", infect: func(c *clinic) { c.Lack("thin_ls") },
		want: []symptom{{SeverityWarning, CheckLook, "VG/pool", ""}}},
	{name: "somebody's LV", infect: func(c *clinic) {
		c.ok(c.lvm().CreateThick(c.Context(), c.vg, lvm.ThickSpec{Name: "home", Size: 4 * mib}))
	}, want: []symptom{{SeverityWarning, CheckStrange, "VG/home", "lvremove " + listing + "VG/home"}, {SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "metadata of before a repair", infect: func(c *clinic) {
		c.ok(c.lvm().CreateThick(c.Context(), c.vg, lvm.ThickSpec{Name: "pool_meta0", Size: 4 * mib}))
	}, want: []symptom{{SeverityWarning, CheckStrange, "VG/pool_meta0", "lvremove " + listing + "VG/pool_meta0"}, {SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "volume without its tags", infect: func(c *clinic) { c.retag("x", tag(tagState, string(Fresh))) },
		want: []symptom{{SeverityError, CheckStrange, "VG/v-a", "'v-a {' DIR/VG/*.vg"}, {SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "snapshot that is called a volume", infect: func(c *clinic) { c.ok(c.lvm().Rename(c.Context(), c.vg, c.snapshot.LV, "v-b")) },
		want: []symptom{{SeverityError, CheckStrange, "VG/v-b", "grep"}, {SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "larger copy cut short", infect: func(c *clinic) { c.retag(tag(tagTarget, fmt.Sprint(128*mib)), "x") },
		want:  []symptom{{SeverityWarning, CheckHalfMade, "VG/v-a", "lvextend " + listing + "-L 134217728b VG/v-a"}, {SeverityInfo, CheckBackup, "VG", ""}},
		after: &[]symptom{{SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "mkfs cut short", infect: func(c *clinic) { c.retag(tag(tagState, string(Formatting)), tag(tagState, string(Fresh))) },
		want: []symptom{{SeverityInfo, CheckBackup, "VG", ""}, {SeverityInfo, CheckHalfMade, "VG/v-a", ""}}},
	{name: "quarantined", infect: func(c *clinic) { c.retag(tag(tagState, string(Quarantined)), tag(tagState, string(Fresh))) },
		want: []symptom{{SeverityWarning, CheckQuarantined, "VG/v-a", "lvremove " + listing + "VG/v-a"}, {SeverityInfo, CheckBackup, "VG", ""}}},
	{name: "wiping", infect: func(c *clinic) {
		c.ok(c.lvm().CreateThick(c.Context(), c.vg, lvm.ThickSpec{Name: "w-aaaaaaaa", Size: 4 * mib}))
	}, want: []symptom{{SeverityInfo, CheckBackup, "VG", ""}, {SeverityInfo, CheckWiping, "VG/w-aaaaaaaa", ""}}, after: &[]symptom{{SeverityInfo, CheckBackup, "VG", ""}}},
}

// ill has the first drive report ill health.
func (c *clinic) ill(status drive.HealthStatus) {
	all := c.drives
	c.rig.drives = func(ctx context.Context) ([]drive.Drive, error) {
		drives, err := all(ctx)
		drives[0].Health = drive.Health{Status: status, Reasons: []string{"something is worn out"}}
		return drives, err
	}
}

// double makes the volume in the other VG too.
func (c *clinic) double() {
	report, err := c.lvm().Scan(c.Context(), []string{"/dev/nvme0n1", "/dev/nvme1n1"})
	c.ok(err)
	for _, vg := range report.VGs {
		if have, _ := report.VG(c.vg.Name); vg.Name != c.vg.Name {
			v, _ := have.LV(c.volume.LV)
			c.ok(c.lvm().CreateThin(c.Context(), vg.VG(), lvm.ThinSpec{Name: v.Name, Pool: poolLV, Size: v.Size, Tags: v.Tags}))
			s := c.open(c.T, c.cfg)
			c.ok(s.backUp(c.Context(), s.pools[PoolID(vg.Name)]))
			s.Close()
		}
	}
}

// oldCopy has the newest copy be of long ago and of many changes before.
func (c *clinic) oldCopy() {
	dir := filepath.Join(c.dir, backupDir, c.vg.Name)
	all, err := backups(dir)
	c.ok(err)
	last := all[len(all)-1]
	c.ok(os.Rename(filepath.Join(dir, last.name), filepath.Join(dir, newBackup(time.Now().Add(-2*backupAge), last.seqno).name)))
	for range backupGap + 1 {
		c.retag("x", "y")
		c.retag("y", "x")
	}
}

func (c *clinic) fillMetadata(percent int64) {
	st, err := c.lvm().PoolStatus(c.Context(), c.vg.Name, poolLV)
	c.ok(err)
	c.FillMetadata(c.vg.Name, poolLV, st.MetaTotal*percent/100-st.MetaUsed)
}

// fillPool has 95 % of the pool used.
func (c *clinic) fillPool() {
	report, err := c.lvm().Report(c.Context(), c.vg)
	c.ok(err)
	pool, _ := report.LV(poolLV)
	rec := record{name: "big", state: Raw, mode: Block, created: time.Now()}
	c.ok(c.lvm().CreateThin(c.Context(), c.vg, lvm.ThinSpec{Name: "v-big", Pool: poolLV, Size: pool.Size / (4 * mib) * 4 * mib, Tags: rec.tags()}))
	c.Map(c.vg.Name, "v-big", pool.Size/100*95)
}

func TestDoctor(t *testing.T) {
	for _, tc := range sicknesses {
		t.Run(tc.name, func(t *testing.T) {
			layout := tc.layout
			if layout == "" {
				layout = drive.PerDrive
			}
			c := healthy(t, layout, max(tc.drives, 1))
			c.is(c.diagnose())
			tc.infect(c)
			before := c.String()
			c.is(c.diagnose(), tc.want...)
			if after := c.String(); after != before {
				t.Errorf("the look changed\n%s\nto\n%s", before, after)
			}
			after := tc.want
			if tc.after != nil {
				after = *tc.after
			}
			left := c.mended()
			if tc.extended {
				left = slices.DeleteFunc(left, func(f Finding) bool { return f.Check == CheckBackup && f.Severity == SeverityInfo })
				for i := range left {
					if left[i].Check == CheckPoolRoom {
						left[i].Severity = SeverityError // it has a little more room, or not yet
					}
				}
			}
			c.is(left, after...)
		})
	}
}

// TestDoctorKnowsEveryCheck: each check of this package is made by a sickness.
func TestDoctorKnowsEveryCheck(t *testing.T) {
	made := map[Check]bool{CheckPoolMissing: true} // TestDoctorHalfMade
	for _, tc := range sicknesses {
		for _, w := range tc.want {
			made[w.check] = true
		}
	}
	for _, check := range []Check{
		CheckDriveHealth, CheckDriveAway, CheckVGLost, CheckVGForeign, CheckVGTwice, CheckVGTags, CheckVolumeTwice, CheckLook, CheckDriveGone,
		CheckBackup, CheckDevice, CheckPoolOff, CheckPoolMode, CheckPoolRoom, CheckPoolSetting, CheckTransaction, CheckHeld, CheckThinStale,
		CheckThinLost, CheckStrange, CheckHalfMade, CheckQuarantined, CheckWiping,
	} {
		if !made[check] {
			t.Errorf("nothing makes %s be found", check)
		}
	}
}

// TestDoctorHalfMade: taking drives is interrupted before each of its commands
// after the first; the next start goes on.
func TestDoctorHalfMade(t *testing.T) {
	for _, layout := range []drive.Layout{drive.PerDrive, drive.Mirrored} {
		for n := 2; n <= 4 && (layout == drive.Mirrored || n == 2); n++ {
			t.Run(fmt.Sprintf("%s/%d", layout, n), func(t *testing.T) {
				r, fake := sickRig(t)
				c := &clinic{T: t, rig: r, Fake: fake, cfg: fastClass(layout, 40, 0)}
				o := r.options(c.cfg)
				o.Background = false
				s, err := Open(t.Context(), o)
				must(t, err)
				only := 0
				plan := s.Plan(func(drive.Verdict) bool {
					only++
					return only <= map[drive.Layout]int{drive.PerDrive: 1, drive.Mirrored: 2}[layout]
				})
				strikes := 1
				if layout == drive.Mirrored && n == 2 {
					strikes = 2 // of two commands
				}
				for range strikes {
					fake.CrashNth(n, false)
				}
				_ = s.Init(t.Context(), plan, func(string) {}) // it was interrupted
				s.Close()
				for _, p := range s.Pools(t.Context()) {
					c.id = p.ID
				}
				c.is(c.diagnose(), symptom{SeverityError, CheckPoolMissing, "VG", "lvme init"}, symptom{SeverityWarning, CheckBackup, "VG", "vgcfgbackup"})
				c.is(c.mended(), symptom{SeverityWarning, CheckBackup, "VG", "vgcfgbackup"})
			})
		}
	}
}

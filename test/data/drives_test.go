package data

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// twin is a pair of volumes, one on each drive of a node.
type twin struct{ a, b *rig.Volume }

// twins makes volumes of one kind until there is one on each drive; the one on
// drive A comes first. What is more is deleted.
func (n *wholeNode) twins(t *testing.T, s rig.Spec) twin {
	t.Helper()
	var pair twin
	for i := 0; pair.a == nil || pair.b == nil; i++ {
		one := s
		one.Name = fmt.Sprintf("%s-%d", s.Name, i)
		var v *rig.Volume
		must(t, insistEver(t.Context(), func(ctx context.Context) (err error) { v, err = n.agent.Create(ctx, one); return err }))
		place := &pair.b
		if n.serialOf(t, v) == "A" {
			place = &pair.a
		}
		if *place == nil {
			*place = v
			continue
		}
		must(t, n.agent.Delete(t.Context(), v))
	}
	return pair
}

// poolLine is what `lvme pools -o json` says of one pool.
type poolLine struct {
	VG      string
	Away    bool
	Problem string
	Drives  []struct{ Serial string }
	Strange []string
	Mirror  *struct{ Bytes, SyncedBytes, Failed int64 }
}

// pools asks a command, which looks by itself.
func (n *wholeNode) pools(t *testing.T) []poolLine {
	t.Helper()
	var all struct{ Pools []poolLine }
	must(t, json.Unmarshal([]byte(n.sh(t, rig.Binary+" pools -o json 2>/dev/null")), &all))
	return all.Pools
}

func (n *wholeNode) poolOf(t *testing.T, v *rig.Volume) poolLine {
	t.Helper()
	for _, p := range n.pools(t) {
		if p.VG == "lvme-"+strings.Split(v.ID, "/")[1] {
			return p
		}
	}
	t.Fatalf("no pool for %s", v.ID)
	return poolLine{}
}

func (n *wholeNode) serialOf(t *testing.T, v *rig.Volume) string {
	t.Helper()
	return strings.TrimSpace(n.poolOf(t, v).Drives[0].Serial)
}

// metric is the sum of a metric of the agent over the series that hold all of
// these texts, -1 without one.
func (n *wholeNode) metric(t *testing.T, name string, texts ...string) float64 {
	t.Helper()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return n.Dial(ctx, network, address)
		}}}
	r, err := client.Get("http://" + rig.Metrics + "/metrics")
	must(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(t, err)
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		for _, text := range texts {
			ok = ok && strings.Contains(rest, text)
		}
		if ok && (rest[0] == '{' || rest[0] == ' ') {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			must(t, err)
			sum, found = sum+value, true
		}
	}
	if !found {
		return -1
	}
	return sum
}

func (n *wholeNode) write(t *testing.T, v *rig.Volume) *rig.Records {
	t.Helper()
	return rig.StartRecords(t.Context(), n.Node, v.Target())
}

// kept verifies that every record that was acknowledged is there.
func (n *wholeNode) kept(t *testing.T, v *rig.Volume, r *rig.Records) {
	t.Helper()
	must(t, rig.CheckRecords(t.Context(), n.Node, v.Target(), r.Lines()))
	t.Logf("%s: all %d records that were acknowledged are there", v.Name, len(r.Lines()))
}

// goesOn verifies that a program goes on writing.
func goesOn(t *testing.T, r *rig.Records, what string) {
	t.Helper()
	before := len(r.Lines())
	eventually(t, what+": the writer goes on", func() bool { return len(r.Lines()) > before+2 })
}

// stop ends the writers of a node.
func stop(writers ...*rig.Records) {
	for _, w := range writers {
		w.End()
	}
}

// took logs how long something takes.
func took(t *testing.T, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	t.Logf("%s: %.1f s", what, time.Since(began).Seconds())
}

// TestNodeDriveReturns pulls a drive out under load and plugs it in again, with
// the pods of its volumes gone before, and after. Another drive notices nothing.
func TestNodeDriveReturns(t *testing.T) {
	n := startNode(t)
	xfs := n.twins(t, rig.Spec{Name: "xfs", FS: "xfs", Bytes: 320 * mib})
	thick := n.twins(t, rig.Spec{Name: "thick", FS: "ext4", Bytes: 64 * mib, Parameters: map[string]string{"type": "thick"}})
	btrfs := n.twins(t, rig.Spec{Name: "btrfs", FS: "btrfs", Bytes: 256 * mib})
	lost := []*rig.Volume{xfs.a, thick.a, btrfs.a}
	for _, v := range append([]*rig.Volume{xfs.b}, lost...) {
		must(t, n.agent.Publish(t.Context(), v))
	}
	other := n.write(t, xfs.b)
	for round, late := range []bool{false, true} {
		pens := map[*rig.Volume]*rig.Records{}
		for _, v := range lost {
			n.sh(t, `cd "$1"; rm -f record-*`, v.Target())
			pens[v] = n.write(t, v)
		}
		for v, p := range pens {
			eventually(t, v.Name+" is written", func() bool { return len(p.Lines()) > 5 })
		}
		must(t, n.RemoveDrive(t.Context(), "A"))
		for _, p := range pens {
			<-p.Ended()
		}
		goesOn(t, other, "drive A is out")
		eventually(t, "the agent says that the drive is away", func() bool {
			_, err := n.agent.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: xfs.a.ID})
			return status.Code(err) == codes.Unavailable
		})
		if late {
			must(t, n.ReplugDrive(t.Context(), "A"))
			eventually(t, "the pool says who holds on to the dead devices", func() bool {
				problem := n.poolOfAgent(t, xfs.a)
				return problem != ""
			})
		}
		took(t, fmt.Sprintf("round %d: unstage 3 volumes of a dead drive", round), func() {
			for _, v := range lost {
				must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Unpublish(ctx, v) }))
			}
		})
		if !late {
			if left := n.sh(t, `dmsetup ls | grep "$1" || true`, strings.ReplaceAll(n.poolOf(t, xfs.a).VG, "-", "--")); left != "" {
				t.Errorf("left of a drive that is out: %s", left)
			}
			must(t, n.ReplugDrive(t.Context(), "A"))
		}
		took(t, fmt.Sprintf("round %d: until the volumes of the drive are handed out again", round), func() {
			for _, v := range lost {
				must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Publish(ctx, v) }, codes.Unavailable))
			}
		})
		for _, v := range lost {
			n.kept(t, v, pens[v])
		}
		goesOn(t, other, "drive A is back")
	}
	stop(other)
	n.kept(t, xfs.b, other)
	for _, v := range append([]*rig.Volume{xfs.b}, lost...) {
		must(t, n.agent.Unpublish(t.Context(), v))
		must(t, n.agent.Delete(t.Context(), v))
	}
}

// poolOfAgent is whether the agent's own metrics call the pool of a volume well.
func (n *wholeNode) poolOfAgent(t *testing.T, v *rig.Volume) string {
	t.Helper()
	if n.metric(t, "lvme_pool_ok", "lvme-"+strings.Split(v.ID, "/")[1]) == 1 {
		return ""
	}
	return "not ok"
}

// TestNodeDriveHangs has a drive take requests without ever answering. All that
// has nothing to do with it goes on, through a restart of the agent too, and
// when it answers again everything of it does.
func TestNodeDriveHangs(t *testing.T) {
	n := startNode(t)
	used := n.twins(t, rig.Spec{Name: "used", FS: "xfs", Bytes: 320 * mib})
	idle := n.twins(t, rig.Spec{Name: "idle", FS: "ext4", Bytes: 64 * mib})
	must(t, n.agent.Publish(t.Context(), used.a))
	must(t, n.agent.Publish(t.Context(), used.b))
	doomed, other := n.write(t, used.a), n.write(t, used.b)
	eventually(t, "both drives are written", func() bool { return len(doomed.Lines()) > 5 && len(other.Lines()) > 5 })
	must(t, n.HangDrive(t.Context(), "A"))
	goesOn(t, other, "drive A hangs")

	// A stage and a deletion meet the drive, and hang with it. Their callers give up.
	for _, call := range []func(context.Context) error{
		func(ctx context.Context) error { return n.agent.Publish(ctx, idle.a) },
		func(ctx context.Context) error {
			_, err := n.agent.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "hung", SourceVolumeId: used.a.ID})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		if err := call(ctx); err == nil {
			t.Error("a drive that hangs does as it is told")
		}
		cancel()
	}
	took(t, "until the agent gives the drive nothing more", func() {
		eventually(t, "the agent notices", func() bool { return n.poolOfAgent(t, used.a) != "" })
	})
	n.othersGoOn(t, "first", used, idle)
	goesOn(t, other, "commands hang")

	n.agent.Kill()
	took(t, "a new agent serves", func() { n.serve(t) })
	n.othersGoOn(t, "restarted", used, idle)
	if _, err := n.agent.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: idle.a.ID, StagingTargetPath: idle.a.Staging(), VolumeCapability: capability("ext4"),
	}); status.Code(err) != codes.Unavailable {
		t.Errorf("stage of a volume on a drive that hangs: %v", err)
	}
	var line poolLine
	took(t, "lvme pools", func() {
		for _, p := range n.pools(t) {
			if p.Problem != "" {
				line = p
			}
		}
	})
	if !strings.Contains(line.Problem, "does not answer") || !strings.Contains(line.Problem, " A ") {
		t.Errorf("lvme pools says %+v", line)
	}
	goesOn(t, other, "restarted")

	must(t, n.HealDrive(t.Context(), "A"))
	goesOn(t, doomed, "drive A answers again")
	took(t, "until the volumes of the drive are handed out again", func() {
		must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Publish(ctx, idle.a) }, codes.Unavailable))
	})
	stop(doomed, other)
	n.kept(t, used.a, doomed)
	n.kept(t, used.b, other)
	for _, v := range []*rig.Volume{used.a, used.b, idle.a, idle.b} {
		must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Unpublish(ctx, v) }))
		must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Delete(ctx, v) }))
	}
}

func capability(fs string) *csi.VolumeCapability { return spec{fs: fs}.capability() }

// othersGoOn does everything that has nothing to do with drive A, each within
// what a caller waits, and asks of the volumes on it.
func (n *wholeNode) othersGoOn(t *testing.T, round string, used, idle twin) {
	t.Helper()
	stats := func(v *rig.Volume) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := n.agent.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: v.ID, VolumePath: v.Target(), StagingTargetPath: v.Staging()})
			return err
		}
	}
	var made *rig.Volume
	for _, step := range []struct {
		what string
		call func(context.Context) error
		or   codes.Code // what may be answered instead
	}{
		{"probe", func(ctx context.Context) error { _, err := n.agent.Probe(ctx, &csi.ProbeRequest{}); return err }, codes.OK},
		{"statistics of another drive", stats(used.b), codes.OK},
		{"statistics of the drive that hangs", stats(used.a), codes.Unavailable},
		{"capacity", func(ctx context.Context) error { _, err := n.agent.Available(ctx, "thin"); return err }, codes.OK},
		{"metrics", func(context.Context) error { n.metric(t, "lvme_ready"); return nil }, codes.OK},
		{"list", func(ctx context.Context) error {
			_, err := n.agent.ListVolumes(ctx, &csi.ListVolumesRequest{})
			return err
		}, codes.Unavailable},
		{"create", func(ctx context.Context) (err error) {
			made, err = n.agent.Create(ctx, rig.Spec{Name: "new-" + round, FS: "ext4", Bytes: 64 * mib})
			return err
		}, codes.OK},
		{"publish", func(ctx context.Context) error { return n.agent.Publish(ctx, made) }, codes.OK},
		{"statistics", func(ctx context.Context) error { return stats(made)(ctx) }, codes.OK},
		{"snapshot", func(ctx context.Context) error { _, err := n.agent.Snapshot(ctx, "of-"+round, made); return err }, codes.OK},
		{"expand", func(ctx context.Context) error { return n.agent.Expand(ctx, made, 96*mib) }, codes.OK},
		{"publish what was idle", func(ctx context.Context) error { return n.agent.Publish(ctx, idle.b) }, codes.OK},
		{"unpublish", func(ctx context.Context) error { return n.agent.Unpublish(ctx, made) }, codes.OK},
		{"delete", func(ctx context.Context) error { return n.agent.Delete(ctx, made) }, codes.OK},
	} {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := insist(ctx, step.call)
		cancel()
		if c := status.Code(err); c != codes.OK && c != step.or {
			t.Errorf("%s: %s with drive A hanging: %v", round, step.what, err)
			if made == nil {
				return
			}
		}
		t.Logf("%s: %s: %.1f s", round, step.what, time.Since(began).Seconds())
	}
}

// TestNodeDriveFails has a drive answer with nothing but errors, and then be
// mended. It costs its own volumes only, and they work again.
func TestNodeDriveFails(t *testing.T) {
	n := startNode(t)
	pair := n.twins(t, rig.Spec{Name: "used", FS: "ext4", Bytes: 64 * mib})
	must(t, n.agent.Publish(t.Context(), pair.a))
	must(t, n.agent.Publish(t.Context(), pair.b))
	for _, fault := range []bed.Fault{{Writes: true}, {Reads: true, Writes: true}} {
		n.sh(t, `cd "$1"; rm -f record-*`, pair.a.Target())
		doomed, other := n.write(t, pair.a), n.write(t, pair.b)
		eventually(t, "both drives are written", func() bool { return len(doomed.Lines()) > 5 && len(other.Lines()) > 5 })
		must(t, n.FailDrive(t.Context(), "A", fault))
		<-doomed.Ended()
		goesOn(t, other, fmt.Sprintf("drive A fails: %+v", fault))
		took(t, fmt.Sprintf("%+v: a new volume, elsewhere", fault), func() {
			var v *rig.Volume
			must(t, insistEver(t.Context(), func(ctx context.Context) (err error) {
				v, err = n.agent.Create(ctx, rig.Spec{Name: "elsewhere", FS: "ext4", Bytes: 64 * mib})
				return err
			}))
			must(t, n.agent.Publish(t.Context(), v))
			must(t, n.agent.Unpublish(t.Context(), v))
			must(t, n.agent.Delete(t.Context(), v))
		})
		if p := n.poolOf(t, pair.a); fault.Reads && (!strings.Contains(p.Problem, "cannot be read") || !strings.Contains(p.Problem, " A ")) {
			t.Errorf("lvme pools says %+v", p)
		}
		took(t, "unstage of the failed drive", func() {
			must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Unpublish(ctx, pair.a) }, codes.Unavailable))
		})
		must(t, n.HealDrive(t.Context(), "A"))
		took(t, "until its volume is handed out again", func() {
			must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Publish(ctx, pair.a) }, codes.Unavailable, codes.FailedPrecondition, codes.Internal))
		})
		stop(other)
		n.kept(t, pair.a, doomed)
		n.kept(t, pair.b, other)
		if p := n.poolOf(t, pair.a); p.Problem != "" {
			t.Errorf("after it was mended lvme pools says %+v", p)
		}
		n.sh(t, `cd "$1"; rm -f record-*`, pair.b.Target())
	}
}

// TestNodeDriveReadOnly has a drive take no more writes, and say so in its SMART
// log, as worn-out ones do. What is on it can be read, and nothing new is put on it.
func TestNodeDriveReadOnly(t *testing.T) {
	n := startNode(t)
	pair := n.twins(t, rig.Spec{Name: "used", FS: "ext4", Bytes: 64 * mib})
	must(t, n.agent.Publish(t.Context(), pair.a))
	must(t, n.agent.Publish(t.Context(), pair.b))
	n.sh(t, `head -c 3000000 /dev/urandom >"$1"/data; sync "$1"/data "$1"`, pair.a.Target())
	sum := n.sh(t, `sha256sum <"$1"/data`, pair.a.Target())
	doomed, other := n.write(t, pair.a), n.write(t, pair.b)
	eventually(t, "both drives are written", func() bool { return len(doomed.Lines()) > 5 && len(other.Lines()) > 5 })
	const mediaReadOnly = 1 << 3
	must(t, n.FailDrive(t.Context(), "A", bed.Fault{Writes: true}))
	must(t, n.WarnDrive(t.Context(), "A", mediaReadOnly))
	<-doomed.Ended()
	goesOn(t, other, "drive A is read-only")
	if again := n.sh(t, `echo 3 >/proc/sys/vm/drop_caches; sha256sum <"$1"/data`, pair.a.Target()); again != sum {
		t.Error("what is on the drive cannot be read as it was")
	}
	if out := n.sh(t, rig.Binary+` drives -o wide | grep -w A`); !strings.Contains(out, "critical") || !strings.Contains(out, "read-only") {
		t.Errorf("lvme drives says %q", out)
	}
	for i := range 3 {
		var v *rig.Volume
		must(t, insistEver(t.Context(), func(ctx context.Context) (err error) {
			v, err = n.agent.Create(ctx, rig.Spec{Name: fmt.Sprint("new-", i), FS: "ext4", Bytes: 64 * mib})
			return err
		}))
		if serial := n.serialOf(t, v); serial != "B" {
			t.Errorf("a new volume is on drive %s", serial)
		}
		must(t, n.agent.Delete(t.Context(), v))
	}
	must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Unpublish(ctx, pair.a) }, codes.Unavailable))
	must(t, n.HealDrive(t.Context(), "A"))
	must(t, n.WarnDrive(t.Context(), "A", 0))
	must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Publish(ctx, pair.a) }, codes.Unavailable, codes.FailedPrecondition, codes.Internal))
	stop(other)
	n.kept(t, pair.a, doomed)
	n.kept(t, pair.b, other)
}

const mirroredNode = `classes:
  - name: safe
    layout: mirrored
    thin: {share: 40}
    thick: {share: 8}
    reserve: 5
`

// TestNodeMirror takes a drive of a mirror away in use, gives it back, takes it
// away for good and gives the mirror another. Volumes are in use all the time.
func TestNodeMirror(t *testing.T) {
	n := startNodeWith(t, mirroredNode, bed.Drive{Serial: "A", Size: 2 * gib}, bed.Drive{Serial: "B", Size: 2 * gib})
	var thick *rig.Volume
	must(t, insistEver(t.Context(), func(ctx context.Context) (err error) {
		thick, err = n.agent.Create(ctx, rig.Spec{Name: "thick", FS: "ext4", Bytes: 32 * mib, Parameters: map[string]string{"type": "thick"}})
		return err
	}))
	thin, err := n.agent.Create(t.Context(), rig.Spec{Name: "thin", FS: "xfs", Bytes: 320 * mib})
	must(t, err)
	pens := map[*rig.Volume]*rig.Records{}
	for _, v := range []*rig.Volume{thin, thick} {
		must(t, n.agent.Publish(t.Context(), v))
	}
	pens[thin] = n.write(t, thin)
	n.sh(t, `head -c 3000000 /dev/urandom >"$1"/data; sync "$1"/data "$1"`, thick.Target())
	sum := n.sh(t, `sha256sum <"$1"/data`, thick.Target())
	vg := n.poolOf(t, thin).VG
	n.inSync(t, "made", vg)

	must(t, n.RemoveDrive(t.Context(), "B"))
	goesOn(t, pens[thin], "a leg is out")
	eventually(t, "the agent tells of it", func() bool { return n.metric(t, "lvme_pool_mirrors_degraded", vg) > 0 })
	if p := n.poolOf(t, thin); !strings.Contains(p.Problem, "1 of its drives missing") || !strings.Contains(p.Problem, " B") {
		t.Errorf("lvme pools says %+v", p)
	}
	must(t, n.ReplugDrive(t.Context(), "B"))
	n.inSync(t, "the leg is back", vg)
	goesOn(t, pens[thin], "the leg is back")

	must(t, n.RemoveDrive(t.Context(), "B"))
	goesOn(t, pens[thin], "a leg is lost")
	must(t, n.AddDrive(t.Context(), bed.Drive{Serial: "C", Size: 2 * gib}))
	// It had an earlier life, which nobody may see.
	n.sh(t, `d=$(lsblk -dno PATH,SERIAL | awk '$2 == "C" {print $1}'); set +o pipefail; yes "somebody's secret" | dd of=$d bs=1M seek=64 count=1900 iflag=fullblock oflag=direct status=none`)
	t.Log(n.sh(t, rig.Binary+` pools repair "$1" --with C --dry-run`, vg))
	took(t, "lvme pools repair", func() { t.Log(n.sh(t, rig.Binary+` pools repair "$1" --with C --yes`, vg)) })
	n.inSync(t, "the leg is replaced", vg)
	goesOn(t, pens[thin], "the leg is replaced")
	eventually(t, "the agent uses the pool again", func() bool { return n.metric(t, "lvme_pool_ok", vg) == 1 })
	snapshot, err := n.agent.Snapshot(t.Context(), "after", thin)
	must(t, err)
	eventually(t, "the new drive's free extents are wiped", func() bool {
		bytes, err := n.agent.Available(t.Context(), "thick")
		return err == nil && bytes > 0
	})
	if out := n.sh(t, rig.Binary+` pools repair "$1"`, vg); !strings.Contains(out, "Nothing to do") {
		t.Errorf("again: %s", out)
	}

	// The new leg alone holds all of it.
	must(t, n.RemoveDrive(t.Context(), "A"))
	goesOn(t, pens[thin], "the old leg is out")
	stop(pens[thin])
	n.sh(t, `sync; echo 3 >/proc/sys/vm/drop_caches`)
	n.kept(t, thin, pens[thin])
	if again := n.sh(t, `sha256sum <"$1"/data`, thick.Target()); again != sum {
		t.Error("thick has another content")
	}
	// And a stage, on one leg.
	for _, v := range []*rig.Volume{thin, thick} {
		must(t, n.agent.Unpublish(t.Context(), v))
		must(t, insist(t.Context(), func(ctx context.Context) error { return n.agent.Publish(ctx, v) }, codes.Unavailable))
	}
	n.kept(t, thin, pens[thin])
	must(t, n.ReplugDrive(t.Context(), "A"))
	n.inSync(t, "the old leg is back", vg)
	must(t, n.ReplugDrive(t.Context(), "B")) // which was given up
	if out := n.sh(t, rig.Binary+` drives`); !strings.Contains(out, "refused") {
		t.Errorf("a drive that was given up: %s", out)
	}
	_, err = n.agent.DeleteSnapshot(t.Context(), &csi.DeleteSnapshotRequest{SnapshotId: snapshot})
	must(t, err)
	for _, v := range []*rig.Volume{thin, thick} {
		must(t, n.agent.Unpublish(t.Context(), v))
		must(t, n.agent.Delete(t.Context(), v))
	}
}

// inSync waits until all mirrors in use are whole and alike.
func (n *wholeNode) inSync(t *testing.T, what, vg string) {
	t.Helper()
	took(t, what+": in sync", func() {
		eventually(t, what+": in sync", func() bool {
			size := n.metric(t, "lvme_pool_mirror_bytes", vg)
			return size > 0 && size == n.metric(t, "lvme_pool_mirror_synced_bytes", vg) && n.metric(t, "lvme_pool_mirrors_degraded", vg) == 0 &&
				n.metric(t, "lvme_pool_ok", vg) == 1
		})
	})
}

// TestNodeDriveWarns has a drive say in its SMART log that it is failing.
func TestNodeDriveWarns(t *testing.T) {
	n := startNode(t)
	if got := n.metric(t, "lvme_drive_critical_warning"); got != 0 {
		t.Errorf("well drives: warning %v", got)
	}
	const reliability = 1 << 2
	must(t, n.WarnDrive(t.Context(), "A", reliability))
	out := n.sh(t, rig.Binary+` drives -o wide | grep -w A`)
	if !strings.Contains(out, "critical") || !strings.Contains(out, "reliability is degraded") {
		t.Errorf("lvme drives says %q", out)
	}
	n.agent.Kill()
	n.serve(t)
	if got := n.metric(t, "lvme_drive_critical_warning"); got != reliability {
		t.Errorf("metric of the critical warning: %v, want %v", got, reliability)
	}
	if got := n.metric(t, "lvme_drive_info", `serial="A"`, `health="critical"`); got != 1 {
		t.Errorf("the agent does not call the drive critical: %v", got)
	}
	must(t, n.WarnDrive(t.Context(), "A", 0))
	if out := n.sh(t, rig.Binary+` drives -o wide | grep -w A`); strings.Contains(out, "critical") {
		t.Errorf("a drive that is well again: %q", out)
	}
}

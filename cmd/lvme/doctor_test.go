package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

func someFindings() []volume.Finding {
	return []volume.Finding{
		{Severity: volume.SeverityError, Check: volume.CheckPoolOff, On: "lvme-abcd1234/pool", Meaning: "the thin pool is not active", Mend: "lvchange -ay -K lvme-abcd1234/pool"},
		{Severity: volume.SeverityWarning, Check: volume.CheckDriveHealth, On: "/dev/nvme0n1 SAMSUNG\x1b[31m", Meaning: "it is worn out"},
		{Severity: volume.SeverityInfo, Check: volume.CheckWiping, On: "lvme-abcd1234/w-a", Meaning: "it is being wiped"},
	}
}

func TestFindingsAreRendered(t *testing.T) {
	for _, form := range forms {
		t.Run(form, func(t *testing.T) {
			b := newBench(t, 0)
			if err := b.environment().tell(someFindings(), true, output{form}); !errors.Is(err, errFindings) {
				t.Errorf("told with %v", err)
			}
			golden(t, "doctor."+form, b.out.String())
		})
	}
	b := newBench(t, 0)
	if err := b.environment().tell(someFindings()[2:], true, output{asTable}); err != nil || strings.Contains(b.out.String(), "MEND") {
		t.Errorf("an info alone: %v, %s", err, b.out.String())
	}
}

// TestDoctorExitCodes: 0 when all is well, 3 when something is wrong, 1 when
// nothing could be looked at.
func TestDoctorExitCodes(t *testing.T) {
	b := newBench(t, 1)
	out, stderr := b.node(exitOK, "doctor")
	if out != "Nothing is wrong.\n" || stderr != "" {
		t.Errorf("a new host: %q, %q", out, stderr)
	}
	b.node(exitOK, "init", "--yes")
	out, stderr = b.node(exitFound, "doctor")
	has(t, out, "warning    agent", "warning    backup", "MEND", "vgcfgbackup --devices /dev/nvme0n1")
	if stderr != "" {
		t.Errorf("findings are no complaint: %q", stderr)
	}
	before := b.host.LVM.String()
	var v doctorView
	out, _ = b.node(exitFound, "doctor", "-o", "json")
	if err := json.Unmarshal([]byte(out), &v); err != nil || len(v.Findings) != 2 || v.Findings[1].Mend == "" {
		t.Errorf("%s: %+v, %v", out, v, err)
	}
	if after := b.host.LVM.String(); after != before {
		t.Errorf("the doctor changed\n%s\nto\n%s", before, after)
	}
	b.host.LVM.Uninstall(true)
	out, _ = b.node(exitFound, "doctor")
	has(t, out, "error", "program", "lvm2")
	b.host.LVM.Uninstall(false)
	b.files[defaultConfig] = "classes: [{name: UPPER}]\n"
	_, stderr = b.node(exitFailed, "doctor")
	has(t, stderr, "UPPER")
}

// kubectlList is what kubectl prints.
func kubectlList(items ...string) string {
	return `{"apiVersion": "v1", "kind": "List", "items": [` + strings.Join(items, ",") + `]}`
}

func pv(name, driver, handle string) string {
	return fmt.Sprintf(`{"kind": "PersistentVolume", "metadata": {"name": %q}, "spec": {"csi": {"driver": %q, "volumeHandle": %q}}}`, name, driver, handle)
}

func vsc(driver, uid, handle string) string {
	return fmt.Sprintf(`{"kind": "VolumeSnapshotContent", "spec": {"driver": %q, "volumeSnapshotRef": {"uid": %q}}, "status": {"snapshotHandle": %q}}`, driver, uid, handle)
}

// orphaned is a node with volumes and a snapshot.
func orphaned(t *testing.T) (b *bench, key func(lv string) string) {
	b = newBench(t, 1)
	b.node(exitOK, "init", "--yes")
	var store, vg string
	b.store(func(s *volume.Store) {
		store, vg = s.Key(), s.Pools(t.Context())[0].ID
		for _, name := range []string{"pvc-1", "pvc-2"} {
			v, err := s.Create(t.Context(), volume.CreateSpec{Name: name, Mode: volume.Block, Size: volume.Range{Required: 1 << 30}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.CreateSnapshot(t.Context(), volume.SnapshotSpec{Name: "snapshot-" + name, Source: v.Key}); err != nil {
				t.Fatal(err)
			}
		}
	})
	return b, func(lv string) string { return volume.Key{Store: store, VG: vg, LV: lv}.String() }
}

func (b *bench) orphans(list string, args ...string) orphansView {
	b.Helper()
	b.answer = list
	out, _ := b.node(exitOK, append([]string{"orphans", "--pvs", "-", "-o", "json"}, args...)...)
	var v orphansView
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return v
}

func (v orphansView) String() string {
	var lines []string
	for _, o := range v.Orphans {
		lines = append(lines, fmt.Sprintf("%s %s young=%t used=%t %q %s", o.Kind, o.Name, o.Young, o.InUse, o.Reason, o.Delete))
	}
	return strings.Join(lines, "\n")
}

func TestOrphans(t *testing.T) {
	const ours = "csi.lvme.dev"
	b, key := orphaned(t)
	vg := "lvme-" + strings.Split(key("v-pvc-1"), "/")[1]
	all := []string{pv("pvc-1", ours, key("v-pvc-1")), pv("pvc-2", ours, key("v-pvc-2")), vsc(ours, "pvc-1", key("s-snapshot-pvc-1")), vsc(ours, "pvc-2", key("s-snapshot-pvc-2"))}
	none := "None.\n"
	lvremove := "lvremove --devices /dev/nvme0n1 " + vg + "/"
	const noPV, noContent = "no PersistentVolume has its id", "no VolumeSnapshotContent has its id"
	for _, tc := range []struct {
		name, list string
		args       []string
		want       string
	}{
		{"all known", kubectlList(all...), nil, ""},
		{"a snapshot whose origin goes is kept, and the other way round", kubectlList(all[1], all[2]), []string{"--grace", "0"}, strings.Join([]string{
			`snapshot snapshot-pvc-2 young=false used=false "` + noContent + `" ` + lvremove + "s-snapshot-pvc-2",
			`volume pvc-1 young=false used=false "` + noPV + `" ` + lvremove + "v-pvc-1",
		}, "\n")},
		{"young", kubectlList(all[1:]...), nil, `volume pvc-1 young=true used=false "` + noPV + `" `},
		{"another driver's handle", kubectlList(append([]string{pv("pvc-1", "other", key("v-pvc-1"))}, all[1:]...)...), []string{"--grace", "0"},
			`volume pvc-1 young=false used=false "` + noPV + `" ` + lvremove + "v-pvc-1"},
		{"made again elsewhere", kubectlList(append([]string{pv("pvc-1", ours, "other000/abcd1234/v-pvc-1")}, all[1:]...)...), []string{"--grace", "0"},
			`volume pvc-1 young=false used=false "its PersistentVolume has the id other000/abcd1234/v-pvc-1: it was made again elsewhere" ` + lvremove + "v-pvc-1"},
		{"a snapshot that is just being taken", kubectlList(all[0], all[1], vsc(ours, "pvc-1", ""), all[3]), []string{"--grace", "0"}, ""},
	} {
		if got := b.orphans(tc.list, tc.args...).String(); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
	// A list without any object of a kind is no reason to delete.
	for _, o := range b.orphans(kubectlList(all[:2]...), "--grace", "0").Orphans {
		if o.Kind != "snapshot" || o.Delete != "" || !strings.Contains(o.Reason, "was it asked for") {
			t.Errorf("no VolumeSnapshotContent at all: %+v", o)
		}
	}
	if got := b.orphans(kubectlList(), "--grace", "0"); len(got.Orphans) != 4 || strings.Contains(got.String(), "lvremove") {
		t.Errorf("an empty list:\n%s", got)
	}
	b.files["list.json"] = kubectlList(all...)
	if out, _ := b.node(exitOK, "orphans", "--pvs", "list.json"); out != none {
		t.Errorf("from a file:\n%s", out)
	}
	for name, text := range map[string]string{
		"cut short": kubectlList(all...)[:200], "no list": `{"kind": "Status"}`, "no JSON": "error: forbidden", "empty": "", "claims too": kubectlList(`{"kind": "PersistentVolumeClaim"}`),
	} {
		b.files["bad.json"] = text
		if _, stderr := b.node(exitFailed, "orphans", "--pvs", "bad.json"); !strings.Contains(stderr, "--pvs") {
			t.Errorf("%s: %s", name, stderr)
		}
	}
	b.run(exitUsage, "orphans")
}

func TestOrphansInUseAndThick(t *testing.T) {
	b, key := orphaned(t)
	_ = key
	s, err := volume.Open(t.Context(), b.host.Agent().StoreOptions(b.state, drive.DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	k := volume.Key{Store: s.Key(), VG: s.Pools(t.Context())[0].ID, LV: "v-a"}
	volumes := []volume.Volume{
		{Key: k, Name: "a", Type: volume.Thick, Created: now.Add(-2 * time.Hour), Bytes: 5},
		{Key: volume.Key{Store: k.Store, VG: k.VG, LV: "v-b"}, Name: "b", Active: true, Created: now.Add(-2 * time.Hour)},
	}
	got := viewOrphans(s.Key(), s.Orphans(volumes, nil, volume.Claims{Volumes: map[string]bool{"x": true}}, time.Hour), now)
	vg := volume.VGName(k.VG)
	if o := got.Orphans[0]; !strings.HasPrefix(o.Delete, "lvrename --devices /dev/nvme0n1 "+vg+" v-a w-") || o.status() != "orphan" {
		t.Errorf("a thick one: %+v", o)
	}
	if o := got.Orphans[1]; o.Delete != "" || o.status() != "in use" {
		t.Errorf("one in use: %+v", o)
	}
	var out bytes.Buffer
	if err := write(&out, output{asTable}, got, got.Orphans, orphanColumns); err != nil {
		t.Fatal(err)
	}
	has(t, out.String(), "KIND", "AGE", "STATUS", "REASON", "COMMAND", "2h", "in use", "lvrename")
}

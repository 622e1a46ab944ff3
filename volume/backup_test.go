package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm"
)

// copying opens a store whose copies come soon, as after a start.
func (r *rig) copying(t *testing.T, cfg drive.Config) *Store {
	t.Helper()
	o := r.options(cfg)
	o.BackupAfter = 50 * time.Millisecond
	s, err := Open(t.Context(), o)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// copiesOf are the copies of a VG.
func copiesOf(t *testing.T, r *rig, vgID string) []backup {
	t.Helper()
	all, err := backups(filepath.Join(r.dir, backupDir, VGName(vgID)))
	must(t, err)
	return all
}

// reported are the VGs as LVM has them.
func (r *rig) reported(t *testing.T) []lvm.VGReport {
	t.Helper()
	drives, err := r.drives(t.Context())
	must(t, err)
	report, err := lvm.New(r.runner, r.kernel).Scan(t.Context(), paths(drives))
	must(t, err)
	return report.VGs
}

// waitCopied waits until the newest copy of every VG is of its last change.
func (r *rig) waitCopied(t *testing.T) {
	t.Helper()
	vgs := r.reported(t)
	if len(vgs) == 0 {
		t.Fatal("there is no VG")
	}
	eventually(t, "every VG copied", func() bool {
		for _, vg := range vgs {
			all := copiesOf(t, r, PoolID(vg.Name))
			if len(all) == 0 || all[len(all)-1].seqno != vg.Seqno {
				return false
			}
		}
		return true
	})
}

// quiet wants no command to run in a while.
func (r *rig) quiet(t *testing.T, what string) {
	t.Helper()
	r.calls.take()
	time.Sleep(500 * time.Millisecond) // ten times as long as a copy waits
	if ran := r.calls.take(); ran != "" {
		t.Errorf("%s: it ran %q", what, ran)
	}
}

// testBackup: metadata are copied once a VG has come to rest, after drives were
// taken and at a start that finds them changed, and never otherwise.
func testBackup(t *testing.T, r *rig) {
	cfg := fastClass(drive.PerDrive, 60, 0)
	s := r.copying(t, cfg)
	must(t, s.Init(t.Context(), s.Plan(nil), func(string) {}))
	waitWiped(t, s)
	r.waitCopied(t)
	r.quiet(t, "after the copy")

	made := len(r.allCopies(t))
	const n = 100
	for i := range n {
		if r.real && i == 10 {
			break
		}
		mustCreate(t, s, CreateSpec{Name: fmt.Sprint(i), Mode: Block, Size: size(4 * mib)})
	}
	r.waitCopied(t)
	if more := len(r.allCopies(t)) - made; more > n/4 {
		t.Errorf("a burst of creates cost %d copies", more)
	}
	for _, file := range r.allCopies(t) {
		info, err := os.Stat(file)
		must(t, err)
		saved, err := lvm.ReadBackup(file)
		if err != nil || info.Mode() != 0o600 || !strings.HasSuffix(file, fmt.Sprintf("%s/%s", saved.VG, newBackup(nameTime(t, file), saved.Seqno).name)) {
			t.Errorf("%s: mode %s, %+v, %v", file, info.Mode(), saved, err)
		}
	}
	s.Close()

	s = r.copying(t, cfg)
	r.quiet(t, "a start with nothing changed")
	s.Close()
	for _, vg := range r.reported(t) {
		must(t, s.LVM.ChangeVGTags(t.Context(), vg.VG(), []string{"by-hand"}, nil))
		must(t, os.WriteFile(filepath.Join(r.dir, backupDir, vg.Name, ".lvm_host_1_2"), []byte("half"), 0o600))
	}
	s = r.copying(t, cfg)
	r.waitCopied(t)
	eventually(t, "what copies that were cut short have left is gone", func() bool {
		left, err := filepath.Glob(filepath.Join(r.dir, backupDir, "*", ".*"))
		return err == nil && len(left) == 0
	})
	s.Close()
}

func (r *rig) allCopies(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, backupDir, "*", "*.vg"))
	must(t, err)
	return files
}

func nameTime(t *testing.T, file string) time.Time {
	t.Helper()
	word, _, _ := strings.Cut(filepath.Base(file), "-")
	at, err := time.Parse(backupTime, word)
	must(t, err)
	return at
}

// TestBackupFails: it is tried again, and holds up nothing.
func TestBackupFails(t *testing.T) {
	r, fake := sickRig(t)
	s := r.copying(t, fastClass(drive.PerDrive, 60, 0))
	must(t, os.WriteFile(filepath.Join(r.dir, backupDir), nil, 0o600)) // no directory can be made
	must(t, s.Init(t.Context(), s.Plan(nil), func(string) {}))
	held := fake.Hold("vgcfgbackup")
	defer held.Release()
	var p *pool
	for _, p = range s.pools {
	}
	if err := s.backUp(t.Context(), p); err == nil {
		t.Error("a copy into a file succeeds")
	}
	must(t, os.Remove(filepath.Join(r.dir, backupDir)))
	done := make(chan error, 1)
	go func() { done <- s.backUp(t.Context(), p) }()
	<-held.Waiting
	mustCreate(t, s, CreateSpec{Name: "while it is copied", Mode: Block, Size: size(4 * mib)})
	held.Release()
	must(t, <-done)
	s.mu.Lock()
	p.missing = 1
	s.mu.Unlock()
	before := len(r.allCopies(t))
	must(t, s.backUp(t.Context(), p))
	if len(r.allCopies(t)) != before {
		t.Error("a VG that lacks a drive was copied")
	}
}

// TestBackupRetention: the last ones stay, and the last of each of the last days.
func TestBackupRetention(t *testing.T) {
	var all []backup
	start := time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC)
	for i := range 20 * 24 { // one an hour for twenty days
		all = append(all, newBackup(start.Add(time.Duration(i)*time.Hour), int64(i+1)))
	}
	gone := outdated(all)
	kept := slices.DeleteFunc(slices.Clone(all), func(b backup) bool { return slices.Contains(gone, b) })
	if len(kept) != keepBackups+keepBackupDays-1 {
		t.Errorf("%d of %d are kept", len(kept), len(all))
	}
	if !slices.Equal(kept[len(kept)-keepBackups:], all[len(all)-keepBackups:]) {
		t.Errorf("kept %v", kept)
	}
	for i, b := range kept[:keepBackupDays-1] {
		if want := time.Date(2026, 11, 14+i, 23, 30, 0, 0, time.UTC); !b.at.Equal(want) {
			t.Errorf("kept of %s, want of %s", b.at, want)
		}
	}
	if few := outdated(all[:keepBackups]); len(few) != 0 {
		t.Errorf("of few %v would go", few)
	}
	dir := t.TempDir()
	for _, b := range all {
		must(t, os.WriteFile(filepath.Join(dir, b.name), nil, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	must(t, prune(dir))
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(kept)+1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2"
)

// LVM keeps its metadata on the drives and, as it is used here, nowhere else:
// its own archive costs each command dearly. So the agent copies the metadata of
// a VG into the state directory once the VG has been left alone for a while
// after a change. A copy is one report's work and takes no lock of ours, so that
// no change ever waits for it; docs/operations.md says how a VG is made anew
// from one.

const (
	// backupDir is below the state directory, with a directory for each VG.
	backupDir = "backup"
	// backupQuiet is how long a VG must be left alone. One that never is, is
	// copied after backupPatience times as long.
	backupQuiet    = 20 * time.Second
	backupPatience = 15
	// backupRetry is the wait after a copy that failed.
	backupRetry = 5 * time.Minute
	// Of each VG the last copies are kept, and the last of each of the last days
	// that have any.
	keepBackups    = 10
	keepBackupDays = 7
)

// backup is a copy of a VG's metadata: a file that is called by when it was made
// and which change of the VG was the last in it.
type backup struct {
	name  string
	at    time.Time
	seqno int64
}

const backupTime = "20060102T150405Z"

var backupName = regexp.MustCompile(`^(\d{8}T\d{6}Z)-(\d{1,18})\.vg$`)

// newBackup names a copy.
func newBackup(at time.Time, seqno int64) backup {
	at = at.UTC().Truncate(time.Second)
	return backup{name: fmt.Sprintf("%s-%d.vg", at.Format(backupTime), seqno), at: at, seqno: seqno}
}

// backups lists the copies in a directory, the oldest first.
func backups(dir string) ([]backup, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []backup
	for _, f := range files {
		m := backupName.FindStringSubmatch(f.Name())
		if m == nil {
			continue
		}
		at, err := time.Parse(backupTime, m[1])
		seqno, _ := strconv.ParseInt(m[2], 10, 64) // digits only, by the expression
		if err == nil {
			all = append(all, backup{name: f.Name(), at: at, seqno: seqno})
		}
	}
	slices.SortFunc(all, func(a, b backup) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seqno, b.seqno)) })
	return all, nil
}

// outdated are those of the copies, oldest first, that need not be kept.
func outdated(all []backup) []backup {
	kept, days := map[string]bool{}, map[string]bool{}
	for i, b := range slices.Backward(all) {
		day := b.at.Format(time.DateOnly)
		if len(all)-i <= keepBackups || !days[day] && len(days) < keepBackupDays {
			kept[b.name] = true
		}
		days[day] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(b backup) bool { return kept[b.name] })
}

// backupDirOf is where the copies of a VG are.
func (s *Store) backupDirOf(p *pool) string { return filepath.Join(s.Dir, backupDir, VGName(p.id)) }

// changed notes that the VG is another than when it was last copied; s.mu is
// held.
func (s *Store) changed(p *pool) {
	p.changes++
	if !s.Background || p.backingUp || p.away || p.missing > 0 || s.life.Err() != nil {
		return
	}
	p.backingUp = true
	s.background.Go(func() { s.backUpWhenQuiet(p) })
}

// changedByReport is changed for a VG that was reported: somebody else may have
// changed it, or an agent that ended before it made a copy. s.mu is held.
func (s *Store) changedByReport(p *pool) {
	if !s.Background {
		return
	}
	if p.saved == 0 {
		if all, err := backups(s.backupDirOf(p)); err == nil && len(all) > 0 {
			p.saved = all[len(all)-1].seqno
		}
	}
	if p.saved != p.seqno {
		s.changed(p)
	}
}

// backUpWhenQuiet copies the metadata as often as they change, each time when
// the VG has come to rest.
func (s *Store) backUpWhenQuiet(p *pool) {
	for s.awaitQuiet(p) {
		changes := s.changesOf(p)
		err := s.backUp(s.life, p)
		if s.backedUp(p, changes, err) {
			return
		}
		if err == nil || s.life.Err() != nil {
			continue
		}
		klog.FromContext(s.life).Error(err, "the metadata of a VG are not backed up; will try again", "vg", VGName(p.id), "in", backupRetry)
		select {
		case <-time.After(backupRetry):
		case <-s.life.Done():
		}
	}
}

func (s *Store) changesOf(p *pool) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return p.changes
}

// backedUp says that no more is to be done.
func (s *Store) backedUp(p *pool, changes int, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := p.away || p.missing > 0 // whoever finds it again notes that it changed
	if gone || err == nil && p.changes == changes {
		p.backingUp = false
		return true
	}
	return false
}

// awaitQuiet waits until the VG is left alone; false means that the store closes.
func (s *Store) awaitQuiet(p *pool) bool {
	quiet := cmp.Or(s.BackupAfter, backupQuiet)
	for range backupPatience {
		changes := s.changesOf(p)
		select {
		case <-time.After(quiet):
		case <-s.life.Done():
			return false
		}
		if s.changesOf(p) == changes {
			break
		}
	}
	return true
}

// backUp copies the metadata of a VG. What a crash leaves of a copy is no copy
// by its name, and removed with the next.
func (s *Store) backUp(ctx context.Context, p *pool) error {
	p.copying.Lock()
	defer p.copying.Unlock()
	s.mu.RLock()
	vg, dir := p.vg, s.backupDirOf(p)
	skip := p.away || p.missing > 0
	s.mu.RUnlock()
	if skip {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("back up the metadata of VG %s: %w", vg.Name, err)
	}
	made := filepath.Join(dir, ".new")
	saved, err := s.LVM.Backup(ctx, vg, made)
	if err != nil {
		return domainError(err)
	}
	b := newBackup(s.now(), saved.Seqno)
	if err := putInPlace(made, filepath.Join(dir, b.name)); err != nil {
		return fmt.Errorf("back up the metadata of VG %s: %w", vg.Name, err)
	}
	s.mu.Lock()
	p.saved = saved.Seqno
	s.mu.Unlock()
	klog.FromContext(ctx).V(1).Info("VG metadata backed up", "vg", vg.Name, "file", filepath.Join(dir, b.name))
	return prune(dir)
}

// putInPlace gives a file its name once it is safely on the disk.
func putInPlace(made, name string) error {
	f, err := os.OpenFile(made, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(made, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// prune removes the copies that need not be kept, and what copies that were cut
// short have left: LVM's and our own begin with a dot.
func prune(dir string) error {
	all, err := backups(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range outdated(all) {
		errs = append(errs, os.Remove(filepath.Join(dir, b.name)))
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			errs = append(errs, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}

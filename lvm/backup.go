package lvm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Saved is what a copy of a VG's metadata says of itself.
type Saved struct {
	VG, UUID string
	// Seqno is the VG's at that moment: see VGReport.
	Seqno int64
	At    time.Time
	// PVs are the UUIDs of its drives.
	PVs []string
}

// Backup writes the metadata of vg, as text from which vgcfgrestore(8) makes
// the VG anew, to a file in a directory that exists, and reads back what it
// says of itself. LVM replaces the file all or nothing. It only reads the VG: it
// waits for a change that is running, and may be cut short. One command.
//
// A VG that lacks a drive is ErrMissingDevice: its copy would call the drive lost.
func (l *LVM) Backup(ctx context.Context, vg VG, file string) (Saved, error) {
	saved, err := l.backup(ctx, vg, file)
	if err != nil {
		return Saved{}, fmt.Errorf("back up the metadata of VG %s to %s: %w", vg.Name, file, err)
	}
	return saved, nil
}

func (l *LVM) backup(ctx context.Context, vg VG, file string) (Saved, error) {
	if err := ValidVG(vg.Name); err != nil {
		return Saved{}, err
	}
	if err := checkDevices(vg.Devices); err != nil {
		return Saved{}, err
	}
	if !filepath.IsAbs(file) {
		return Saved{}, fmt.Errorf("%w: %q is not an absolute path", ErrInvalid, file)
	}
	for _, device := range vg.Devices {
		if err := l.kernel.Present(device); err != nil {
			return Saved{}, fmt.Errorf("%w: %w", ErrMissingDevice, err)
		}
	}
	if _, err := l.command(ctx, false, vg.Devices, "vgcfgbackup", "-f", file, vg.Name); err != nil {
		return Saved{}, err
	}
	saved, err := ReadBackup(file)
	if err == nil && (saved.VG != vg.Name || vg.UUID != "" && saved.UUID != vg.UUID) {
		err = fmt.Errorf("%w: it is of VG %s %s", ErrNoVG, saved.VG, saved.UUID)
	}
	return saved, err
}

// The lines of a backup that say what it is (lvm2, lib/format_text/export.c).
var (
	backupTime  = regexp.MustCompile(`^creation_time = (\d{1,12})(\s|$)`)
	backupVG    = regexp.MustCompile(`^([A-Za-z0-9+_.-]+) \{$`)
	backupUUID  = regexp.MustCompile(`^\tid = "([A-Za-z0-9-]+)"$`)
	backupPV    = regexp.MustCompile(`^\t\t\tid = "([A-Za-z0-9-]+)"$`)
	backupLVs   = regexp.MustCompile(`^\tlogical_volumes \{$`)
	backupSeqno = regexp.MustCompile(`^\tseqno = (\d{1,18})$`)
)

// ReadBackup reads what a file that Backup has made says of itself. One that is
// cut short is ErrReport.
func ReadBackup(file string) (Saved, error) {
	f, err := os.Open(file)
	if err != nil {
		return Saved{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	s, err := parseBackup(lines)
	if err != nil {
		return Saved{}, fmt.Errorf("read %s: %w", file, err)
	}
	return s, nil
}

func parseBackup(lines *bufio.Scanner) (Saved, error) {
	var s Saved
	var whole, head = false, true
	for lines.Scan() {
		line := lines.Bytes()
		if head = head && !backupLVs.Match(line); head {
			s.take(string(line))
		}
		if len(line) > 0 {
			whole = string(line) == "}" // of thousands of volumes: no line is copied
		}
	}
	if err := lines.Err(); err != nil {
		return Saved{}, err
	}
	if s.VG == "" || s.UUID == "" || s.Seqno == 0 || s.At.IsZero() || !whole {
		return Saved{}, fmt.Errorf("%w: it is no whole copy of a VG's metadata", ErrReport)
	}
	return s, nil
}

// take reads one line of the head.
func (s *Saved) take(line string) {
	if m := backupTime.FindStringSubmatch(line); m != nil && s.At.IsZero() {
		n, _ := strconv.ParseInt(m[1], 10, 64) // digits only, by the expression
		s.At = time.Unix(n, 0).UTC()
	}
	if m := backupVG.FindStringSubmatch(line); m != nil && s.VG == "" {
		s.VG = m[1]
	}
	if m := backupUUID.FindStringSubmatch(line); m != nil && s.UUID == "" {
		s.UUID = m[1]
	}
	if m := backupPV.FindStringSubmatch(line); m != nil {
		s.PVs = append(s.PVs, m[1])
	}
	if m := backupSeqno.FindStringSubmatch(line); m != nil && s.Seqno == 0 {
		s.Seqno, _ = strconv.ParseInt(m[1], 10, 64)
	}
}

// ByHand is a command of LVM as a person types it, shown the VG's drives alone
// as every command of this package is: the host may have a devices file that
// they are not in, or volumes that carry a VG of the same name.
func (v VG) ByHand(verb string, args ...string) string {
	return strings.Join(append([]string{verb, "--devices", strings.Join(v.Devices, ",")}, args...), " ")
}

package lvm

import (
	"bufio"
	"bytes"
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
	if _, err := l.query(ctx, vg.Devices, "vgcfgbackup", "-f", file, vg.Name); err != nil {
		return Saved{}, err
	}
	saved, err := ReadBackup(file)
	if err == nil && (saved.VG != vg.Name || vg.UUID != "" && saved.UUID != vg.UUID) {
		err = fmt.Errorf("%w: it is of VG %s %s", ErrNoVG, saved.VG, saved.UUID)
	}
	return saved, err
}

// The lines of a VG's metadata that say what it is (lvm2,
// lib/format_text/export.c). They are indented in files, and not on drives.
var (
	backupTime  = regexp.MustCompile(`^creation_time = (\d{1,12})(\s|$)`)
	backupVG    = regexp.MustCompile(`^([A-Za-z0-9+_.-]+) \{$`)
	backupUUID  = regexp.MustCompile(`^id = "([A-Za-z0-9-]+)"$`)
	backupSeqno = regexp.MustCompile(`^seqno = (\d{1,18})$`)
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
	var blocks []string // that are open
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes()) // hardly one is copied: there are some for each volume
		if len(blocks) < 2 || blocks[1] == "physical_volumes" {
			s.take(string(line), blocks)
		}
		switch name, opens := bytes.CutSuffix(line, []byte(" {")); {
		case opens:
			blocks = append(blocks, string(name))
		case string(line) == "}" && len(blocks) > 0:
			blocks = blocks[:len(blocks)-1]
		}
	}
	if err := lines.Err(); err != nil {
		return Saved{}, err
	}
	if s.VG == "" || s.UUID == "" || s.Seqno == 0 || s.At.IsZero() || len(blocks) > 0 {
		return Saved{}, fmt.Errorf("%w: it is no whole copy of a VG's metadata", ErrReport)
	}
	return s, nil
}

// take reads one line in these blocks.
func (s *Saved) take(line string, blocks []string) {
	number := func(of *regexp.Regexp) int64 {
		m := of.FindStringSubmatch(line)
		if m == nil {
			return 0
		}
		n, _ := strconv.ParseInt(m[1], 10, 64) // digits only, by the expression
		return n
	}
	uuid := backupUUID.FindStringSubmatch(line)
	switch {
	case len(blocks) == 0:
		if n := number(backupTime); n > 0 && s.At.IsZero() {
			s.At = time.Unix(n, 0).UTC()
		}
		if m := backupVG.FindStringSubmatch(line); m != nil && s.VG == "" {
			s.VG = m[1]
		}
	case len(blocks) == 1 && blocks[0] == s.VG:
		if uuid != nil && s.UUID == "" {
			s.UUID = uuid[1]
		}
		if n := number(backupSeqno); n > 0 && s.Seqno == 0 {
			s.Seqno = n
		}
	case len(blocks) == 3 && blocks[1] == "physical_volumes" && uuid != nil:
		s.PVs = append(s.PVs, uuid[1])
	}
}

// ByHand is a command of LVM as a person types it, shown the VG's drives alone
// as every command of this package is: the host may have a devices file that
// they are not in, or volumes that carry a VG of the same name.
func (v VG) ByHand(verb string, args ...string) string {
	return strings.Join(append([]string{verb, "--devices", strings.Join(v.Devices, ",")}, args...), " ")
}

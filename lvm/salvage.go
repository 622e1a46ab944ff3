package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// LVM writes a VG's metadata as a text into a ring, and then a header that says
// where the text is. It does not have the drive flush between the two: one with
// a volatile cache may keep the header and lose the text when the power fails.
// Then LVM finds no VG on the drive. The texts of earlier changes are still in
// the ring, and the newest of them is what the VG was before the change that was
// cut off, which nobody was told of: see change.

// ErrNotTorn: what keeps LVM from reading a drive's metadata is something else.
var ErrNotTorn = errors.New("its metadata were not cut off in a change")

// Salvage makes a VG on one drive readable again whose last change was cut off
// by a power cut. It first writes the newest whole text to a file, whose directory
// exists, and reads back what that says of itself. Any other sickness than this
// one is ErrNotTorn, and nothing is changed. Four programs.
//
// The repair may overwrite the text that it is made of. So the file is on the
// host's disk before it begins; a power cut in its middle that leaves no whole text
// on the drive is mended from the file, by hand.
func (l *LVM) Salvage(ctx context.Context, vg VG, file string) (Saved, error) {
	saved, err := l.salvage(ctx, vg, file)
	if err != nil {
		return Saved{}, fmt.Errorf("salvage the metadata of VG %s from %s: %w", vg.Name, strings.Join(vg.Devices, " "), err)
	}
	return saved, nil
}

func (l *LVM) salvage(ctx context.Context, vg VG, file string) (Saved, error) {
	if err := errors.Join(ValidVG(vg.Name), checkDevices(vg.Devices)); err != nil {
		return Saved{}, err
	}
	if len(vg.Devices) != 1 || vg.UUID == "" || !filepath.IsAbs(file) {
		return Saved{}, fmt.Errorf("%w: one drive, a UUID and an absolute path are needed", ErrInvalid)
	}
	drive := vg.Devices[0]
	headers, err := l.pvck(ctx, false, "--dump", "headers", drive)
	if err != nil {
		return Saved{}, err
	}
	if !torn(headers) {
		return Saved{}, ErrNotTorn
	}
	texts, err := l.pvck(ctx, false, "--dump", "metadata_search", drive)
	if err != nil {
		return Saved{}, err
	}
	at, err := newestText(texts, vg)
	if err != nil {
		return Saved{}, err
	}
	if _, err := l.pvck(ctx, false, "--dump", "metadata_search", "--settings", fmt.Sprintf("metadata_offset=%d", at), "-f", file, drive); err != nil {
		return Saved{}, err
	}
	saved, err := ReadBackup(file)
	if err == nil && (saved.VG != vg.Name || saved.UUID != vg.UUID || len(saved.PVs) != 1) {
		err = fmt.Errorf("%w: it is of VG %s %s with %d drives", ErrNoVG, saved.VG, saved.UUID, len(saved.PVs))
	}
	if err == nil {
		err = syncFile(file)
	}
	if err != nil {
		return Saved{}, err
	}
	if _, err := l.pvck(ctx, true, "--yes", "--repair", "-f", file, drive); err != nil {
		return Saved{}, err
	}
	return saved, l.Flush(ctx, vg.Devices)
}

// syncFile has a file and its name outlive a power cut.
func syncFile(file string) error {
	for _, path := range []string{file, filepath.Dir(file)} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// pvckSettings are settings without a devices file: pvck takes its drive as an
// argument, opens no other, and does not know --devices (lvm2 2.03.31).
const pvckSettings = settings + ` devices{use_devicesfile=0}`

// pvck runs one pvck(8). That it finds something wrong is no error.
func (l *LVM) pvck(ctx context.Context, changes bool, args ...string) (string, error) {
	drive := args[len(args)-1]
	if err := l.kernel.Present(drive); err != nil {
		return "", fmt.Errorf("%w: %w", ErrMissingDevice, err)
	}
	out, err := l.invoke(ctx, changes, []string{drive}, append([]string{"pvck", "--config", pvckSettings}, args...), args)
	if !changes && inItsOwnWords(err) && len(out) > 0 {
		err = nil
	}
	return string(out), err
}

// What pvck says of a header whose text is not what it was.
var (
	tornCheck  = regexp.MustCompile(`CHECK: metadata text at \d+ crc does not match mda_header_1\.raw_locn\[0\]\.checksum`)
	parseCheck = regexp.MustCompile(`CHECK: failed to parse metadata text at \d+ `)
)

// torn says that the text of the last change is wrong and nothing else is.
func torn(headers string) bool {
	found := false
	for line := range strings.Lines(headers) {
		switch {
		case !strings.Contains(line, "CHECK: "):
		case tornCheck.MatchString(line):
			found = true
		case !parseCheck.MatchString(line):
			return false
		}
	}
	return found
}

var foundText = regexp.MustCompile(`(?m)^\s*metadata at (\d{1,18}) length \d+ crc [0-9a-f]+ vg (\S+) seqno (\d{1,18}) id (\S+)\s*$`)

// newestText is where on the drive the newest whole text of the VG begins.
func newestText(texts string, vg VG) (at int64, err error) {
	newest := int64(0)
	for _, m := range foundText.FindAllStringSubmatch(texts, -1) {
		offset, _ := strconv.ParseInt(m[1], 10, 64) // digits only, by the expression
		seqno, _ := strconv.ParseInt(m[3], 10, 64)
		if m[2] == vg.Name && m[4] == vg.UUID && seqno > newest {
			at, newest = offset, seqno
		}
	}
	if newest == 0 {
		return 0, fmt.Errorf("%w: there is no whole text of it", ErrNoVG)
	}
	return at, nil
}

package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/lvm"
)

// salvage makes VGs readable again of which a power cut has cut off the last
// change, and looks again if it did. It is for VGs that nobody serves yet: what
// this process knows of a VG may be newer. The host's lock is held.
func (s *Store) salvage(ctx context.Context, rec *hostrecord.Record, seen sight) (sight, error) {
	again := false
	for _, vg := range rec.VGs {
		d, lost := seen.lostOn(vg)
		if !lost || s.serves(vg.ID) {
			continue
		}
		seqno, err := s.salvageVG(ctx, vg, d.Path)
		switch {
		case errors.Is(err, lvm.ErrNotTorn): // whatever it is, somebody has to look at it
		case err != nil:
			klog.FromContext(ctx).Error(err, "a VG whose last change was cut off stays away", "vg", VGName(vg.ID), "drive", d.Path)
		default:
			again = true
			klog.FromContext(ctx).Info("the last change of a VG was cut off by a power cut and never answered; it is what it was before",
				"vg", VGName(vg.ID), "drive", d.Path, "seqno", seqno)
		}
	}
	if !again {
		return seen, nil
	}
	return s.look(ctx)
}

// serves says whether this process has looked into the VG.
func (s *Store) serves(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, known := s.pools[id]
	return known && !p.away
}

// salvageVG salvages one VG. The text that it was made of is kept as a copy.
func (s *Store) salvageVG(ctx context.Context, vg hostrecord.VG, device string) (seqno int64, err error) {
	dir := filepath.Join(s.Dir, backupDir, VGName(vg.ID))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("salvage VG %s: %w", VGName(vg.ID), err)
	}
	made := filepath.Join(dir, ".salvaged")
	saved, err := s.LVM.Salvage(ctx, lvm.VG{Name: VGName(vg.ID), UUID: vg.UUID, Devices: []string{device}}, made)
	if err != nil {
		return 0, err
	}
	return saved.Seqno, putInPlace(made, filepath.Join(dir, newBackup(saved.At, saved.Seqno).name))
}

// lostOn says on which drive a recorded VG of one drive should be, when that is
// here and can be read, and LVM sees no VG on it.
func (v sight) lostOn(vg hostrecord.VG) (drive.Drive, bool) {
	if len(vg.Drives) != 1 || slices.ContainsFunc(v.report.VGs, func(r lvm.VGReport) bool { return r.Name == VGName(vg.ID) }) {
		return drive.Drive{}, false
	}
	i := slices.IndexFunc(v.drives, func(d drive.Drive) bool {
		return vg.Drives[0].ID != "" && d.Is(vg.Drives[0].ID) && shown(d) && d.Content.Probed
	})
	if i < 0 || !slices.ContainsFunc(v.report.Orphans, func(pv lvm.PV) bool { return pv.Device == v.drives[i].Path }) {
		return drive.Drive{}, false
	}
	return v.drives[i], true
}

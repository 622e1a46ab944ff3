package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The fields asked for in each section of a full report. The sections are
// joined by the UUIDs of PVs and LVs.
const (
	vgFields    = "vg_name,vg_uuid,vg_tags,vg_size,vg_free,vg_extent_size,vg_mda_size,vg_mda_free,vg_seqno,vg_missing_pv_count"
	pvFields    = "pv_name,pv_uuid,vg_name,pv_size,pv_free,dev_size,pe_start,pv_missing"
	pvsegFields = "pv_uuid,pvseg_start,pvseg_size,lv_name"
	lvFields    = "lv_name,lv_uuid,lv_time,lv_size,lv_role,lv_tags,pool_lv,origin,lv_active,lv_permissions,lv_skip_activation," +
		"data_percent,metadata_percent,lv_when_full,lv_metadata_size,lv_health_status,sync_percent"
	segFields = "lv_uuid,seg_start,segtype,stripes,stripe_size,chunk_size,zero,thin_id,transaction_id"
)

// Scan reports what is on the given devices; a device without a PV label is
// left out. One command.
func (l *LVM) Scan(ctx context.Context, devices []string) (Report, error) {
	report, err := l.scan(ctx, devices)
	if err != nil {
		return Report{}, fmt.Errorf("scan %s: %w", strings.Join(devices, " "), err)
	}
	return report, nil
}

// scan reports the devices, or of them the named VG alone: LVM locks no more
// than that VG then, and a report that hangs holds up nobody else.
func (l *LVM) scan(ctx context.Context, devices []string, vg ...string) (Report, error) {
	if err := checkDevices(devices); err != nil {
		return Report{}, err
	}
	// "json" and not "json_std": every version has it, and where the two
	// differ both shapes are understood.
	args := []string{"--reportformat", "json", "-a",
		"--configreport", "vg", "-o", vgFields, "--configreport", "pv", "-o", pvFields, "--configreport", "lv", "-o", lvFields,
		"--configreport", "pvseg", "-o", pvsegFields, "--configreport", "seg", "-o", segFields}
	out, err := l.query(ctx, devices, "fullreport", append(args, vg...)...)
	if err != nil {
		return Report{}, err
	}
	return parseReport(out)
}

// Report reports vg. It fails with ErrNoVG when its devices hold no VG of its
// name and UUID, and with ErrMissingDevice when they cannot be looked at. A VG
// without a UUID is found by its name. One command.
//
// A drive of the VG that is missing is no error: the report says so.
func (l *LVM) Report(ctx context.Context, vg VG) (VGReport, error) {
	if err := ValidVG(vg.Name); err != nil {
		return VGReport{}, fmt.Errorf("report of VG: %w", err)
	}
	report, err := l.scan(ctx, vg.Devices, vg.Name)
	if errors.Is(err, ErrDuplicate) { // the name alone does not tell them apart
		report, err = l.scan(ctx, vg.Devices)
	}
	if err != nil && !errors.Is(err, ErrNoVG) && !errors.Is(err, ErrMissingDevice) {
		return VGReport{}, fmt.Errorf("report of VG %s: %w", vg.Name, err)
	}
	i := slices.IndexFunc(report.VGs, func(r VGReport) bool {
		return r.Name == vg.Name && (vg.UUID == "" || r.UUID == vg.UUID)
	})
	if i >= 0 {
		return report.VGs[i], nil
	}
	for _, device := range vg.Devices {
		if err := l.kernel.Present(device); err != nil {
			return VGReport{}, fmt.Errorf("report of VG %s: %w: %w", vg.Name, ErrMissingDevice, err)
		}
	}
	return VGReport{}, fmt.Errorf("report of VG %s %s on %s: %w", vg.Name, vg.UUID, strings.Join(vg.Devices, " "), ErrNoVG)
}

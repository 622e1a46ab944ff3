package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func someVerdicts() []drive.Verdict {
	samsung := drive.Drive{
		Name: "nvme0n1", Path: "/dev/nvme0n1", ID: "eui.36344830526001490025384500000001", Model: "SAMSUNG MZQL21T9HCJR-00A07  ", Serial: "S64HNE0R600149 ",
		Firmware: "GDC5602Q", Bytes: 1920383410176, LogicalBlock: 4096, PhysicalBlock: 4096, NUMANode: 0, Transport: "pcie", Address: "0000:41:00.0", State: "live",
		Health: drive.Health{Status: drive.HealthGood, SMART: &drive.SMART{PercentageUsed: 3}},
	}
	worn := samsung
	worn.Name, worn.Path, worn.ID, worn.Serial, worn.NUMANode = "nvme1n1", "/dev/nvme1n1", "eui.36344830526001490025384500000002", "S64HNE0R600150", 1
	worn.Health = drive.Health{Status: drive.HealthWarning, Reasons: []string{"104 % of its rated life is used"}, SMART: &drive.SMART{PercentageUsed: 104}}
	system := drive.Drive{
		Name: "nvme2n1", Path: "/dev/nvme2n1", ID: "nvme.8086", Model: "INTEL\x1b[31m SSD", Serial: "", Bytes: 480103981056, LogicalBlock: 512, NUMANode: -1,
		Transport: "pcie", State: "live", Health: drive.Health{Status: drive.HealthUnknown},
	}
	return []drive.Verdict{
		{Drive: samsung, Status: drive.Ours, Class: "fast", VG: "lvme-abcd1234"},
		{Drive: worn, Status: drive.Free, Class: "fast", Auto: true},
		{Drive: system, Status: drive.Refused, Reasons: []string{"it has the signature gpt: look", "/dev/nvme2n1p2 is mounted on /: unmount it first"}},
	}
}

func somePools() []volume.Pool {
	return []volume.Pool{
		{
			VG: "lvme-abcd1234", ID: "abcd1234", Class: "fast", Layout: "per-drive", Bytes: 1920 << 30, ThinBytes: 1700 << 30, ThinUsed: 425 << 30,
			ThinCommitted: 2550 << 30, MetadataBytes: 1 << 30, MetadataUsed: 5 << 20, ThickBytes: 100 << 30, ThickUsed: 10 << 30, Wiping: 4 << 30,
			Reserve: 144 << 30, Lent: 48 << 30,
			Drives:  []volume.PoolDrive{{ID: "eui.36344830526001490025384500000001", Path: "/dev/nvme0n1", Model: "SAMSUNG", Serial: "S64HNE0R600149", Bytes: 1920383410176}},
			Volumes: 12, Snapshots: 3, Strange: []string{"home"},
		},
		{
			VG: "lvme-wxyz9876", ID: "wxyz9876", Class: "fast", Number: 1, Layout: "mirrored", Away: true,
			Drives: []volume.PoolDrive{
				{ID: "eui.3", Model: "SAMSUNG", Serial: "S3", Bytes: 1920383410176}, {ID: "eui.4", Model: "SAMSUNG", Serial: "S4", Bytes: 1920383410176},
			},
			Problem: "drive is not in this node: SAMSUNG S3, SAMSUNG S4",
		},
		{
			VG: "lvme-mnop5555", ID: "mnop5555", Class: "fast", Number: 2, Layout: "per-drive", Bytes: 1920 << 30, ThinBytes: 1700 << 30, ThinUsed: 1445 << 30,
			ThinCommitted: 2550 << 30, MetadataBytes: 1 << 30, MetadataUsed: 90 << 20, Reserve: 192 << 30,
			Drives:  []volume.PoolDrive{{ID: "eui.5", Path: "/dev/nvme4n1", Model: "SAMSUNG", Serial: "S5", Bytes: 1920383410176}},
			Volumes: 40, Warning: "thin pool is 85 % full",
		},
	}
}

func key(lv string) volume.Key { return volume.Key{Store: "store001", VG: "abcd1234", LV: lv} }

func someVolumes() []volume.Volume {
	return []volume.Volume{
		{
			Key: key("v-pvc-1"), Name: "pvc-1", Class: "fast", Type: volume.Thin, Mode: volume.Filesystem, State: volume.Formatted, FSType: "xfs", Profile: "kafka",
			MkfsOptions: []string{"-i", "maxpct=5"}, Bytes: 100 << 30, Created: noon.Add(-36 * time.Hour), Active: true,
		},
		{
			Key: key("v-pvc-2"), Name: "pvc-2", Class: "fast", Type: volume.Thick, Mode: volume.Block, State: volume.Raw, Profile: "general",
			Bytes: 1536 << 20, Source: key("s-snap-1"), Created: noon.Add(-90 * time.Second),
		},
	}
}

func someSnapshots() []volume.Snapshot {
	return []volume.Snapshot{{
		Key: key("s-snap-1"), Name: "snap-1", Source: key("v-pvc-1"), Class: "fast", Mode: volume.Filesystem, State: volume.Formatted, FSType: "xfs", Profile: "kafka",
		Bytes: 100 << 30, Reserved: 42 << 30, Created: noon.Add(-5 * time.Hour),
	}}
}

func TestRendering(t *testing.T) {
	drives := viewDrives("store001", someVerdicts(), somePools())
	pools := viewPools("store001", somePools())
	volumes := viewVolumes("store001", someVolumes(), noon)
	snapshots := viewSnapshots("store001", someSnapshots(), noon)
	none := viewDrives("", nil, nil)
	for name, render := range map[string]func(*bytes.Buffer, output) error{
		"drives":  func(b *bytes.Buffer, o output) error { return write(b, o, drives, drives.rows(), driveColumns) },
		"pools":   func(b *bytes.Buffer, o output) error { return write(b, o, pools, pools.Pools, poolColumns) },
		"volumes": func(b *bytes.Buffer, o output) error { return write(b, o, volumes, volumes.Volumes, volumeColumns) },
		"snapshots": func(b *bytes.Buffer, o output) error {
			return write(b, o, snapshots, snapshots.Snapshots, snapshotColumns)
		},
		"none": func(b *bytes.Buffer, o output) error { return write(b, o, none, none.rows(), driveColumns) },
	} {
		for _, form := range forms {
			t.Run(name+" as "+form, func(t *testing.T) {
				var b bytes.Buffer
				if err := render(&b, output{form}); err != nil {
					t.Fatal(err)
				}
				golden(t, name+"."+form, b.String())
			})
		}
	}
}

func TestNotices(t *testing.T) {
	var b bytes.Buffer
	log := newNotices(&b).WithValues("vg", "lvme-abcd1234").WithName("store")
	log.Info("pool found")
	log.Error(nil, "a drive\nis slow", "drive", "nvme0n1")
	log.Error(errFailed, "some pools are not ready")
	want := "warning: a drive is slow (vg lvme-abcd1234, drive nvme0n1)\nwarning: some pools are not ready: it broke (vg lvme-abcd1234)\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/volume"
)

// Doctor looks at this host, at its store and at what lies around both, and
// says what is wrong. It changes nothing. kubeletDir is the directory below which
// mounts are looked at, "" for all. What it cannot look at is a finding; an error
// says that nothing could be looked at.
func Doctor(ctx context.Context, h Host, dir string, cfg drive.Config, kubeletDir string) ([]volume.Finding, error) {
	d := &doctor{host: h, dir: dir, kubeletDir: kubeletDir}
	d.programs(ctx, cfg)
	if err := CheckHost(ctx, h, cfg); err != nil && !errors.Is(err, run.ErrNotInstalled) { // told of above
		d.add(volume.SeverityError, volume.CheckProgram, "host", "", "%v", err)
	}
	_, err := lvm.New(h.Runner, h.Kernel).Version(ctx)
	if err == nil {
		err = d.store(ctx, cfg)
	} else if errors.Is(err, lvm.ErrNotInstalled) {
		err = nil // without it there is nothing to look at
	}
	volume.SortFindings(d.found)
	return d.found, err
}

type doctor struct {
	host            Host
	dir, kubeletDir string
	found           []volume.Finding
}

func (d *doctor) add(severity volume.Severity, check volume.Check, on, mend, format string, args ...any) {
	d.found = append(d.found, volume.Finding{Severity: severity, Check: check, On: on, Meaning: fmt.Sprintf(format, args...), Mend: mend})
}

// program is one that the agent, or a repair, starts.
type program struct {
	name, ask string // ask makes it say its version
	pkg       string // as Debian, and Fedora, call it
	lacks     string // what cannot be done without it
	severity  volume.Severity
}

const (
	thinTools = "thin-provisioning-tools (device-mapper-persistent-data on Fedora and Red Hat)"
	ext4Tools = "e2fsprogs"
	noExt4    = "volumes with ext4 are not made, checked or expanded"
	noXFS     = "volumes with XFS are not made or expanded"
	noBtrfs   = "volumes with btrfs are not made or expanded"
)

var programs = []program{
	{"lvm", "version", "lvm2", "no volume can be served", volume.SeverityError},
	{"dmsetup", "--version", "dmsetup (device-mapper on Fedora and Red Hat)", "thins that LVM does not know are not found", volume.SeverityWarning},
	{"thin_check", "-V", thinTools, "no thin pool becomes active", volume.SeverityError},
	{"thin_ls", "-V", thinTools, "thins that LVM does not know are not found", volume.SeverityWarning},
	{"thin_repair", "-V", thinTools, "damaged pools cannot be repaired", volume.SeverityWarning},
	{"blkid", "-V", "util-linux", "nobody can tell whether a drive is blank", volume.SeverityError},
	{"mount", "-V", "mount (util-linux on Fedora and SUSE)", "no filesystem is mounted", volume.SeverityError},
	{"mkfs.ext4", "-V", ext4Tools, noExt4, volume.SeverityWarning},
	{"e2fsck", "-V", ext4Tools, noExt4, volume.SeverityWarning},
	{"resize2fs", "--version", ext4Tools, noExt4, volume.SeverityWarning},
	{"mkfs.xfs", "-V", "xfsprogs", noXFS, volume.SeverityWarning},
	{"xfs_growfs", "-V", "xfsprogs", noXFS, volume.SeverityWarning},
	{"mkfs.btrfs", "-V", "btrfs-progs", noBtrfs, volume.SeverityWarning},
}

// programs are those that the host lacks.
func (d *doctor) programs(ctx context.Context, cfg drive.Config) {
	thin := slices.ContainsFunc(cfg.Classes, func(c drive.Class) bool { return c.Thin.Share > 0 })
	for _, p := range programs {
		if p.pkg == thinTools && !thin {
			continue
		}
		// What it answers does not matter, only that it is there.
		_, err := d.host.Runner.Run(ctx, run.Cmd{Name: p.name, Args: []string{p.ask}})
		if errors.Is(err, run.ErrNotInstalled) {
			d.add(p.severity, volume.CheckProgram, p.name, "", "it is not installed: %s. Install the package %s", p.lacks, p.pkg)
		}
	}
}

// store looks at the store of this host.
func (d *doctor) store(ctx context.Context, cfg drive.Config) error {
	o := d.host.StoreOptions(d.dir, cfg)
	o.ReadOnly = true
	s, err := volume.Open(ctx, o)
	if errors.Is(err, volume.ErrAdopt) {
		d.add(volume.SeverityError, volume.CheckAdopt, "host", "", "no volume is served: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	d.record(s)
	found, err := s.Diagnose(ctx)
	d.found = append(d.found, found...)
	d.mounts(ctx, s)
	return err
}

// record: this host is the node of the store, and an agent serves it.
func (d *doctor) record(s *volume.Store) {
	_, err := hostrecord.Load(d.dir, d.host.Machine)
	switch {
	case errors.Is(err, hostrecord.ErrNone), errors.Is(err, hostrecord.ErrOtherMachine):
		if s.Key() != "" {
			d.add(volume.SeverityError, volume.CheckAdopt, "host", "lvme adopt",
				"its drives carry store %s, which is not this host's: no volume is served until it is made so. Make sure first that no other host serves it", s.Key())
		}
		return
	case err != nil:
		d.add(volume.SeverityError, volume.CheckLook, d.dir, "", "the host record cannot be read: %v", err)
	}
	if running, err := agentRuns(d.dir); err == nil && !running {
		d.add(volume.SeverityWarning, volume.CheckAgent, "host", "", "no agent runs on this host: volumes are not made, mounted or wiped, and what it would mend stays as it is")
	}
}

// agentRuns says whether an agent holds its lock. It takes no lock itself: an
// agent that starts at this moment would find it taken.
func agentRuns(dir string) (bool, error) {
	var stat unix.Stat_t
	err := unix.Stat(filepath.Join(dir, lockName), &stat)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(locks)) {
		if strings.Contains(line, "FLOCK") && strings.Contains(line, fmt.Sprintf(":%d ", stat.Ino)) {
			return true, nil
		}
	}
	return false, nil
}

// mounts compares what is mounted with the volumes that are there.
func (d *doctor) mounts(ctx context.Context, s *volume.Store) {
	table, err := d.host.Mounts.Table()
	if err != nil {
		d.add(volume.SeverityWarning, volume.CheckLook, "mounts", "", "they could not be looked at: %v", err)
		return
	}
	volumes, err := s.Volumes(ctx)
	if err != nil {
		d.add(volume.SeverityWarning, volume.CheckLook, "mounts", "", "the volumes below them could not be looked at: %v", err)
		return
	}
	devices, err := d.devices(ctx)
	if err != nil {
		d.add(volume.SeverityWarning, volume.CheckLook, "device-mapper", "", "it could not be looked at: %v", err)
		return
	}
	known := map[string]bool{}
	for _, v := range volumes {
		known[s.DevicePath(v.Key)] = true
	}
	for _, p := range table {
		if why := leftover(p, devices, known); why != "" && (d.kubeletDir == "" || strings.HasPrefix(p.Path, d.kubeletDir+"/")) {
			d.add(volume.SeverityError, volume.CheckMount, p.Path, "umount "+p.Path, "%s", why)
		}
	}
	d.unused(ctx, s, volumes, table)
}

// devices are the numbers of all device-mapper devices by their paths.
func (d *doctor) devices(ctx context.Context) (map[string]mount.Number, error) {
	names, err := d.host.Kernel.Names(ctx)
	if err != nil {
		return nil, err
	}
	numbers := map[string]mount.Number{}
	for _, name := range names {
		if dev, err := d.host.Mounts.Device(dm.Path(name)); err == nil {
			numbers[dev.Path] = dev.Number
		}
	}
	return numbers, nil
}

// ours begins the paths of lvme's devices.
var ours = dm.Path(dm.DeviceName("lvme-", ""))

// leftover says what is wrong with a mount, "" for nothing or for one that is
// not lvme's.
func leftover(p mount.Point, devices map[string]mount.Number, known map[string]bool) string {
	path := p.Source
	if p.FSType == "devtmpfs" && strings.Contains(p.Root, "dm-") { // the node of a raw block volume
		if path = pathOf(p.Device, devices); path == "" || strings.HasSuffix(p.Root, "//deleted") {
			return "the device behind this node is gone: whoever opens it gets nothing, or the next device of that number"
		}
	}
	if !strings.HasPrefix(path, strings.TrimSuffix(ours, "-")) {
		return ""
	}
	number, there := devices[path]
	switch {
	case !there:
		return "the device of this mount is gone: its volume was deactivated or its drive pulled while it was mounted"
	case number != p.Device:
		return "the device of this mount is gone, and another has its name now: what is written here does not reach the volume"
	case !known[path]:
		return "the volume of this mount is not there: it was deleted, or its drive is away"
	}
	return ""
}

func pathOf(n mount.Number, devices map[string]mount.Number) string {
	for path, number := range devices {
		if number == n {
			return path
		}
	}
	return ""
}

// unused are volumes that are active and that nobody has mounted or open.
func (d *doctor) unused(ctx context.Context, s *volume.Store, volumes []volume.Volume, table mount.Table) {
	for _, v := range volumes {
		if !v.Active {
			continue
		}
		vg := volume.VGName(v.Key.VG)
		info, err := d.host.Kernel.Info(ctx, dm.DeviceName(vg, v.Key.LV))
		dev, devErr := d.host.Mounts.Device(s.DevicePath(v.Key))
		if err != nil || devErr != nil || info.Opened > 0 || len(table.Of(dev.Number)) > 0 {
			continue
		}
		on := vg + "/" + v.Key.LV
		d.add(volume.SeverityInfo, volume.CheckVolumeUnused, on, s.ByHand(v.Key.VG, "lvchange", "-an", on),
			"it is active and nobody has it mounted or open, as when its unstaging was cut short; the kubelet's next call sets that right")
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/test/torture/model"
)

const mib = int64(1) << 20

// drives are the node's NVMe drives.
func drives() ([]string, error) { return filepath.Glob("/dev/nvme*n1") }

func look(ctx context.Context) (s model.Sight, err error) {
	kernel := dm.Open()
	l := lvm.New(run.Host{}, kernel)
	all, err := drives()
	if err != nil {
		return s, err
	}
	report, err := l.Scan(ctx, all)
	if err != nil {
		return s, err
	}
	s = model.Sight{VGs: report.VGs, Pools: map[string]lvm.PoolStatus{}, Foreign: map[string]string{}}
	for _, vg := range s.VGs {
		if status, err := l.PoolStatus(ctx, vg.Name, "pool"); err == nil {
			s.Pools[vg.Name] = status
		}
		for _, lv := range vg.LVs {
			if !lv.Hidden && (vg.Name == "theirs" || lv.Name == "v-theirs") {
				sum, err := rawSum(vg, lv.Name)
				if err != nil {
					return s, err
				}
				s.Foreign[vg.Name+"/"+lv.Name] = fmt.Sprint(lv.UUID, lv.Size, lv.Tags, lv.Active, sum)
			}
		}
	}
	names, err := kernel.Names(ctx)
	if err != nil {
		return s, err
	}
	for _, name := range names {
		info, err := kernel.Info(ctx, name)
		if errors.Is(err, dm.ErrNotFound) {
			continue
		}
		if err != nil {
			return s, err
		}
		s.Devices = append(s.Devices, info)
	}
	table, err := mount.New(run.Host{}, agent.DefaultKubeletDir).Table()
	for _, p := range table {
		if strings.HasPrefix(p.Path, agent.DefaultKubeletDir+"/") {
			s.Mounts = append(s.Mounts, p)
		}
	}
	return s, err
}

// rawSum reads the extents of a linear LV from its drive.
func rawSum(vg lvm.VGReport, lv string) (string, error) {
	h := sha256.New()
	for _, pv := range vg.PVs {
		f, err := os.OpenFile(pv.Device, os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		for _, seg := range pv.Segments {
			if seg.LV != lv {
				continue
			}
			from := pv.PEStart + seg.Start*vg.ExtentSize
			if _, err := io.Copy(h, io.NewSectionReader(alignedFile{f}, from, seg.Count*vg.ExtentSize)); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// alignedFile reads past all caches into memory that a device can write to.
type alignedFile struct{ *os.File }

// ReadAt implements io.ReaderAt.
func (f alignedFile) ReadAt(p []byte, at int64) (int, error) {
	const page = 4096
	b := make([]byte, (len(p)+page-1)/page*page+page)
	b = b[page-int(uintptr(unsafe.Pointer(&b[0]))%page):][:(len(p)+page-1)/page*page]
	n, err := f.File.ReadAt(b, at)
	return copy(p, b[:n]), err
}

// makeForeign makes a volume with content in each of our VGs, and in a VG on
// the drive that is not ours.
func makeForeign(ctx context.Context) error {
	l := lvm.New(run.Host{}, dm.Open())
	var vgs []lvm.VGReport
	for {
		s, err := look(ctx)
		if err != nil {
			return err
		}
		if vgs = s.VGs; !wiping(vgs) {
			break
		}
		time.Sleep(100 * time.Millisecond) // the wiper tells nobody
	}
	for _, vg := range vgs {
		if err := putForeign(ctx, l, vg.VG(), "v-theirs"); err != nil {
			return err
		}
	}
	free, err := unused(vgs)
	if err != nil {
		return err
	}
	if err := l.CreateVG(ctx, lvm.VGSpec{Name: "theirs", Devices: []string{free}}); err != nil {
		return err
	}
	return putForeign(ctx, l, lvm.VG{Name: "theirs", Devices: []string{free}}, "v-pvc-1")
}

func wiping(vgs []lvm.VGReport) bool {
	for _, vg := range vgs {
		for _, lv := range vg.LVs {
			if strings.HasPrefix(lv.Name, "w-") {
				return true
			}
		}
	}
	return false
}

// unused is a drive that is no PV.
func unused(vgs []lvm.VGReport) (string, error) {
	all, err := drives()
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, vg := range vgs {
		for _, pv := range vg.PVs {
			taken[pv.Device] = true
		}
	}
	for _, d := range all {
		if !taken[d] {
			return d, nil
		}
	}
	return "", errors.New("no drive is left for what is foreign")
}

func putForeign(ctx context.Context, l *lvm.LVM, vg lvm.VG, lv string) error {
	spec := lvm.ThickSpec{Name: lv, Size: 4 * mib, Tags: []string{"theirs"}}
	if err := errors.Join(l.CreateThick(ctx, vg, spec), l.Activate(ctx, vg, lv)); err != nil {
		return err
	}
	f, err := os.OpenFile(lvm.DevicePath(vg.Name, lv), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Repeat([]byte("NOT LVME'S BYTES"), int(4*mib/16)))
	return errors.Join(err, f.Sync(), f.Close(), l.Deactivate(ctx, vg, lv))
}

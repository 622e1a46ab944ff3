package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

const mirroredConfig = `classes:
  - name: safe
    layout: mirrored
    thin: {share: 50}
    thick: {share: 20}
    reserve: 5
`

// mirrored is a bench with a mirrored pool of two drives and volumes that were
// in use: one thin, one thick.
func mirrored(t *testing.T) (b *bench, vg string) {
	b = newBench(t, 2)
	b.files[defaultConfig] = mirroredConfig
	b.node(exitOK, "init", "--yes")
	cfg, err := drive.ParseConfig([]byte(mirroredConfig))
	if err != nil {
		t.Fatal(err)
	}
	o := b.host.Agent().StoreOptions(b.state, cfg)
	o.Background = true // wipes the thick share
	s, err := volume.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for end := time.After(time.Minute); s.Pools(t.Context())[0].Wiping > 0; {
		select {
		case <-end:
			t.Fatal("the thick share is not wiped within a minute")
		case <-time.After(time.Millisecond):
		}
	}
	for _, kind := range []volume.Type{volume.Thin, volume.Thick} {
		v, err := s.Create(t.Context(), volume.CreateSpec{Name: string(kind), Type: kind, Mode: volume.Block, Size: volume.Range{Required: 64 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Activate(t.Context(), v.Key); err != nil {
			t.Fatal(err)
		}
		if err := s.Deactivate(t.Context(), v.Key); err != nil {
			t.Fatal(err)
		}
	}
	return b, s.Pools(t.Context())[0].VG
}

func TestRepairReplacesALostDrive(t *testing.T) {
	b, vg := mirrored(t)
	out, _ := b.node(exitOK, "pools", "repair", vg)
	has(t, out, "Nothing to do")
	b.host.Unplug("/dev/nvme0n1")
	_, stderr := b.node(exitFailed, "pools", "repair", vg)
	has(t, stderr, "name a free drive")
	_, stderr = b.node(exitFailed, "pools", "repair", vg, "--with", "nvme1n1")
	has(t, stderr, "nvme1n1 is not free")
	d := b.host.Plug()

	out, _ = b.node(exitOK, "pools", "repair", vg, "--with", d.Serial, "--dry-run")
	has(t, out, "make /dev/nvme2n1", "mirror pool_tdata", "mirror pool_tmeta", "mirror v-thick", "give up QEMU NVMe Ctrl LVME0000 for good", "Dry run")
	before := b.host.LVM.String()
	_, stderr = b.node(exitFailed, "pools", "repair", vg, "--with", d.Serial)
	has(t, stderr, "--yes", "nothing was changed")
	b.answer = "n\n"
	_, stderr = b.node(exitFailed, "pools", "repair", vg, "--with", d.Serial)
	has(t, stderr, "not confirmed")
	if after := b.host.LVM.String(); after != before {
		t.Errorf("changed without consent:\n%s\nwas\n%s", after, before)
	}

	b.answer = "y\n"
	out, _ = b.node(exitOK, "pools", "repair", vg, "--with", d.Serial)
	has(t, out, "make /dev/nvme2n1 a part of "+vg+" ... done", "Done.")
	b.repaired(vg)
}

// repaired wants the pool to be whole, on the drives that are here.
func (b *bench) repaired(vg string) {
	b.Helper()
	out, _ := b.node(exitOK, "pools", "repair", vg)
	has(b.T, out, "Nothing to do")
	out, _ = b.node(exitOK, "pools", "-o", "wide")
	if !strings.Contains(out, "nvme1n1,nvme2n1") || strings.Contains(out, "missing") || !strings.Contains(out, " ok") {
		b.Errorf("pools:\n%s", out)
	}
	b.host.LVM.Check(b.T)
	if text := b.host.LVM.String(); strings.Contains(text, "clean=yes") {
		b.Errorf("the free extents of the new drive count as wiped:\n%s", text)
	}
}

// TestRepairGoesOnWhereItStopped ends the repair at each of its commands,
// before and after its effect, and repeats it.
func TestRepairGoesOnWhereItStopped(t *testing.T) {
	for n := 1; ; n++ {
		done := false
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("command %d, done %t", n, after), func(t *testing.T) {
				b, vg := mirrored(t)
				b.host.Unplug("/dev/nvme0n1")
				d := b.host.Plug()
				args := []string{"pools", "repair", vg, "--with", d.Name, "--yes", "--state-dir", b.state}
				b.host.LVM.CrashNth(n, after)
				done = newProgram(b.environment()).run(args) == exitOK
				b.host.LVM.NoFaults()
				if !done {
					b.run(exitOK, args...)
				}
				b.repaired(vg)
			})
		}
		if done || t.Failed() {
			if n < 8 {
				t.Errorf("ended after %d commands", n-1)
			}
			return
		}
	}
}

func TestRepairIsForMirrors(t *testing.T) {
	b := newBench(t, 1)
	b.node(exitOK, "init", "--yes")
	var vg string
	b.store(func(s *volume.Store) { vg = s.Pools(t.Context())[0].VG })
	_, stderr := b.node(exitFailed, "pools", "repair", vg)
	has(t, stderr, "not mirrored", "lvme drives forget")
	_, stderr = b.node(exitFailed, "pools", "repair", "lvme-nonesuch")
	has(t, stderr, "not found", "lvme pools")
}

package lvmtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
)

// Lack takes a program off the host.
func (f *Fake) Lack(program string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lacks = append(f.lacks, program)
}

// Autoactivate has a VG activated when the host boots, as LVM's default does.
func (f *Fake) Autoactivate(vgName string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.vgs() {
		if g.name == vgName {
			g.autoactivation = true
		}
	}
}

// Discards changes what a pool does with them.
func (f *Fake) Discards(vg, pool, mode string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).discards = mode
}

// NoZeroing has a pool hand out chunks with what was in them.
func (f *Fake) NoZeroing(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).noZero = true
}

// Break has the kernel tell a mode of a pool, such as "ro", and that its
// metadata must be checked.
func (f *Fake) Break(vg, pool, mode string, needsCheck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.mustLV(vg, pool).kernel
	k.mode, k.needsCheck = mode, needsCheck
}

// Leak switches a VG off, as a power cut does, and leaves its pool with a chunk that
// is used and that no thin has.
func (f *Fake) Leak(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.mustLV(vg, pool)
	p.vg.off()
	p.kernel.leaks = true
	p.kernel.leaked++
}

// LoseThin has the kernel's pool forget a thin that LVM knows.
func (f *Fake) LoseThin(vg, lv string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.mustLV(vg, lv)
	v.pool.kernel.clear(v.thinID)
	delete(v.pool.kernel.thins, v.thinID)
}

// CutShort has LVM be one change of a pool ahead of the kernel, as when a
// command ends between the two.
func (f *Fake) CutShort(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).transaction++
}

// CutBeforeChange has the command that made a thin last end after LVM wrote that down
// and before the kernel's pool made it.
func (f *Fake) CutBeforeChange(vg, lv string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, lv).unmake()
}

// HalveLast does that to the thin that the last command made, if it made one.
func (f *Fake) HalveLast() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.halve()
}

func (f *Fake) halve() {
	if f.last != nil {
		f.last.unmake()
	}
}

func (v *lv) unmake() {
	v.pool.kernel.clear(v.thinID)
	delete(v.pool.kernel.thins, v.thinID)
	v.pool.kernel.transaction--
	v.pool.unmade = v
}

// CutInChange has a command end after the pool made its last change and before it
// counted it: LVM tries that again with each change, and fails.
func (f *Fake) CutInChange(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.mustLV(vg, pool)
	v.kernel.transaction--
	v.uncounted = true
}

// Wipe overwrites the beginning of a drive: LVM knows nothing of it any more.
func (f *Fake) Wipe(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustDrive(path).pv = nil
}

// Tear has a power cut take the end of the last change of a VG on one drive: LVM
// finds none on it any more.
func (f *Fake) Tear(vgName string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.drives {
		if d.pv != nil && d.pv.vg != nil && d.pv.vg.name == vgName {
			d.torn = true
		}
	}
}

// Freeze leaves the device of an LV suspended, as a command that is killed may.
func (f *Fake) Freeze(vg, lv string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == nil {
		f.frozen = map[string]bool{}
	}
	f.frozen[frozenDevice(f.mustLV(vg, lv))] = true
}

// frozenDevice is the device by which everything of an LV goes.
func frozenDevice(v *lv) string {
	if v.segType == "thin-pool" {
		return v.poolDevice()
	}
	return v.device()
}

// AddDevice makes a device-mapper device that no LV is.
func (f *Fake) AddDevice(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.extra = append(f.extra, name)
}

// program runs those beside LVM that package lvm starts.
func (f *Fake) program(c run.Cmd) (run.Result, bool) {
	switch {
	case c.Name == "dmsetup" && c.Args[0] == "message":
		return f.message(c.Args).result(), true
	case c.Name == "thin_ls" && c.Args[0] == "-m":
		return f.thinLS(c.Args).result(), true
	}
	return run.Result{}, false
}

// message is dmsetup message DEVICE 0 WORDS.
func (f *Fake) message(args []string) answer {
	p := f.poolOf(args[1])
	if p == nil {
		return refuse(1, "Device "+args[1]+" not found", "Command failed.")
	}
	fails := func(why string) answer {
		return refuse(1, "device-mapper: message ioctl on "+args[1]+"  failed: "+why, "Command failed.")
	}
	words := strings.Fields(args[3])
	switch k := p.kernel; words[0] {
	case "reserve_metadata_snap":
		if k.held {
			return fails("Device or resource busy")
		}
		k.held = true
	case "release_metadata_snap":
		if !k.held {
			return fails("Invalid argument")
		}
		k.held = false
	case "set_transaction_id":
		from, err1 := strconv.ParseInt(words[1], 10, 64)
		to, err2 := strconv.ParseInt(words[2], 10, 64)
		if err1 != nil || err2 != nil || k.transaction != from {
			return fails("Invalid argument")
		}
		k.transaction, p.uncounted = to, false
	case "delete":
		id, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil || k.thins[id] == nil {
			return fails("No data available")
		}
		k.clear(id)
		delete(k.thins, id)
	default:
		return fails("Invalid argument")
	}
	return answer{}
}

// poolOf is the pool whose target is the device of that name.
func (f *Fake) poolOf(device string) *lv {
	for _, g := range f.vgs() {
		for _, v := range g.lvs {
			target := v.device()
			if v.layered {
				target = v.device("tpool")
			}
			if v.segType == "thin-pool" && v.up() && target == device {
				return v
			}
		}
	}
	return nil
}

// thinLS is thin_ls -m of a pool's metadata.
func (f *Fake) thinLS(args []string) answer {
	path := args[len(args)-1]
	for _, g := range f.vgs() {
		for _, v := range g.lvs {
			if v.segType != "thin-pool" || dm.Path(v.part("_tmeta").device()) != path || !v.up() {
				continue
			}
			if !v.kernel.held {
				return refuse(64, "no current metadata snap")
			}
			var lines strings.Builder
			for id := range int64(1 << 12) {
				if chunks, has := v.kernel.thins[id]; has {
					fmt.Fprintf(&lines, "%d %d \n", id, int64(len(chunks))*v.chunk)
				}
			}
			return answer{stdout: lines.String(), stderr: []string{"Scanning data mappings"}}
		}
	}
	return refuse(64, path+": No such file or directory (os error 2)")
}

// vgcfgbackup copies a VG's metadata.
func (f *Fake) vgcfgbackup(c *command) answer {
	g, a := c.vg(c.args[0])
	if g == nil {
		return a
	}
	if a := f.copyText(g, c.value("-f")); a.code != 0 {
		return a
	}
	return answer{stdout: fmt.Sprintf("  Volume group %q successfully backed up.\n", g.name)}
}

// pvck shows what the metadata area of a drive holds, and repairs it from a file.
func (f *Fake) pvck(c *command) answer {
	d := f.drive(c.args[0])
	if d == nil || d.away || d.pv == nil || d.pv.vg == nil {
		return no("No PV found on device %s.", c.args[0])
	}
	g := d.pv.vg
	switch what := c.value("--dump"); {
	case what == "headers" && d.torn:
		return answer{code: failed, stderr: []string{"Found bad header or metadata values."}, stdout: "  label_header at 512\n" +
			"  CHECK: metadata text at 7680 crc does not match mda_header_1.raw_locn[0].checksum\n  CHECK: failed to parse metadata text at 7680 size 1687\n"}
	case what == "headers":
		return answer{stdout: fmt.Sprintf("  label_header at 512\n  metadata text at 7680 crc 0xac389bc7 # vgname %s seqno %d\n", g.name, g.seqno)}
	case what == "metadata_search" && c.has("-f"):
		return f.copyText(g, c.value("-f"))
	case what == "metadata_search":
		return answer{stdout: fmt.Sprintf("  Searching for metadata at offset 4096 size 1044480\n  metadata at 4608 length 1105 crc 5384316f vg %s seqno %d id %s\n",
			g.name, g.seqno, g.uuid)}
	case !c.has("--repair") || c.value("-f") == "":
		return refuse(badUsage, "No dump or repair option specified.")
	}
	if saved, err := lvm.ReadBackup(c.value("-f")); err != nil || saved.UUID != g.uuid {
		return no("Empty file: %s", c.value("-f"))
	}
	d.torn, d.dirty = false, true
	return answer{stdout: "  Writing metadata at 4608 length 1105 crc 0x5384316f mda1\n"}
}

// copyText writes the head of a VG's metadata, and the LVs by their names.
func (f *Fake) copyText(g *vg, file string) answer {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return no("Couldn't create temporary text file name.")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Generated by LVM2 version %s(2)\n\ncontents = \"Text Format Volume Group\"\nversion = 1\n\ndescription = \"vgcfgbackup\"\n\n", Version)
	fmt.Fprintf(&b, "creation_host = \"fake\"\ncreation_time = %d\n\n%s {\n\tid = %q\n\tseqno = %d\n", f.Now().Unix(), g.name, g.uuid, g.seqno)
	b.WriteString("\n\tphysical_volumes {\n")
	for i, p := range g.pvs {
		fmt.Fprintf(&b, "\n\t\tpv%d {\n\t\t\tid = %q\n\t\t}\n", i, p.uuid)
	}
	b.WriteString("\t}\n\n\tlogical_volumes {\n")
	for _, v := range g.lvs {
		fmt.Fprintf(&b, "\n\t\t%s {\n\t\t\tid = %q\n\t\t}\n", v.name, v.uuid)
	}
	b.WriteString("\t}\n}\n")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return no("%v", err)
	}
	return answer{}
}

// lvs answers for one LV what a full report does not tell.
func (f *Fake) lvs(c *command) answer {
	vgName, name, _ := strings.Cut(c.args[0], "/")
	g, a := c.vg(vgName)
	if g == nil {
		return a
	}
	v := g.lv(name)
	if v == nil {
		return no("Failed to find logical volume %q", c.args[0])
	}
	values := fields{"vg_autoactivation": flag(v.vg.autoactivation), "discards": v.discards}
	if v.segType == "thin-pool" && v.discards == "" {
		values["discards"] = "passdown"
	}
	var pairs []string
	for name := range strings.SplitSeq(c.value("-o"), ",") {
		value, known := values[name]
		if !known {
			return refuse(badUsage, "Unrecognised field: "+name)
		}
		pairs = append(pairs, fmt.Sprintf("%q:%q", name, value))
	}
	return answer{stdout: "  {\n      \"report\": [\n          { \"lv\": [ {" + strings.Join(pairs, ", ") + "} ] }\n      ]\n  }\n"}
}

// Read implements dm.Kernel: of all that is on a drive it knows the beginning
// of a pool's metadata.
func (f *Fake) Read(ctx context.Context, path string, offset int64, n int) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.drive(path)
	if d == nil || d.away {
		return nil, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
	}
	b := make([]byte, n)
	if d.pv == nil || d.pv.vg == nil {
		return b, ctx.Err()
	}
	for _, r := range d.pv.used {
		pool := r.owner.parent
		for pool != nil && pool.parent != nil {
			pool = pool.parent
		}
		if d.pv.peStart+r.start*d.pv.vg.extent != offset || pool == nil || pool.kernel == nil || !strings.Contains(r.owner.name, "_tmeta") {
			continue
		}
		pool.kernel.superblock(b)
	}
	return b, ctx.Err()
}

// superblock is struct thin_disk_superblock, as far as it is read.
func (k *kernelPool) superblock(b []byte) {
	if k.damaged {
		return
	}
	if k.needsCheck {
		b[4] = 1
	}
	binary.LittleEndian.PutUint64(b[32:], 27022010)
	binary.LittleEndian.PutUint64(b[48:], uint64(k.transaction))
	if k.held {
		b[56] = 7
	}
}

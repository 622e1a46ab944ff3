// Package lvmtest tests what uses package lvm without LVM: Fake is a host's
// LVM and device-mapper in memory, Suite holds Fake and real LVM to one
// behaviour, Recorder counts commands.
//
// Fake understands the commands that package lvm gives, and no others; it keeps
// extents, thins and their chunks truthfully, but no data.
package lvmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/run"
)

// Version is what Fake says lvm version is: the one whose messages it speaks.
const Version = "2.03.31"

// Fake is one host: its drives, its LVM and its device-mapper. Give it to
// lvm.New as both runner and kernel. It may be used by several goroutines.
type Fake struct {
	// Else runs the programs other than lvm; without it they are not installed.
	Else run.Runner
	// Now is the clock by which LVs are dated.
	Now func() time.Time

	mu        sync.Mutex
	drives    []*drive
	absent    bool
	noTargets []string
	lacks     []string        // programs
	extra     []string        // devices of device-mapper that no LV is
	frozen    map[string]bool // devices that are suspended
	faults    []*Fault
	holds     []*Hold
	numbers   uint32 // of drives, given so far
	last      *lv    // the thin that the last command made, or nil
}

var (
	_ run.Runner = (*Fake)(nil)
	_ dm.Kernel  = (*Fake)(nil)
)

// New makes a host without drives.
func New() *Fake { return &Fake{Now: time.Now} }

// AddDrive plugs in a blank drive.
func (f *Fake) AddDrive(path string, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drives = append(f.drives, &drive{path: path, size: bytes, number: f.nextNumber()})
}

// Sign puts a signature, such as "ext4", on a drive; an empty one wipes it.
func (f *Fake) Sign(path, signature string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustDrive(path).signature = signature
}

// MoveDrive carries a drive with all that is on it to another host.
func (f *Fake) MoveDrive(path string, to *Fake) {
	f.mu.Lock()
	d := f.mustDrive(path)
	f.drives = slices.DeleteFunc(f.drives, func(o *drive) bool { return o == d })
	if d.pv != nil && d.pv.vg != nil {
		d.pv.vg.off()
	}
	f.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	d.number = to.nextNumber()
	to.drives = append(to.drives, d)
}

// Reboot turns off everything that is active.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.vgs() {
		g.off()
	}
}

// Uninstall takes LVM off the host, or brings it back.
func (f *Fake) Uninstall(absent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.absent = absent
}

// WithoutTarget takes a device-mapper target such as "raid1" or "snapshot"
// out of the host's kernel.
func (f *Fake) WithoutTarget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noTargets = append(f.noTargets, name)
}

// Open has somebody hold an active LV open, as a mount does, until the
// returned function is called.
func (f *Fake) Open(vg, lv string) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.mustLV(vg, lv)
	if !v.active {
		panic(fmt.Sprintf("%s/%s is not active", vg, lv))
	}
	v.opened++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		v.opened--
	})
}

// Map writes the first bytes of a thin, so that the pool maps chunks for them.
// It says how many bytes found room.
func (f *Fake) Map(vg, lv string, bytes int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.mustLV(vg, lv)
	if v.pool == nil {
		return min(bytes, v.size) // it has all its extents already
	}
	return v.pool.kernel.write(v.thinID, min(bytes, v.size), v.pool)
}

// Unmap discards all of a thin.
func (f *Fake) Unmap(vg, lv string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.mustLV(vg, lv)
	v.pool.kernel.clear(v.thinID)
}

// Multiply puts n more thins beside an inactive one that maps nothing, as so many
// commands would have: rename makes each one's name and tags of those that are
// there. Their description must fit into the VG's metadata.
func (f *Fake) Multiply(vg, name string, n int, rename func(i int, text string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.mustLV(vg, name)
	next := v.vg.nextThinID(v.pool)
	for i := range n {
		twin := *v
		twin.name, twin.uuid, twin.thinID, twin.tags = rename(i, v.name), newUUID(), next+int64(i), nil
		for _, tag := range v.tags {
			twin.tags = append(twin.tags, rename(i, tag))
		}
		v.vg.lvs = append(v.vg.lvs, &twin)
		v.pool.kernel.thins[twin.thinID] = map[int64]int64{}
		v.pool.step()
	}
	slices.SortFunc(v.vg.lvs, func(a, b *lv) int { return strings.Compare(a.name, b.name) })
	if a := v.vg.commit(); a.code != 0 {
		panic(fmt.Sprintf("%d thins more than the metadata of %s hold: %v", n, vg, a.stderr))
	}
}

// FillMetadata has a pool's metadata hold so many blocks of 4 KiB more than what
// is in the pool needs, as many snapshots would; 0 takes them away again.
func (f *Fake) FillMetadata(vg, pool string, blocks int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).kernel.ballast = blocks
}

// StaleThin leaves a volume of so many mapped bytes in a pool, unknown to LVM,
// under the number that LVM will give out next.
func (f *Fake) StaleThin(vg, pool string, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.mustLV(vg, pool)
	id := p.vg.nextThinID(p)
	p.kernel.thins[id] = map[int64]int64{}
	p.kernel.write(id, bytes, p)
}

// Damage breaks a pool's metadata: activation of the pool will want a repair.
func (f *Fake) Damage(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).kernel.damaged = true
}

// ForeignTransaction makes the kernel's pool count changes that LVM never made.
func (f *Fake) ForeignTransaction(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).kernel.transaction += 90
}

// HoldRoot takes or releases a snapshot of a pool's metadata.
func (f *Fake) HoldRoot(vg, pool string, held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).kernel.held = held
}

// QueueWhenFull has a pool hang writes when full, as LVM's own default does.
func (f *Fake) QueueWhenFull(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).queue = true
}

// SkipActivation flags an LV as lvcreate -ky does.
func (f *Fake) SkipActivation(vg, lv string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, lv).skip = true
}

// Run implements run.Runner.
func (f *Fake) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if c.Name == "dmsetup" && len(c.Args) > 0 && c.Args[0] == "remove" {
		return f.dmsetup(c), nil
	}
	if c.Name != "lvm" {
		f.mu.Lock()
		lacks := slices.Contains(f.lacks, c.Name)
		res, known := run.Result{}, false
		if !lacks {
			res, known = f.program(c)
		}
		f.mu.Unlock()
		if known {
			return res, nil
		}
		if f.Else != nil && !lacks {
			return f.Else.Run(ctx, c)
		}
		return run.Result{}, fmt.Errorf("%s: %w", c.Name, run.ErrNotInstalled)
	}
	if err := ctx.Err(); err != nil {
		return run.Result{}, err
	}
	if err := f.wait(ctx, c); err != nil {
		return run.Result{}, err
	}
	f.hang(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.absent {
		return run.Result{}, fmt.Errorf("lvm: %w", run.ErrNotInstalled)
	}
	fault := f.fault(c)
	if fault != nil && !fault.After {
		return fault.result()
	}
	res := f.execute(c)
	if fault != nil {
		if fault.Half {
			f.halve()
		}
		return fault.result()
	}
	return res, nil
}

// reads are the verbs that change nothing.
var reads = []string{"version", "fullreport", "vgcfgbackup", "lvs"}

func (f *Fake) execute(c run.Cmd) run.Result {
	f.last = nil
	in, err := parseArgs(c.Args)
	if err != nil {
		return refuse(badUsage, err.Error()).result()
	}
	verbs := map[string]func(*Fake, *command) answer{
		"version": (*Fake).version, "fullreport": (*Fake).report,
		"vgcreate": (*Fake).vgcreate, "vgremove": (*Fake).vgremove, "vgrename": (*Fake).vgrename, "vgchange": (*Fake).vgchange,
		"vgcfgbackup": (*Fake).vgcfgbackup, "pvck": (*Fake).pvck, "lvs": (*Fake).lvs, "pvremove": (*Fake).pvremove, "lvcreate": (*Fake).lvcreate, "lvconvert": (*Fake).lvconvert, "lvextend": (*Fake).lvextend,
		"lvremove": (*Fake).lvremove, "lvrename": (*Fake).lvrename, "lvchange": (*Fake).lvchange,
		"vgextend": (*Fake).vgextend, "vgreduce": (*Fake).vgreduce,
	}
	do, known := verbs[in.verb]
	if !known {
		return refuse(2, "No such command '"+in.verb+"'.  Try 'lvm help'.").result()
	}
	if changes := !slices.Contains(reads, in.verb) && !in.has("--dump"); changes != c.Changes {
		return refuse(99, fmt.Sprintf("Fake: %s is called with Changes %t.", in.verb, c.Changes)).result()
	}
	f.look(in)
	a := do(f, in)
	if c.Changes && !in.toggles() {
		for _, d := range in.visible {
			d.dirty = true
		}
	}
	a.stderr = append(in.warnings, a.stderr...)
	return a.result()
}

func (f *Fake) version(*command) answer {
	return answer{stdout: "  LVM version:     " + Version + "(2) (2025-02-27)\n  Library version: 1.02.205 (2025-02-27)\n"}
}

// answer is what a command leaves.
type answer struct {
	code   int
	stdout string
	stderr []string
}

// LVM's exit codes.
const (
	badUsage = 3
	failed   = 5
)

func refuse(code int, lines ...string) answer { return answer{code: code, stderr: lines} }

// no is a failure in LVM's words.
func no(format string, args ...any) answer { return refuse(failed, fmt.Sprintf(format, args...)) }

func (a answer) result() run.Result {
	var stderr strings.Builder
	for _, line := range a.stderr {
		stderr.WriteString("  " + line + "\n")
	}
	return run.Result{Code: a.code, Stdout: []byte(a.stdout), Stderr: []byte(stderr.String())}
}

package lvmtest

import (
	"slices"
	"strings"
	"sync"

	"github.com/lvme/lvme/internal/run"
)

// Unplug takes a drive away; what was active on it stays as the kernel leaves
// it. Plug brings it back, perhaps under another path.
func (f *Fake) Unplug(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustDrive(path).away = true
}

// Plug brings an unplugged drive back under the path to. The devices that were
// active on it do not find it again.
func (f *Fake) Plug(path, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.mustDrive(path)
	d.away, d.path, d.number = false, to, f.nextNumber()
}

// nextNumber is a device number that no drive has had.
func (f *Fake) nextNumber() uint32 {
	f.numbers++
	return f.numbers
}

// Hang has a drive take requests without answering them until heal is called:
// commands that look at it do not end, whoever wants them to.
func (f *Fake) Hang(path string) (heal func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.mustDrive(path)
	d.hung = make(chan struct{})
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		close(d.hung)
		d.hung = nil
	})
}

// hang waits for the drives that a command looks at.
func (f *Fake) hang(c run.Cmd) {
	i := slices.Index(c.Args, "--devices")
	if i < 0 {
		return
	}
	for path := range strings.SplitSeq(c.Args[i+1], ",") {
		f.mu.Lock()
		var hung chan struct{}
		if d := f.drive(path); d != nil {
			hung = d.hung
		}
		f.mu.Unlock()
		if hung != nil {
			<-hung
		}
	}
}

// hangStatus waits for the drives below a device, as the status of a pool does
// whose metadata are being written.
func (f *Fake) hangStatus(name string) {
	f.mu.Lock()
	var hung []chan struct{}
	for _, d := range f.drives {
		if d.hung != nil && d.pv != nil && d.pv.vg != nil && strings.HasPrefix(name, strings.ReplaceAll(d.pv.vg.name, "-", "--")+"-") {
			hung = append(hung, d.hung)
		}
	}
	f.mu.Unlock()
	for _, h := range hung {
		<-h
	}
}

// raise notes on which drives an LV and its parts lie as they become active.
func (v *lv) raise(c *command) {
	v.raised, v.table = true, nil
	for _, p := range v.vg.pvs {
		for _, r := range p.used {
			switch {
			case r.owner != v:
			case c.sees(p):
				v.table = append(v.table, p.drive.number)
			default:
				v.table = append(v.table, 0)
			}
		}
	}
	slices.Sort(v.table)
	v.table = slices.Compact(v.table)
	for _, part := range v.vg.parts(v) {
		part.raise(c)
	}
}

// Unwritable has the kernel fail to write a pool's metadata, as on a drive that
// had errors: until the pool is switched off and on it is read-only.
func (f *Fake) Unwritable(vg, pool string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustLV(vg, pool).kernel.unwritable = true
}

// plugged says whether a drive of that number is there.
func (v *lv) plugged(number uint32) bool {
	return slices.ContainsFunc(v.vg.pvs, func(p *pv) bool { return !p.drive.away && p.drive.number == number })
}

// legs has a letter for each leg of an active mirror: A works, D has failed.
func (v *lv) legs() string {
	legs := []byte{}
	for _, part := range v.vg.parts(v) {
		if !strings.Contains(part.name, "_rimage_") {
			continue
		}
		letter := byte('A')
		if slices.ContainsFunc(part.table, func(n uint32) bool { return !v.plugged(n) }) {
			letter = 'D'
		}
		legs = append(legs, letter)
	}
	return string(legs)
}

// partial says that an extent of the LV, or of its pool, is out of sight.
func (v *lv) partial(c *command) bool {
	for _, p := range c.missing(v.vg) {
		for _, r := range p.used {
			for o := r.owner; o != nil; o = o.parent {
				if o == v || v.pool != nil && o == v.pool {
					return true
				}
			}
		}
	}
	return false
}

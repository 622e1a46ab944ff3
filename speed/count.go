package speed

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lvme/lvme/internal/run"
)

// Traffic is what has gone through a block device, as /sys/block/DEVICE/stat counts it.
type Traffic struct {
	Reads      int64 `json:"reads"`
	ReadBytes  int64 `json:"readBytes"`
	Writes     int64 `json:"writes"`
	WriteBytes int64 `json:"writeBytes"`
	Flushes    int64 `json:"flushes"` // of drives only: device-mapper's devices do not count theirs
}

func (t Traffic) minus(o Traffic) Traffic {
	return Traffic{t.Reads - o.Reads, t.ReadBytes - o.ReadBytes, t.Writes - o.Writes, t.WriteBytes - o.WriteBytes, t.Flushes - o.Flushes}
}

// parseStat reads the line of a device's stat file (Documentation/block/stat.rst): reads, merged, sectors, time; the same of
// writes; in flight, two times; the same of discards; flushes, time.
func parseStat(text string) (Traffic, error) {
	f := strings.Fields(text)
	if len(f) < 16 {
		return Traffic{}, fmt.Errorf("statistics of a device have %d figures, flushes are the 16th: Linux 5.5 has them", len(f))
	}
	var n [16]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return Traffic{}, fmt.Errorf("statistics of a device: %w", err)
		}
	}
	return Traffic{Reads: n[0], ReadBytes: n[2] * sector, Writes: n[4], WriteBytes: n[6] * sector, Flushes: n[15]}, nil
}

func (k kernel) traffic(d device) (Traffic, error) {
	if d.name == "" {
		return Traffic{}, nil
	}
	text, err := k.word(d.name, "stat")
	if err != nil {
		return Traffic{}, err
	}
	return parseStat(text)
}

// Count is what some I/Os of 4 KiB on a layer became below it.
type Count struct {
	Layer     string `json:"layer"`
	Operation string `json:"operation"`
	IOs       int64  `json:"ios"`
	// Drive is what reached the drive, Data and Metadata what reached the two parts of the thin pool.
	Drive    Traffic `json:"drive"`
	Data     Traffic `json:"data"`
	Metadata Traffic `json:"metadata"`
	// Wrong says what is not as it should be.
	Wrong []string `json:"wrong"`
	// Unjudged says why nobody can tell.
	Unjudged string `json:"unjudged,omitempty"`
}

// operation is what is done once in each I/O that is counted.
type operation struct {
	name              string
	read, write, sync bool
}

var operations = []operation{
	{"read", true, false, false},
	{"write", false, true, false},
	{"write+fdatasync", false, true, true},
}

// countIOs is how many I/Os are counted, each in a chunk of its own.
const countIOs = 64

// expected is what must be counted.
type expected struct {
	state   state
	chunk   int64
	zeroing bool
	// flushes says that the drive has a cache that flushes empty.
	flushes bool
}

// metadataMost is the most that a commit of a thin pool's metadata writes for one new block: some nodes of its trees, the
// bitmaps and the superblock, 4 KiB each. Seen are 8 to 10.
const metadataMost = 24 * page

// judge holds a count against what device-mapper does: what is mapped and unshared passes through as it is; the first write to
// a chunk zeroes all of it, after a snapshot copies it, and then writes; a sync commits the metadata if they have changed.
func (c *Count) judge(op operation, e expected) {
	c.Wrong = []string{}
	if e.state == asIs {
		c.judgeMapped(op, e)
	} else {
		c.judgeFirst(op, e)
	}
}

func (c *Count) judgeMapped(op operation, e expected) {
	var want Traffic
	if op.read {
		want.Reads, want.ReadBytes = c.IOs, c.IOs*page
	} else {
		want.Writes, want.WriteBytes = c.IOs, c.IOs*page
	}
	if op.sync && e.flushes {
		// The kernel counts a flush as a write of nothing, too.
		want.Flushes, want.Writes = c.IOs, want.Writes+c.IOs
	}
	c.want("reads of the drive", c.Drive.Reads, want.Reads)
	c.want("bytes read of the drive", c.Drive.ReadBytes, want.ReadBytes)
	c.want("writes to the drive", c.Drive.Writes, want.Writes)
	c.want("bytes written to the drive", c.Drive.WriteBytes, want.WriteBytes)
	c.want("flushes of the drive", c.Drive.Flushes, want.Flushes)
	c.want("writes to the pool's metadata", c.Metadata.Writes, 0)
}

func (c *Count) judgeFirst(op operation, e expected) {
	written, copied := c.IOs*page, int64(0)
	switch {
	case e.state == shared:
		written, copied = written+c.IOs*e.chunk, c.IOs*e.chunk
	case e.zeroing:
		written += c.IOs * e.chunk
	}
	c.want("bytes written to the pool's data", c.Data.WriteBytes, written)
	c.want("bytes read of the pool's data", c.Data.ReadBytes, copied)
	least := int64(0) // without a sync they are committed once a second
	if op.sync {
		least = c.IOs * page
	}
	c.within("bytes written to the pool's metadata", c.Metadata.WriteBytes, least, c.IOs*metadataMost)
	if op.sync && e.flushes {
		c.within("flushes of the drive", c.Drive.Flushes, c.IOs, 8*c.IOs)
	}
}

func (c *Count) want(what string, have, want int64) {
	if have != want {
		c.Wrong = append(c.Wrong, fmt.Sprintf("%s: %d, not %d", what, have, want))
	}
}

func (c *Count) within(what string, have, least, most int64) {
	if have < least || have > most {
		c.Wrong = append(c.Wrong, fmt.Sprintf("%s: %d, not %d to %d", what, have, least, most))
	}
}

// do does the operation so many times, each a step further on.
func (op operation) do(d *direct, offset, stride, times int64) error {
	b := buffer(page)
	for i := range times {
		at := offset + i*stride
		var err error
		if op.read {
			_, err = d.ReadAt(b, at)
		} else {
			_, err = d.WriteAt(b, at)
		}
		if err == nil && op.sync {
			err = d.Datasync()
		}
		if err != nil {
			return fmt.Errorf("%s at byte %d of %s: %w", op.name, at, d.Name(), err)
		}
	}
	return nil
}

// rest is longer than a thin pool waits before it commits what has changed, one second.
const rest = 1500 * time.Millisecond

// maxRests is how often a drive that others use is waited for, maxCounts how often a count that is wrong is made: others may
// have used the drive in that moment, and what is truly wrong is wrong each time.
const (
	maxRests  = 8
	maxCounts = 3
)

// settle waits until udev has looked at what was closed, pools have committed, and nothing goes on.
func (b *bench) settle(ctx context.Context, p place) (busy string, err error) {
	// Without udev nobody looks at devices.
	if _, err := b.host.Runner.Run(ctx, run.Cmd{Name: "udevadm", Args: []string{"settle", "--timeout=10"}}); err != nil && ctx.Err() != nil {
		return "", err
	}
	for range maxRests {
		before, err := b.traffics(p)
		if err != nil {
			return "", err
		}
		if err := wait(ctx, rest); err != nil {
			return "", err
		}
		after, err := b.traffics(p)
		if err != nil || before == after {
			return "", err
		}
	}
	return "others use " + p.drive.name + " all the time", nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// traffics are those of the devices that a count is made of.
func (b *bench) traffics(p place) (all [3]Traffic, err error) {
	for i, d := range []device{p.drive, p.pool.data, p.pool.metadata} {
		if all[i], err = b.kernel.traffic(d); err != nil {
			return all, err
		}
	}
	return all, nil
}

// count counts an operation on a layer, again when it is wrong.
func (b *bench) count(ctx context.Context, l Layer, op operation) (c Count, err error) {
	for range maxCounts {
		if c, err = b.countOnce(ctx, l, op); err != nil || len(c.Wrong) == 0 {
			break
		}
	}
	return c, err
}

// countOnce does an operation on a layer and counts what becomes of it. The device stays open until it has been counted: udev
// reads what a writer has closed.
func (b *bench) countOnce(ctx context.Context, l Layer, op operation) (c Count, err error) {
	err = b.with(ctx, l, func(p place) error {
		d, err := b.host.open(p.path, op.write)
		if err != nil {
			return err
		}
		defer d.Close()
		busy, err := b.settle(ctx, p)
		if err != nil {
			return err
		}
		c, err = b.counted(d, p, op)
		c.Layer, c.Unjudged = l.Name, cmp.Or(p.unjudged, busy)
		if err == nil && c.Unjudged == "" {
			err = b.judge(&c, p, l, op)
		}
		return err
	})
	return c, err
}

// counted does the operation between two looks.
func (b *bench) counted(d *direct, p place, op operation) (Count, error) {
	before, err := b.traffics(p)
	if err != nil {
		return Count{}, err
	}
	stride := max(p.pool.chunk, mib)
	ios := min(int64(countIOs), p.length/stride)
	if err := op.do(d, p.offset, stride, ios); err != nil {
		return Count{}, err
	}
	after, err := b.traffics(p)
	return Count{
		Operation: op.name, IOs: ios, Wrong: []string{},
		Drive: after[0].minus(before[0]), Data: after[1].minus(before[1]), Metadata: after[2].minus(before[2]),
	}, err
}

func (b *bench) judge(c *Count, p place, l Layer, op operation) error {
	cache, err := b.kernel.word(p.drive.name, "queue/write_cache")
	if err != nil {
		return err
	}
	c.judge(op, expected{state: l.state, chunk: p.pool.chunk, zeroing: p.pool.zeroing, flushes: cache == "write back"})
	return nil
}

// countAll counts every operation on every layer that is a device.
func (b *bench) countAll(ctx context.Context) error {
	for _, l := range b.Layers {
		for _, op := range operations {
			if l.fs != "" || op.read && l.state != asIs {
				continue
			}
			b.Say("count %ss on %s", op.name, l.Name)
			c, err := b.count(ctx, l, op)
			if err != nil {
				return fmt.Errorf("count %ss on %s: %w", op.name, l.Name, err)
			}
			b.report.Counts = append(b.report.Counts, c)
			for _, wrong := range c.Wrong {
				b.report.Findings = append(b.report.Findings, fmt.Sprintf("%d %ss of 4 KiB on %s: %s", c.IOs, op.name, l.Name, wrong))
			}
		}
	}
	return nil
}

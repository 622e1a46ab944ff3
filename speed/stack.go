package speed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lvme/lvme/internal/run"
)

// sector is the unit of device-mapper's tables and of the kernel's statistics.
const sector = 512

// device is a block device as the kernel knows it.
type device struct {
	name string // dm-3, nvme0n1
	dm   string // device-mapper's name for it, if it is one of its own
}

// kernel reads /sys, and device-mapper's tables through dmsetup.
type kernel struct {
	sys    fs.FS
	runner run.Runner
}

// device finds a device by its number.
func (k kernel) device(major, minor uint32) (device, error) {
	dir := fmt.Sprintf("dev/block/%d:%d", major, minor)
	uevent, err := fs.ReadFile(k.sys, dir+"/uevent")
	if err != nil {
		return device{}, err
	}
	for line := range strings.Lines(string(uevent)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return k.named(name)
		}
	}
	return device{}, fmt.Errorf("/sys/%s does not name its device", dir)
}

func (k kernel) named(name string) (device, error) {
	dm, err := k.word(name, "dm/name")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return device{name: name, dm: dm}, err
}

// word reads a file of a device.
func (k kernel) word(name, file string) (string, error) {
	text, err := fs.ReadFile(k.sys, path.Join("block", name, file))
	return strings.TrimSpace(string(text)), err
}

// below are all devices that one is made of, the nearest first.
func (k kernel) below(d device) ([]device, error) {
	var all []device
	for next := []device{d}; len(next) > 0; next = next[1:] {
		slaves, err := fs.ReadDir(k.sys, path.Join("block", next[0].name, "slaves"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, s := range slaves {
			one, err := k.named(s.Name())
			if err != nil {
				return nil, err
			}
			if !slices.Contains(all, one) {
				all = append(all, one)
				next = append(next, one)
			}
		}
	}
	return all, nil
}

// tableLine is one line of a device-mapper table, in sectors.
type tableLine struct {
	start, length int64
	kind          string
	params        []string
}

// table is what a device is made of, by the kernel's word.
func (k kernel) table(ctx context.Context, dm string) ([]tableLine, error) {
	c := run.Cmd{Name: "dmsetup", Args: []string{"table", dm}}
	res, err := k.runner.Run(ctx, c)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("%s: exit code %d: %s", c, res.Code, bytes.TrimSpace(res.Stderr))
	}
	return parseTable(string(res.Stdout))
}

func parseTable(text string) ([]tableLine, error) {
	var lines []tableLine
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 {
			return nil, fmt.Errorf("no line of a device-mapper table: %q", line)
		}
		start, err := strconv.ParseInt(f[0], 10, 64)
		length, lengthErr := strconv.ParseInt(f[1], 10, 64)
		if err := errors.Join(err, lengthErr); err != nil {
			return nil, fmt.Errorf("no line of a device-mapper table: %q: %w", line, err)
		}
		lines = append(lines, tableLine{start, length, f[2], f[3:]})
	}
	return lines, nil
}

// pool is what a thin volume lies on.
type pool struct {
	data, metadata device
	drives         []device
	chunk          int64 // bytes
	zeroing        bool
	layout         string // of the data
}

// pool finds the thin pool below a thin volume.
func (k kernel) pool(ctx context.Context, thin device) (pool, error) {
	all, err := k.below(thin)
	if err != nil {
		return pool{}, fmt.Errorf("what %s is made of: %w", thin.dm, err)
	}
	p := pool{drives: drives(all)}
	for _, d := range all {
		switch {
		case strings.HasSuffix(d.dm, "_tdata"):
			p.data = d
		case strings.HasSuffix(d.dm, "_tmeta"):
			p.metadata = d
		}
	}
	i := slices.IndexFunc(all, func(d device) bool { return strings.HasSuffix(d.dm, "-tpool") })
	if i < 0 || p.data.name == "" || p.metadata.name == "" {
		return pool{}, fmt.Errorf("%s is on no thin pool but on %v", thin.dm, all)
	}
	if err := p.read(ctx, k, all[i]); err != nil {
		return pool{}, err
	}
	return p, nil
}

// read reads the tables of the pool: METADATA DATA CHUNK LOW-WATER COUNT FEATURE...
func (p *pool) read(ctx context.Context, k kernel, tpool device) error {
	lines, err := k.table(ctx, tpool.dm)
	if err != nil {
		return err
	}
	if len(lines) != 1 || lines[0].kind != "thin-pool" || len(lines[0].params) < 4 {
		return fmt.Errorf("the table of %s is not that of a thin pool: %v", tpool.dm, lines)
	}
	chunk, err := strconv.ParseInt(lines[0].params[2], 10, 64)
	if err != nil {
		return fmt.Errorf("chunk of %s: %w", tpool.dm, err)
	}
	p.chunk, p.zeroing = chunk*sector, !slices.Contains(lines[0].params, "skip_block_zeroing")
	data, err := k.table(ctx, p.data.dm)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return fmt.Errorf("%s has no table", p.data.dm)
	}
	p.layout = data[0].kind
	return nil
}

// drives are those of the devices that are made of no others of device-mapper.
func drives(all []device) []device {
	return slices.DeleteFunc(slices.Clone(all), func(d device) bool { return d.dm != "" })
}

// drive tells of a drive what its speed depends on.
func (k kernel) drive(d device) Drive {
	// What the kernel does not tell is left out: nothing is decided by it but for the cache, which a count reads itself.
	about := func(file string) string { text, _ := k.word(d.name, file); return text }
	scheduler := about("queue/scheduler")
	if _, rest, ok := strings.Cut(scheduler, "["); ok {
		scheduler, _, _ = strings.Cut(rest, "]")
	}
	return Drive{
		Name: d.name, Model: about("device/model"), Firmware: about("device/firmware_rev"), Scheduler: scheduler,
		WriteCache: about("queue/write_cache"), Block: about("queue/logical_block_size"),
	}
}

// Package lvm is the only place that knows LVM: typed requests in, JSON
// reports out, errors told apart once.
//
// A VG is a volume group, an LV a logical volume, a PV a drive that LVM has
// labelled. A pool is a thin pool, a thin an LV that lives in one; a thick LV
// owns its extents. Sizes are bytes unless a name says extents.
//
// It has no policy: which drive, which name, which size and which tags is its
// callers' business, and so is the lock that lets one change at a time into a
// VG. It never deletes what it was not told to delete, and it never wipes a
// signature that it finds on a drive.
//
// A command that changes LVM is not killed because its caller stopped
// waiting; the call returns when the command has ended. One that only reads is
// given up after a while: on a drive that hangs nothing can end it.
package lvm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/patience"
	"github.com/lvme/lvme/internal/run"
)

const (
	// readPatience is how long a command that only reads may take. A report of
	// 10,000 volumes takes a second or two.
	readPatience = 30 * time.Second
	// statusPatience is how long the kernel may take to tell the status of a
	// device, which it reads from memory.
	statusPatience = 5 * time.Second
)

// LVM runs LVM's commands on one host. It may be used by several goroutines;
// changes of one VG must be made one after another by the caller.
type LVM struct {
	runner  run.Runner
	kernel  dm.Kernel
	observe Observer
	// reads and statuses are the commands that read and the kernel's answers
	// that were waited for in vain, by drive and by device.
	reads, statuses, flushes     patience.Calls
	readPatience, statusPatience time.Duration
}

// Observer is told of each LVM command that has ended: its verb ("lvcreate"),
// how long it took, its error or nil, and whether it was one that changes LVM.
type Observer func(verb string, took time.Duration, err error, changes bool)

// Option changes how New builds an LVM.
type Option func(*LVM)

// WithObserver has every LVM command reported to o, for metrics.
func WithObserver(o Observer) Option { return func(l *LVM) { l.observe = o } }

// WithPatience bounds the wait for commands that read, and for the kernel's
// status of a device.
func WithPatience(read, status time.Duration) Option {
	return func(l *LVM) { l.readPatience, l.statusPatience = read, status }
}

// New makes LVM out of a way to run programs and a way to read the kernel.
func New(r run.Runner, k dm.Kernel, opts ...Option) *LVM {
	l := &LVM{runner: r, kernel: k, observe: func(string, time.Duration, error, bool) {}, readPatience: readPatience, statusPatience: statusPatience}
	for _, o := range opts {
		o(l)
	}
	return l
}

// VG says which volume group a call means. Every command is shown Devices
// alone: volumes may carry LVM labels of their own, and drives of another
// machine may carry a VG of the same name.
type VG struct {
	Name string
	// UUID is LVM's own identifier. The caller has verified, by a report of
	// exactly these devices, that it belongs to the VG called Name.
	UUID string
	// Devices are the paths of all its PVs. A change is refused with
	// ErrMissingDevice while one of them is not there.
	Devices []string
}

// settings override the host's lvm.conf for every command.
//
//   - archive and backup off: they cost up to half of a command and fill /etc.
//     The drives carry the metadata, in as many copies as there are drives.
//   - no lvmpolld, no monitoring: both start daemons that outlive the command.
//   - no hints: the devices are named on each command line.
//   - nobody waits behind a writer that waits itself: with a report that hangs on
//     a drive, a vgcreate of another drive would hold up every scan of the host.
//   - no event activation, nothing in the log and nothing of the log on stdout:
//     what is on stdout is the report. For that LVM must be silent as well: it
//     says there that it scans again, in the middle of the report.
//   - a pool that is switched on is checked by thin_check, which takes back chunks
//     that a power cut left without an owner and lifts the kernel's demand for a check
//     when all else is well. That is LVM's own default; a distribution that built LVM
//     without the tool has one by which such a pool stays off until a person repairs it.
//   - pools fail when full: lvconvert has no option that says so.
//   - dates as seconds, yes and no as 1 and 0, hidden LVs by their plain name.
const settings = `backup{backup=0 archive=0} ` +
	`global{use_lvmpolld=0 prioritise_write_locks=0 event_activation=0 notify_dbus=0 units="b" suffix=0 ` +
	`thin_check_options=["-q","--clear-needs-check-flag"]} ` +
	`activation{monitoring=0 error_when_full=1} ` +
	`devices{hints="none"} ` +
	`log{verbose=0 silent=1 report_command_log=0 syslog=0} ` +
	`report{time_format="%s" binary_values_as_numeric=1 mark_hidden_devices=0}`

// uncheckedSettings are settings with which no pool is checked. They are for a
// command that finds the kernel at work with the pool.
var uncheckedSettings = strings.Replace(settings, "global{", `global{thin_check_executable="" `, 1)

// query runs one LVM command that only reads.
func (l *LVM) query(ctx context.Context, devices []string, verb string, args ...string) ([]byte, error) {
	return l.command(ctx, false, devices, settings, verb, args...)
}

// command runs one LVM command against the given devices; without any it is
// one that looks at none.
func (l *LVM) command(ctx context.Context, changes bool, devices []string, settings, verb string, args ...string) ([]byte, error) {
	full := []string{verb}
	if len(devices) > 0 {
		full = append(full, "--devices", strings.Join(devices, ","), "--config", settings)
	}
	return l.invoke(ctx, changes, devices, append(full, args...), args)
}

// invoke runs LVM with arguments, of which an error tells those that are said.
func (l *LVM) invoke(ctx context.Context, changes bool, devices, args, said []string) ([]byte, error) {
	verb, began := args[0], time.Now()
	res, err := l.run(ctx, run.Cmd{Name: "lvm", Args: args, Changes: changes}, devices)
	switch {
	case errors.Is(err, run.ErrNotInstalled):
		err = fmt.Errorf("%w, install the package lvm2: %w", ErrNotInstalled, err)
	case errors.Is(err, patience.ErrSilent):
		err = fmt.Errorf("%w: lvm %s: %w", ErrSilent, verb, err)
		res.Took = time.Since(began)
	case err == nil && res.Code != 0:
		err = newError(verb, said, res)
	}
	l.observe(verb, res.Took, err, changes)
	return res.Stdout, err
}

// run runs a command that changes something to its end, and gives up one that
// reads devices when one of them does not answer.
func (l *LVM) run(ctx context.Context, c run.Cmd, devices []string) (run.Result, error) {
	if c.Changes || len(devices) == 0 {
		return l.runner.Run(ctx, c)
	}
	return patience.Do(ctx, &l.reads, l.readPatience, devices, func(ctx context.Context) (run.Result, error) { return l.runner.Run(ctx, c) })
}

// status is the kernel's status of a device, unless the kernel waits for a
// drive itself before it answers.
func (l *LVM) status(ctx context.Context, name string) ([]dm.Target, error) {
	targets, err := patience.Do(ctx, &l.statuses, l.statusPatience, []string{name}, func(ctx context.Context) ([]dm.Target, error) {
		return l.kernel.Status(ctx, name)
	})
	if errors.Is(err, patience.ErrSilent) {
		err = fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return targets, err
}

// change runs one command that changes what vg is.
//
// LVM waits until the drives have taken what it wrote, and not until that would
// outlive a power cut, as an answer has to. So the drives are flushed.
func (l *LVM) change(ctx context.Context, vg VG, verb string, args ...string) error {
	return l.changeWith(ctx, vg, settings, verb, args...)
}

// changeWith is change with settings of one's own.
func (l *LVM) changeWith(ctx context.Context, vg VG, settings, verb string, args ...string) error {
	if err := l.toggleWith(ctx, vg, settings, verb, args...); err != nil {
		return err
	}
	return l.Flush(ctx, vg.Devices)
}

// toggle runs one command that changes what of vg is active, or anything else
// that a power cut ends anyway.
//
// All of its drives must be there. LVM would write some changes, such as tags,
// to the drives that are left and take the others for lost from then on, even
// when they come back.
func (l *LVM) toggle(ctx context.Context, vg VG, verb string, args ...string) error {
	return l.toggleWith(ctx, vg, settings, verb, args...)
}

// toggleWith is toggle with settings of one's own.
func (l *LVM) toggleWith(ctx context.Context, vg VG, settings, verb string, args ...string) error {
	if err := checkDevices(vg.Devices); err != nil {
		return err
	}
	for _, device := range vg.Devices {
		if err := l.kernel.Present(device); err != nil {
			return fmt.Errorf("%w: %w", ErrMissingDevice, err)
		}
	}
	_, err := l.command(ctx, true, vg.Devices, settings, verb, args...)
	return err
}

// Flush has drives make durable all that was written to them. It fails with
// ErrSilent when one does not answer.
func (l *LVM) Flush(ctx context.Context, devices []string) error {
	_, err := patience.Do(context.WithoutCancel(ctx), &l.flushes, l.readPatience, devices, func(ctx context.Context) (struct{}, error) {
		var errs []error
		for _, device := range devices {
			if err := l.kernel.Flush(ctx, device); err != nil {
				errs = append(errs, fmt.Errorf("flush %s: %w", device, err))
			}
		}
		return struct{}{}, errors.Join(errs...)
	})
	if errors.Is(err, patience.ErrSilent) {
		err = fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return err
}

// checkDevices refuses what would not be the path of one device.
func checkDevices(devices []string) error {
	if len(devices) == 0 {
		return fmt.Errorf("%w: no devices named", ErrInvalid)
	}
	for _, d := range devices {
		if !strings.HasPrefix(d, "/") || strings.ContainsAny(d, ", \t\n") {
			return fmt.Errorf("%w: %q is not the path of a device", ErrInvalid, d)
		}
	}
	return nil
}

// RoundUp is the size that LVM makes of size: the next multiple of unit, which
// is the extent size, times the number of stripes for a striped LV.
func RoundUp(size, unit int64) int64 {
	if unit <= 0 || size%unit == 0 {
		return size
	}
	return (size/unit + 1) * unit
}

package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/blockdev"
	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/mount"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
	"github.com/lvme/lvme/node"
	"github.com/lvme/lvme/volume"
)

// Host is the machine that an agent or an operator's command works on.
type Host struct {
	// Runner starts the host's programs, Kernel reads device-mapper, Blocks
	// overwrites devices.
	Runner run.Runner
	Kernel dm.Kernel
	Blocks volume.Blocks
	// Machine is what the host record is bound to.
	Machine hostrecord.Machine
	// Drives lists the NVMe drives.
	Drives func(context.Context) ([]drive.Drive, error)
	// Stalled says whether a drive ends none of the work that it has now; nil
	// when nobody can tell.
	Stalled func(ctx context.Context, path string) bool
	// Stalls names the drives that have ended none of their work for a while; nil
	// when nobody does. It is called every few seconds.
	Stalls func(now time.Time) []string
	// Mounts are the host's filesystems and mounts.
	Mounts node.Host
	// Watch tells of drives that come and go until the context ends; nil when
	// nobody does.
	Watch func(context.Context) (<-chan struct{}, error)
}

const (
	// stallMoment is in which a drive that works ends some of its work.
	stallMoment = 50 * time.Millisecond
	// stallPatience is how long a drive may end none of its work before it is
	// looked at. The kernel's own patience with NVMe drives is 30 s.
	stallPatience = 10 * time.Second
)

// ThisHost is the machine that the process runs on. Volumes are mounted below
// mountRoot, anywhere if it is empty.
func ThisHost(r run.Runner, mountRoot string) (Host, error) {
	m, err := hostrecord.ReadMachine("")
	if err != nil {
		return Host{}, fmt.Errorf("identify this machine: %w", err)
	}
	var stalls drive.Stalls
	return Host{
		Stalled: func(ctx context.Context, path string) bool {
			return drive.Stalled(ctx, drive.Host{}, filepath.Base(path), stallMoment)
		},
		Stalls:  func(now time.Time) []string { return stalls.Look(drive.Host{}, now, stallPatience) },
		Runner:  r,
		Kernel:  dm.Open(),
		Blocks:  blockdev.Host{},
		Machine: m,
		Drives: func(ctx context.Context) ([]drive.Drive, error) {
			return drive.Discover(ctx, drive.Host{Runner: r})
		},
		Mounts: mount.New(r, mountRoot),
		Watch:  drive.Watch,
	}, nil
}

// StoreOptions are those of a store on this host, with its record in dir.
func (h Host) StoreOptions(dir string, cfg drive.Config, opts ...lvm.Option) volume.Options {
	return volume.Options{
		Dir: dir, Machine: h.Machine, Config: cfg, Blocks: h.Blocks, Drives: h.Drives, Stalled: h.Stalled,
		LVM: lvm.New(h.Runner, h.Kernel, opts...),
	}
}

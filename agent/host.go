package agent

import (
	"context"
	"fmt"

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
	Kernel dm.Reader
	Blocks volume.Blocks
	// Machine is what the host record is bound to.
	Machine hostrecord.Machine
	// Drives lists the NVMe drives.
	Drives func(context.Context) ([]drive.Drive, error)
	// Mounts are the host's filesystems and mounts.
	Mounts node.Host
	// Watch tells of drives that come and go until the context ends; nil when
	// nobody does.
	Watch func(context.Context) (<-chan struct{}, error)
}

// ThisHost is the machine that the process runs on. Volumes are mounted below
// mountRoot, anywhere if it is empty.
func ThisHost(r run.Runner, mountRoot string) (Host, error) {
	m, err := hostrecord.ReadMachine("")
	if err != nil {
		return Host{}, fmt.Errorf("identify this machine: %w", err)
	}
	return Host{
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
		Dir: dir, Machine: h.Machine, Config: cfg, Blocks: h.Blocks, Drives: h.Drives,
		LVM: lvm.New(h.Runner, h.Kernel, opts...),
	}
}

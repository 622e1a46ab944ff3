package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/lvm"
)

// A snapshot of a pool's metadata survives whoever took it, and a reboot. So
// that the one of a process that died is not kept for ever, and that of somebody
// else is not taken from him, a file in the state directory says that it is
// ours; while it is read, its reader has that file locked.

// heldMark begins the names of these files; the VG's name follows.
const heldMark = "metadata-snapshot-"

func (s *Store) heldFile(p *pool) string { return filepath.Join(s.Dir, heldMark+VGName(p.id)) }

// thinDevices lists the thins that a pool has by itself.
func (s *Store) thinDevices(ctx context.Context, p *pool, vg lvm.VG) ([]lvm.ThinDevice, error) {
	mark, err := lockMark(s.heldFile(p), os.O_CREATE)
	if err != nil {
		return nil, err
	}
	defer mark.Close()
	thins, err := s.LVM.ThinDevices(ctx, vg, poolLV)
	if err != nil && !errors.Is(err, lvm.ErrInUse) {
		// Perhaps it is still held: the mark stays for the next start of the agent.
		if status, lookErr := s.LVM.PoolStatus(context.WithoutCancel(ctx), vg.Name, poolLV); lookErr != nil || status.HeldRoot {
			return nil, err
		}
	}
	return thins, errors.Join(err, os.Remove(mark.Name()))
}

// lockMark opens the file and locks it, or says that somebody else has.
func lockMark(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: another process reads the pool's metadata: lock %s: %w", ErrBusy, name, err), f.Close())
	}
	return f, nil
}

// markedHeld says that a snapshot of the pool's metadata, if one is held, is
// lvme's.
func (s *Store) markedHeld(p *pool) bool {
	_, err := os.Stat(s.heldFile(p))
	return err == nil
}

// releaseHeld ends the snapshot of a process of ours that died.
func (s *Store) releaseHeld(ctx context.Context, p *pool) error {
	mark, err := lockMark(s.heldFile(p), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer mark.Close()
	status, err := s.LVM.PoolStatus(ctx, p.vg.Name, poolLV)
	if err != nil {
		return err
	}
	if status.HeldRoot {
		if err := s.LVM.ReleaseMetadata(ctx, p.vg, poolLV); err != nil {
			return domainError(err)
		}
		klog.FromContext(ctx).Info("released the snapshot of a pool's metadata that a process had left", "vg", p.vg.Name)
	}
	return os.Remove(mark.Name())
}

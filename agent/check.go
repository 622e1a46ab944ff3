package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/klog/v2"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/run"
	"github.com/lvme/lvme/lvm"
)

// oldestLVM is the first LVM that can be shown a VG's drives alone (--devices)
// and keeps a VG from being activated by others (--setautoactivation).
var oldestLVM = lvm.Version{Major: 2, Minor: 3, Patch: 12}

// CheckHost says what the host lacks and which package brings it.
func CheckHost(ctx context.Context, h Host, cfg drive.Config) error {
	v, err := lvm.New(h.Runner, h.Kernel).Version(ctx)
	switch {
	case errors.Is(err, lvm.ErrNotInstalled):
		return fmt.Errorf("this host has no LVM: install the package lvm2: %w", err)
	case err != nil:
		return fmt.Errorf("ask LVM for its version: %w", err)
	case v.Less(oldestLVM):
		return fmt.Errorf("this host has LVM %s, at least %s is needed: upgrade the package lvm2", v, oldestLVM)
	}
	klog.FromContext(ctx).V(1).Info("LVM found", "version", v.String())
	if slices.ContainsFunc(cfg.Classes, func(c drive.Class) bool { return c.Thin.Share > 0 }) {
		return checkThinTools(ctx, h.Runner)
	}
	return nil
}

// checkThinTools looks for what LVM starts to check thin pools. How it answers
// is LVM's business; that it is there is ours to say in words.
func checkThinTools(ctx context.Context, r run.Runner) error {
	_, err := r.Run(ctx, run.Cmd{Name: "thin_check", Args: []string{"-V"}})
	if errors.Is(err, run.ErrNotInstalled) {
		return fmt.Errorf("this host cannot check thin pools: install the package thin-provisioning-tools (device-mapper-persistent-data on Fedora and Red Hat): %w", err)
	}
	return nil
}

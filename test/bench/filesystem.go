package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/volume"
)

//go:embed filesystem.sh
var filesystemScript string

// compareFilesystems shows what lvme's options for filesystems are worth, on volumes of LVM alone.
func compareFilesystems(ctx context.Context, to io.Writer) (err error) {
	node, err := bed.Start(ctx, bed.Options{Name: "node-1", Drives: []bed.Drive{{Serial: serials[0], Size: 12 << 30}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	p, err := volume.LookupProfile("")
	if err != nil {
		return err
	}
	out, err := rig.Sh(ctx, node, filesystemScript, strings.Join(p.MountOptions("ext4"), ","), strings.Join(p.MkfsOptions("ext4"), " "),
		strings.Join(p.MountOptions("xfs"), ","), strings.Join(p.MkfsOptions("xfs"), " "))
	if err != nil {
		return err
	}
	t := table.New("WHAT", "OPTIONS", "MEASURED")
	for line := range strings.Lines(out) {
		cells := strings.Split(line, "|")
		if len(cells) != 3 {
			return fmt.Errorf("the script said %q", line)
		}
		t.Add(cells...)
	}
	return t.Write(to)
}

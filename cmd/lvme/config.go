package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/table"
)

func newConfig(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check a configuration file", Args: cobra.NoArgs}
	cmd.AddCommand(&cobra.Command{
		Use: "check FILE", Short: "Name every fault of a configuration file, or show what it means",
		Long:    "Name every fault of a configuration file at once, or show what its drive classes\nmean with all defaults filled in. FILE may be - for standard input.",
		Example: "  lvme config check /etc/lvme/config.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return env.checkConfig(args[0])
		},
	})
	return cmd
}

func (env *environment) checkConfig(file string) error {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(env.stdin)
	} else {
		data, err = env.readFile(file)
	}
	if err != nil {
		return err
	}
	cfg, err := drive.ParseConfig(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := write(env.stdout, output{form: asTable}, nil, cfg.Classes, classColumns); err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "\n%s is valid. The default class is %s; the node publishes at most %d volumes; filesystems are trimmed %s.\n",
		file, cfg.Default().Name, cfg.MaxVolumes, trims(cfg))
	return nil
}

func trims(cfg drive.Config) string {
	if cfg.TrimEvery == 0 {
		return "never"
	}
	return "every " + strconv.FormatFloat(cfg.TrimEvery.Hours(), 'g', -1, 64) + " hours"
}

var classColumns = []column[drive.Class]{
	{"CLASS", false, func(c drive.Class) string { return c.Name }},
	{"LAYOUT", false, func(c drive.Class) string { return string(c.Layout) }},
	{"PLACEMENT", false, func(c drive.Class) string { return string(c.Placement) }},
	{"THIN", false, func(c drive.Class) string { return share(c.Thin.Share) }},
	{"CHUNK", false, func(c drive.Class) string { return size(c.Thin.ChunkSize) }},
	{"OVERCOMMIT", false, func(c drive.Class) string { return strconv.FormatFloat(c.Thin.Overcommit, 'g', -1, 64) }},
	{"GIVE-BACK", false, func(c drive.Class) string { return yesNo(c.Thin.GiveBack) }},
	{"THICK", false, func(c drive.Class) string { return share(c.Thick.Share) }},
	{"RESERVE", false, func(c drive.Class) string { return share(c.Reserve) }},
	{"AUTO", false, func(c drive.Class) string { return yesNo(c.Auto) }},
	{"DRIVES", false, func(c drive.Class) string { return selects(c.Select) }},
}

func share(percent int) string {
	if percent == 0 {
		return ""
	}
	return strconv.Itoa(percent) + "%"
}

// selects says a selector in words.
func selects(s drive.Selector) string {
	if s.Empty() {
		return "every NVMe drive"
	}
	var parts []string
	for _, l := range []struct {
		what string
		any  []string
	}{{"transport", s.Transport}, {"model", s.Models}, {"serial", s.Serials}, {"path", s.Paths}} {
		if len(l.any) > 0 {
			parts = append(parts, l.what+" "+strings.Join(l.any, "|"))
		}
	}
	if len(s.NUMANodes) > 0 {
		parts = append(parts, "NUMA "+strings.Trim(strings.ReplaceAll(fmt.Sprint(s.NUMANodes), " ", "|"), "[]"))
	}
	if s.MinSize > 0 {
		parts = append(parts, "from "+table.Bytes(s.MinSize))
	}
	if s.MaxSize > 0 {
		parts = append(parts, "up to "+table.Bytes(s.MaxSize))
	}
	return strings.Join(parts, ", ")
}

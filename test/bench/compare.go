package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/speed"
	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// comparison measures the same with one setting after the other, each on a node of its own.
type comparison struct {
	name, text        string
	limit             bed.Limit // of each drive
	size              int64     // of each volume, MiB
	layers, workloads string
	variants          []variant
}

// variant is a way in which something can be set. The first of several is what the others are compared with.
type variant struct {
	name string
	set  func(*settings)
}

// slow is a drive that is the limit of all that is done to it, quick one that is the limit of long I/Os only.
var (
	slow  = bed.Limit{IOPS: 200, BytesPerSecond: 48 << 20}
	quick = bed.Limit{IOPS: 1000, BytesPerSecond: 48 << 20}
)

// unzeroed has the pool hand out chunks as they are, which lvme never does: a tenant would read another's blocks.
const unzeroed = `lvs --noheadings --options vg_name,lv_name --separator / --select 'lv_attr=~^t' | xargs lvchange --zero n`

// onFilesystems is the comparison that a script makes, beside no agent.
const onFilesystems = "filesystem"

var comparisons = []comparison{
	{"chunk", "size of the thin pool's chunks, where each write is the first to its chunk", slow, 512, "raw,thin-new,thin-snap", "randwrite-4k,write-1m,fdatasync-4k", []variant{
		{"512Ki", func(*settings) {}},
		{"64Ki", func(s *settings) { s.chunk = "64Ki" }},
		{"256Ki", func(s *settings) { s.chunk = "256Ki" }},
		{"1Mi", func(s *settings) { s.chunk = "1Mi" }},
		{"512Ki-unzeroed", func(s *settings) { s.prepare = unzeroed }},
	}},
	{"stripe", "one drive, and two with stripes of these sizes", quick, 512, "thick,thick-xfs", "randread-4k-deep,read-128k,read-1m,write-1m", []variant{
		{"one", func(*settings) {}},
		{"64Ki", func(s *settings) { s.stripe = "64Ki" }},
		{"256Ki", func(s *settings) { s.stripe = "256Ki" }},
		{"1Mi", func(s *settings) { s.stripe = "1Mi" }},
	}},
	{"profile", "read-ahead, mkfs and mount options of the profiles", quick, 1024, "thick-ext4,thick-xfs", "kafka,hdfs,training,wal", []variant{
		{"general", func(s *settings) { s.profile = "general" }},
		{"kafka", func(s *settings) { s.profile = "kafka" }},
		{"hdfs", func(s *settings) { s.profile = "hdfs" }},
		{"training", func(s *settings) { s.profile = "training" }},
		{"database", func(s *settings) { s.profile = "database" }},
	}},
	{"scheduler", "the drive's I/O scheduler", bed.Limit{}, 512, "thick", "randread-4k,randread-4k-deep,randwrite-4k-deep,write-128k,fdatasync-4k", []variant{
		{"none", func(*settings) {}},
		{"mq-deadline", func(s *settings) { s.prepare = schedule("mq-deadline") }},
		{"kyber", func(s *settings) { s.prepare = schedule("kyber") }},
		{"bfq", func(s *settings) { s.prepare = schedule("bfq") }},
	}},
	{name: onFilesystems, text: "mkfs and mount options"},
}

// schedule gives every drive a scheduler.
func schedule(name string) string {
	return fmt.Sprintf(`modprobe %s 2>/dev/null || modprobe %s-iosched; for f in /sys/block/nvme*n1/queue/scheduler; do echo %s >$f; done`, name, name, name)
}

// compareAll shows what each setting is worth. Nothing is demanded but that all is measured.
func (s settings) compareAll(ctx context.Context, binary string, say func(string, ...any), to io.Writer) error {
	wanted, err := speed.Pick(comparisons, func(c comparison) string { return c.name }, s.only)
	if err != nil {
		return fmt.Errorf("-settings: %w", err)
	}
	for _, c := range wanted {
		say("\n== %s: %s; drives: %s", c.name, c.text, c.limit)
		if c.name == onFilesystems {
			err = compareFilesystems(ctx, to)
		} else {
			err = c.compare(ctx, s, binary, say, to)
		}
		if err != nil {
			return fmt.Errorf("compare settings: %s: %w", c.name, err)
		}
	}
	return nil
}

// compare measures each variant.
func (c comparison) compare(ctx context.Context, s settings, binary string, say func(string, ...any), to io.Writer) error {
	s.size, s.layers, s.workloads = c.size, c.layers, c.workloads
	var reports []speed.Report
	for _, v := range c.variants {
		mine := s
		v.set(&mine)
		say("%s", v.name)
		err := mine.onNode(ctx, binary, func(node *bed.Node) error {
			if err := mine.throttle(ctx, node, c.limit); err != nil {
				return err
			}
			report, err := mine.bench(ctx, node, c.name+"-"+v.name)
			if err == nil && len(report.Missing) > 0 {
				err = fmt.Errorf("not measured: %s", strings.Join(report.Missing, "; "))
			}
			reports = append(reports, report)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	c.show(to, reports)
	return nil
}

// show writes what each workload reaches by each variant: its median, and as a part of the first variant's.
func (c comparison) show(to io.Writer, reports []speed.Report) {
	heads := []string{"WORKLOAD", "LAYER"}
	for _, v := range c.variants {
		heads = append(heads, v.name)
	}
	t := table.New(heads...)
	for _, w := range speed.Workloads {
		for _, l := range speed.Layers {
			first, ok := reports[0].Result(l.Name, w.Name)
			if !ok {
				continue
			}
			cells := []string{w.Name, l.Name, speed.Rate(w, first.Median)}
			for _, r := range reports[1:] {
				one, _ := r.Result(l.Name, w.Name)
				cells = append(cells, fmt.Sprintf("%s (%.2f)", speed.Rate(w, one.Median), one.Median.BytesPerSecond/first.Median.BytesPerSecond))
			}
			t.Add(cells...)
		}
	}
	_ = t.Write(to) // to a terminal
}

// prepared does to the node what a variant asks for.
func (s settings) prepared(ctx context.Context, node *bed.Node) error {
	if s.prepare == "" {
		return nil
	}
	_, err := rig.Sh(ctx, node, "set -eo pipefail; "+s.prepare)
	return err
}

package figure

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/lvme/lvme/internal/table"
)

// Write writes the report as "table" or "json".
func (r Report) Write(w io.Writer, format string) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	case "table":
		return r.writeTables(w)
	}
	return fmt.Errorf("-o is %q, must be table or json", format)
}

func (r Report) writeTables(w io.Writer) error {
	p := printer{w: w}
	for _, n := range r.Nodes {
		p.say("\n%s, kernel %s, LVM %s, %d CPUs", groups(n.Groups), n.Kernel, n.LVM, n.CPUs)
		for _, s := range n.Sizes {
			p.verbs(s)
		}
		p.atOnce(n)
		p.starts(n)
		if n.Large != nil {
			p.large(*n.Large)
		}
	}
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) say(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) table(title string, t *table.Table) {
	p.say("\n%s\n", title)
	if p.err == nil {
		p.err = t.Write(p.w)
	}
}

func (p *printer) verbs(s Size) {
	t := table.New("VERB", "SIDE", "COMMANDS", "CHANGES", "ROUNDS", "P50 ms", "P99 ms", "OWN ms", "BY BARE", "BY DEFAULTS")
	for _, v := range s.Verbs {
		for _, side := range v.Sides {
			t.Add(v.Name, side.Name, strconv.Itoa(side.Commands), strconv.Itoa(side.Changes), strconv.Itoa(len(side.Times)),
				ms(side.Times.Median()), ms(side.Times.Percentile(99)), ms(side.Own.Median()),
				ratio(side.Times.Ratio(v.Side(Bare).Times)), ratio(side.Times.Ratio(v.Side(Defaults).Times)))
		}
	}
	p.table(fmt.Sprintf("%d volumes on the node", s.Volumes), t)
}

func (p *printer) atOnce(n Node) {
	t := table.New("VOLUMES", "AT ONCE", "FAILED", "ALL ms", "BARE ms", "BY BARE", "CALL P50 ms", "CALL P99 ms", "CALL MAX ms", "DELETED ms")
	for _, s := range n.Sizes {
		for _, a := range s.AtOnce {
			t.Add(strconv.Itoa(s.Volumes), strconv.Itoa(a.Calls), strconv.Itoa(a.Failed), ms(a.Lvme.Median()), ms(a.Bare.Median()), ratio(a.Lvme.Ratio(a.Bare)),
				ms(a.Each.Median()), ms(a.Each.Percentile(99)), ms(a.Each.Percentile(100)), ms(a.Deleted.Median()))
		}
	}
	if t.Len() > 0 {
		p.table("CreateVolume many times at once", t)
	}
}

func (p *printer) starts(n Node) {
	t := table.New("VOLUMES", "START ms", "REPORT ms", "BY REPORT", "COMMANDS", "RESIDENT MiB", "AFTER ALL MiB", "PEAK MiB", "CPU AT REST")
	for _, s := range n.Sizes {
		t.Add(strconv.Itoa(s.Volumes), ms(s.Start.Times.Median()), ms(s.Start.Report.Median()), ratio(s.Start.Times.Ratio(s.Start.Report)),
			strconv.Itoa(len(s.Start.Commands)), mib(s.Rest.StartKiB), mib(s.Rest.ResidentKiB), mib(s.Rest.PeakKiB), share(s.Rest))
	}
	p.table("The agent's start, and the agent at rest", t)
}

func (p *printer) large(l Large) {
	t := table.New("GiB MAPPED", "lvremove ms", "DELETE ms", "DELETE AND GIVE BACK ms")
	t.Add(strconv.FormatInt(l.GiB, 10), ms(l.Bare), ms(l.Kept), ms(l.GivenBack))
	p.table("Deleting a large thin volume", t)
}

func ms(m Milliseconds) string {
	if m == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", m)
}

func ratio(r float64) string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", r)
}

func mib(kib int) string { return fmt.Sprintf("%.1f", float64(kib)/1024) }

func share(r Rest) string {
	if r.Window == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f %%", 100*r.CPU.Seconds()/r.Window.Seconds())
}

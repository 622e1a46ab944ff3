package walk

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/test/torture/model"
)

// Report is what a walk did and found.
type Report struct {
	Name string
	// Steps counts calls and groups of calls, Looks the comparisons.
	Steps, Looks int
	// Volumes counts objects that were compared, Contents checksums that were
	// verified, Records what a power cut could have taken, Checks filesystems.
	Volumes, Contents, Records, Checks int
	// Chunks are those that power cuts left in pools' counts for ever.
	Chunks        int64
	Verbs, Faults map[string]int
	Findings      []model.Finding
	Took          time.Duration
}

func newReport(name string) *Report {
	return &Report{Name: name, Verbs: map[string]int{}, Faults: map[string]int{}}
}

// Add adds another walk's report.
func (r *Report) Add(o *Report) {
	r.Steps, r.Looks, r.Volumes, r.Contents = r.Steps+o.Steps, r.Looks+o.Looks, r.Volumes+o.Volumes, r.Contents+o.Contents
	r.Records, r.Checks, r.Took = r.Records+o.Records, r.Checks+o.Checks, r.Took+o.Took
	r.Chunks += o.Chunks
	for verb, n := range o.Verbs {
		r.Verbs[verb] += n
	}
	for fault, n := range o.Faults {
		r.Faults[fault] += n
	}
	r.Findings = append(r.Findings, o.Findings...)
}

// count is how many findings are of that kind.
func (r *Report) count(k model.Kind) (n int) {
	for _, f := range r.Findings {
		if f.Kind == k {
			n++
		}
	}
	return n
}

// String is the report as tables.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d steps in %s\n\n", r.Name, r.Steps, r.Took.Round(time.Second))
	table(&b, "fault", r.Faults)
	table(&b, "verb", r.Verbs)
	fmt.Fprintf(&b, "| checked | times |\n|---|---|\n| everything compared | %d |\n| volumes and snapshots, each time | %d |\n", r.Looks, r.Volumes)
	fmt.Fprintf(&b, "| contents by checksum | %d |\n| acknowledged records after a power cut | %d |\n| filesystems by fsck | %d |\n", r.Contents, r.Records, r.Checks)
	fmt.Fprintf(&b, "| chunks that power cuts cost | %d |\n\n", r.Chunks)
	b.WriteString("| finding | must be | is |\n|---|---|---|\n")
	for _, k := range model.Kinds {
		fmt.Fprintf(&b, "| %s | 0 | %d |\n", k, r.count(k))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n%s\n", f)
	}
	return b.String()
}

func table(b *strings.Builder, what string, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s | times |\n|---|---|\n", what)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, "| %s | %d |\n", name, counts[name])
	}
	b.WriteByte('\n')
}

package walk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lvme/lvme/test/torture/model"
	"github.com/lvme/lvme/test/torture/mortal"
)

// Row is one death: of an agent or its command, at one change of one verb.
type Row struct {
	Verb string
	// number is the row's place among all that there are.
	number int
	// Changes are all of the verb's; the death came at the At-th.
	Changes []string
	At      int
	How     mortal.How
	// Retried: the call was made again; else the agent was started anew, and
	// nobody called again.
	Retried bool
	// Came: it came; a command may have been faster.
	Came     bool
	Findings []model.Finding
}

// String is the row in a log.
func (r Row) String() string {
	text := fmt.Sprintf("%s: %d of %d, %s: %s", r.Verb, r.At, len(r.Changes), r.Changes[r.At-1], r.How)
	if r.Retried {
		text += ", retried"
	}
	if !r.Came {
		text += ": did not come"
	}
	for _, f := range r.Findings {
		text += "\n\t" + f.String()
	}
	return text
}

// TableOptions say which deaths.
type TableOptions struct {
	Ways []mortal.How
	// Only, where set, says which verbs.
	Only func(verb string) bool
	// Every: of the deaths of a verb only each so-many-th, 1 if 0; First is the
	// first of them.
	Every, First int
	Log          func(format string, args ...any)
	// Done is told of every row.
	Done func(Row)
}

// Table goes through the deaths at every change of every verb, on a host as
// Run takes it.
func Table(ctx context.Context, h Host, o TableOptions) (rows []Row, err error) {
	w, err := begin(ctx, h, Options{Dice: Seeded(1), Log: o.Log, Name: "deaths"})
	if err != nil {
		return nil, err
	}
	w.thorough = true
	defer func() { err = errors.Join(err, h.Kill(context.WithoutCancel(ctx))) }()
	for number, t := range trials {
		if o.Only != nil && !o.Only(t.verb) {
			continue
		}
		changes, err := w.rehearse(ctx, t)
		if err == nil && rows == nil {
			// The first call of all took many times as long as those after it.
			changes, err = w.rehearse(ctx, t)
		}
		if err != nil {
			return rows, fmt.Errorf("%s, undisturbed: %w: %v", t.verb, err, w.report.Findings)
		}
		for i, r := range deaths(t.verb, changes, o.Ways) {
			r.number = number*placesOfVerb + i
			if i%max(1, o.Every) != o.First%max(1, o.Every) {
				continue
			}
			for _, moment := range r.moments(changes[r.At-1].Took) {
				if err := w.die(ctx, t, &r, moment); err != nil {
					return append(rows, r), fmt.Errorf("%s: %w", r, err)
				}
				if r.Came || len(r.Findings) > 0 {
					break
				}
			}
			o.Done(r)
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// deaths are all that a verb can die.
func deaths(verb string, changes []Change, ways []mortal.How) (rows []Row) {
	var names []string
	for _, c := range changes {
		names = append(names, strings.TrimPrefix(c.What, "run:"))
	}
	for i := range changes {
		for _, how := range ways {
			if how == mortal.Half && names[i] != "lvcreate" {
				continue
			}
			for _, retried := range []bool{true, false} {
				rows = append(rows, Row{Verb: verb, Changes: names, At: i + 1, How: how, Retried: retried})
			}
		}
	}
	return rows
}

// rehearse makes a verb's call undisturbed and says what changes it makes.
func (w *Walk) rehearse(ctx context.Context, t trial) ([]Change, error) {
	a, err := t.prepare(ctx, w)
	if err != nil {
		return nil, err
	}
	if _, err := w.host.Changes(ctx); err != nil {
		return nil, err
	}
	if err := w.do(ctx, a); err != nil {
		return nil, err
	}
	if t.wipes {
		if _, err := w.wiped(ctx); err != nil {
			return nil, err
		}
	}
	changes, err := w.host.Changes(ctx)
	if err == nil && len(changes) == 0 {
		err = errors.New("it changes nothing")
	}
	return changes, errors.Join(err, w.finish(ctx))
}

// moments are when the death is to come, counted from the beginning of a change
// that took so long undisturbed. A command may be faster another time, so each is
// tried after the one before it came too late.
func (r Row) moments(took time.Duration) []time.Duration {
	switch program := !strings.Contains(r.Changes[r.At-1], ":"); {
	case r.How == mortal.Cut && program:
		return []time.Duration{took / 2, took / 4, took / 8}
	case r.How == mortal.CutLate && program:
		return []time.Duration{took * 9 / 10, took * 7 / 10, took / 2}
	}
	return []time.Duration{took / 2}
}

// die makes a verb's call with a death in it. What is found is the row's; the
// error is of the host, or that nothing more can be done with it.
func (w *Walk) die(ctx context.Context, t trial, r *Row, moment time.Duration) error {
	a, err := t.prepare(ctx, w)
	if err != nil {
		return fmt.Errorf("prepare: %w: %v", err, w.report.Findings)
	}
	f := &fault{deed: mortal.Deed{At: r.At, How: r.How, Delay: moment}, retried: r.Retried, wipes: t.wipes}
	before := w.report.Faults[f.kind()]
	w.Log("%s", r)
	err = w.execute(ctx, a, f)
	r.Came = w.report.Faults[f.kind()] > before
	// A wiper that failed tries again after a while, or at a new start.
	if err == nil && !r.How.KillsAgent() && (!r.Retried || t.wipes) {
		err = w.rest(ctx, &fault{what: restarted})
	}
	if err == nil {
		err = w.finish(ctx)
	}
	r.Findings, w.report.Findings = w.report.Findings, nil
	return err
}

// placesOfVerb is more than a verb has deaths.
const placesOfVerb = 1000

// Summary is a table of the rows by verbs. They may come from several parts of
// the table that were gone through at once.
func Summary(rows []Row) string {
	slices.SortFunc(rows, func(a, b Row) int { return a.number - b.number })
	var b strings.Builder
	b.WriteString("| verb | its changes of the host | deaths | retried | started anew, not retried | not as it must be |\n|---|---|---|---|---|---|\n")
	var total [4]int
	for i := 0; i < len(rows); {
		end := i
		for end < len(rows) && rows[end].Verb == rows[i].Verb {
			end++
		}
		of := rows[i:end]
		n := count(of)
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", of[0].Verb, strings.Join(of[0].Changes, ", "), n[0], n[1], n[2], n[3])
		for k := range total {
			total[k] += n[k]
		}
		i = end
	}
	fmt.Fprintf(&b, "| all | | %d | %d | %d | %d |\n", total[0], total[1], total[2], total[3])
	return b.String()
}

// count counts the deaths that came: all, retried, not, and those with findings.
func count(rows []Row) (n [4]int) {
	for _, r := range rows {
		if !r.Came {
			continue
		}
		n[0]++
		if r.Retried {
			n[1]++
		} else {
			n[2]++
		}
		if len(r.Findings) > 0 {
			n[3]++
		}
	}
	return n
}

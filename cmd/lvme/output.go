package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/internal/table"
)

// The forms of output.
const (
	asTable = "table"
	asWide  = "wide"
	asJSON  = "json"
)

var forms = []string{asTable, asWide, asJSON}

// output says how a command shows what it shows. It is a flag's value, so that
// a wrong one is found before anything is done.
type output struct{ form string }

// Set implements pflag.Value.
func (o *output) Set(form string) error {
	if !slices.Contains(forms, form) {
		return fmt.Errorf("must be %s", strings.Join(forms, ", "))
	}
	o.form = form
	return nil
}

// String implements pflag.Value.
func (o *output) String() string { return o.form }

// Type implements pflag.Value.
func (o *output) Type() string { return strings.Join(forms, "|") }

func (o *output) add(cmd *cobra.Command) {
	o.form = asTable
	cmd.Flags().VarP(o, "output", "o", "form of the output; wide has more columns, json has sizes in bytes")
	// Fails only for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp))
}

// column is one column of a table of T.
type column[T any] struct {
	head string
	wide bool // shown with -o wide only
	cell func(T) string
}

// write writes the rows as a table, or the whole as JSON. A table without rows
// is a word.
func write[T any](w io.Writer, o output, whole any, rows []T, columns []column[T]) error {
	if o.form == asJSON {
		return writeJSON(w, whole)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "None.")
		return err
	}
	shown := slices.DeleteFunc(slices.Clone(columns), func(c column[T]) bool { return c.wide && o.form != asWide })
	var heads []string
	for _, c := range shown {
		heads = append(heads, c.head)
	}
	t := table.New(heads...)
	for _, row := range rows {
		var cells []string
		for _, c := range shown {
			cells = append(cells, c.cell(row))
		}
		t.Add(cells...)
	}
	return t.Write(w)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// list is never null in JSON.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/internal/table"
	"github.com/lvme/lvme/volume"
)

const doctorHelp = `Look at this node's programs, drives, volume groups, pools, volumes and mounts,
and tell everything that is not as it should be, with what it means and the
command that mends it. Nothing is changed.

  error     data or the separation of tenants is at stake, or volumes are not
            served
  warning   all is served, and something is not as it should be
  info      worth to know: the agent mends it by itself, or it does no harm

The exit code is 0 when there is no error and no warning, and 3 when there is.
docs/operations.md says more of each finding, by the word in CHECK.`

// errFindings says, by the exit code alone, that something is wrong.
var errFindings = errors.New("there are findings")

func newDoctor(env *environment) *cobra.Command {
	var f storeFlags
	var out output
	var kubeletDir string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Tell what is wrong with this node, and what mends it", Long: doctorHelp,
		Example: "  lvme doctor\n  lvme doctor -o json | jq -r '.findings[] | select(.severity == \"error\") | .mend'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := env.enter(); err != nil {
				return err
			}
			cfg, err := env.loadConfig(cmd, f.config, offeredConfig)
			if err != nil {
				return err
			}
			ctx := klog.NewContext(cmd.Context(), newNotices(env.stderr))
			host, err := env.host(ctx, "")
			if err != nil {
				return err
			}
			found, err := agent.Doctor(ctx, host, f.stateDir, cfg, kubeletDir)
			said := env.tell(found, err == nil, out)
			if err != nil {
				return err
			}
			return said
		},
	}
	f.add(cmd.Flags())
	out.add(cmd)
	cmd.Flags().StringVar(&kubeletDir, "kubelet-dir", agent.DefaultKubeletDir, "directory below which volumes are mounted, the kubelet's --root-dir;\nempty for anywhere")
	return cmd
}

// doctorView is `lvme doctor -o json`.
type doctorView struct {
	Findings []findingView `json:"findings"`
}

type findingView struct {
	Severity string `json:"severity"`
	Check    string `json:"check"`
	On       string `json:"on"`
	Meaning  string `json:"meaning"`
	Mend     string `json:"mend,omitempty"`
}

func viewFindings(found []volume.Finding) doctorView {
	v := doctorView{Findings: []findingView{}}
	for _, f := range found {
		v.Findings = append(v.Findings, findingView{string(f.Severity), string(f.Check), f.On, f.Meaning, f.Mend})
	}
	return v
}

// tell shows the findings; the error says that some of them want something
// done. whole says that everything could be looked at.
func (env *environment) tell(found []volume.Finding, whole bool, out output) error {
	v := viewFindings(found)
	var err error
	switch {
	case out.form != asTable:
		err = write(env.stdout, out, v, v.Findings, findingColumns)
	case len(found) > 0:
		err = env.tellTable(v.Findings, out)
	case whole:
		_, err = fmt.Fprintln(env.stdout, "Nothing is wrong.")
	}
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.Severity != volume.SeverityInfo {
			return errFindings
		}
	}
	return nil
}

// tellTable writes what was found and, below, what mends it: two long texts do
// not fit into one line.
func (env *environment) tellTable(found []findingView, out output) error {
	if err := write(env.stdout, out, nil, found, findingColumns); err != nil {
		return err
	}
	mend := table.New("MEND", "ON", "COMMAND")
	for _, f := range found {
		if f.Mend != "" {
			mend.Add(f.Check, f.On, f.Mend)
		}
	}
	if mend.Len() == 0 {
		return nil
	}
	fmt.Fprintln(env.stdout)
	return mend.Write(env.stdout)
}

var findingColumns = []column[findingView]{
	{"SEVERITY", false, func(f findingView) string { return f.Severity }},
	{"CHECK", false, func(f findingView) string { return f.Check }},
	{"ON", false, func(f findingView) string { return f.On }},
	{"MEND", true, func(f findingView) string { return f.Mend }},
	{"MEANING", false, func(f findingView) string { return f.Meaning }},
}

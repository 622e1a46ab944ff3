package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/driver"
)

// Exit codes, docs/commands.md.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried, or refused, and stderr says why
	exitUsage  = 2 // the command line is wrong; nothing was tried
	exitFound  = 3 // of `lvme doctor`: something is wrong
)

const rootHelp = `lvme gives the NVMe drives of this node to Kubernetes as fast local volumes,
kept in LVM thin pools.

The agent serves the volumes. The other commands show what it works with and
decide which drives it may have; they work whether it runs or not.`

const rootExample = `  lvme drives                 which drives there are, and which are free
  lvme init --dry-run         what taking the free ones would make
  lvme init                   take them
  lvme agent                  serve volumes on them
  lvme pools                  how full they are
  lvme doctor                 what is wrong, and what mends it`

// program is the root command with all commands below it.
type program struct {
	env  *environment
	root *cobra.Command
	// understood says that the command line was right.
	understood bool
}

func newProgram(env *environment) *program {
	p := &program{env: env}
	root := &cobra.Command{
		Use: "lvme", Short: "Local NVMe volumes for Kubernetes", Long: rootHelp, Example: rootExample, Version: driver.Version(),
		SilenceErrors: true, SilenceUsage: true,
		// Whatever fails before this is called is an error of usage.
		PersistentPreRun: func(*cobra.Command, []string) { p.understood = true },
	}
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	addVerbosity(root)
	root.AddGroup(&cobra.Group{ID: "show", Title: "Show:"}, &cobra.Group{ID: "change", Title: "Change:"}, &cobra.Group{ID: "serve", Title: "Serve:"})
	group(root, "show", newDrives(env), newPools(env), newVolumes(env), newSnapshots(env), newOrphans(env), newDoctor(env), newBenchmark(env))
	group(root, "change", newInit(env), newAdopt(env))
	group(root, "serve", newAgent(env), newController(env))
	root.AddCommand(newConfig(env), newVersion(env))
	p.root = root
	return p
}

func group(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// addVerbosity adds klog's -v, and of its flags nothing else.
func addVerbosity(root *cobra.Command) {
	var all flag.FlagSet
	klog.InitFlags(&all)
	root.PersistentFlags().AddGoFlag(all.Lookup("v"))
	v := root.PersistentFlags().Lookup("v")
	v.Usage = "how much to log, a `level`: 0 what changes, 4 every call"
}

// run runs the command that args say and returns the exit code.
func (p *program) run(args []string) int {
	p.root.SetArgs(args)
	cmd, err := p.root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errFindings) {
		return exitFound
	}
	complain(p.env, err)
	if p.understood && !errors.As(err, new(usageError)) {
		return exitFailed
	}
	fmt.Fprintf(p.env.stderr, "See '%s --help'.\n", cmd.CommandPath())
	return exitUsage
}

// usageError says that the command line is wrong in a way that only the
// command itself can see.
type usageError struct{ error }

// complain writes an error as lines of "lvme: ".
func complain(env *environment, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(env.stderr, "lvme: "+strings.TrimRight(line, "\n"))
	}
}

// confirm asks a question and says whether the answer is yes. Nobody is asked
// who cannot answer.
func (env *environment) confirm(question string) error {
	if !env.interactive {
		return errors.New("nobody can be asked here: say --yes to go on without a question; nothing was changed")
	}
	fmt.Fprintf(env.stderr, "%s [y/N] ", question)
	var answer string
	_, err := fmt.Fscanln(env.stdin, &answer)
	if answer = strings.ToLower(answer); err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return errors.New("not confirmed: nothing was changed")
}

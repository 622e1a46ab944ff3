package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/volume"
)

const adoptHelp = `Make this host the node of the store that its drives carry.

That is to be done when the drives of a node were moved to another chassis, or
when its system was installed anew: the drives carry volumes, and this host does
not know that they are its own. An agent that waits goes on by itself.

No other host may serve that store: its volumes are here now.`

func newAdopt(env *environment) *cobra.Command {
	var f storeFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "adopt", Short: "Make the store on moved drives this node's", Long: adoptHelp,
		Example: "  lvme drives\n  lvme adopt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := env.node(cmd, f)
			if err != nil {
				return err
			}
			return env.adopt(n, yes)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (env *environment) adopt(n node, yes bool) error {
	rec, err := hostrecord.Load(n.options.Dir, n.options.Machine)
	switch {
	case err == nil:
		fmt.Fprintf(env.stdout, "Nothing to do: this host is the node of store %s. Nothing was changed.\n", rec.StoreKey)
		return nil
	case !errors.Is(err, hostrecord.ErrNone) && !errors.Is(err, hostrecord.ErrOtherMachine):
		return err
	}
	s, err := n.look()
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Key() == "" {
		return errors.New("there is nothing to adopt: no drive of this node carries a store. The agent makes a new store at its first start")
	}
	if err := env.mayAdopt(n, s, yes); err != nil {
		return err
	}
	key, err := volume.Adopt(n.ctx, n.options)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "This host is the node of store %s now.\n", key)
	return nil
}

// mayAdopt shows the store and asks.
func (env *environment) mayAdopt(n node, s *volume.Store, yes bool) error {
	fmt.Fprintf(env.stdout, "The drives of this node carry store %s:\n\n", s.Key())
	pools := viewPools(s.Key(), s.Pools(n.ctx))
	err := write(env.stdout, output{form: asTable}, pools, pools.Pools, poolColumns)
	if err != nil || yes {
		return err
	}
	return env.confirm("\nNo other host may serve it. Make this host its node?")
}

package main

import (
	"context"
	"fmt"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
)

const agentHelp = `Serve the volumes of this node: the CSI driver csi.lvme.dev on a Unix socket.

The agent follows drives that come and go, takes free ones of classes with
"auto: true", and wipes what was deleted. In a container it joins the host's
namespaces and uses the host's LVM, which must be installed (package lvm2).

In a cluster it registers itself with the kubelet (--register), and serves the
cluster's router, lvme controller, over mutual TLS (--cluster-address).

On SIGTERM it takes no new calls, lets running ones end, and waits for all LVM
commands. A second signal ends it at once.`

func newAgent(env *environment) *cobra.Command {
	o := agent.Options{Config: drive.DefaultConfig()}
	var config string
	cmd := &cobra.Command{
		Use: "agent", Short: "Serve the volumes of this node (CSI)", Long: agentHelp,
		Example: "  lvme agent\n  lvme agent --http 9810\n  lvme agent --socket /var/lib/kubelet/plugins/csi.lvme.dev/csi.sock --node-id \"$NODE_NAME\" \\\n    --register auto --cluster-address :9811 --http 0.0.0.0:9810",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.Validate(); err != nil {
				return usageError{err}
			}
			if err := env.enter(); err != nil {
				return err
			}
			if o.Config, err = env.loadConfig(cmd, config); err != nil {
				return err
			}
			o.TLSDir = env.given(o.TLSDir)
			defer env.offer(cmd.Context(), config)()
			return env.serve(cmd.Context(), o)
		},
	}
	addConfig(cmd.Flags(), &config)
	o.Flags(cmd.Flags(), env.nodeID())
	return cmd
}

// nodeID is the name of this host, which the kubelet takes for the node's name
// too unless it is told otherwise.
func (env *environment) nodeID() string {
	name, err := env.hostname()
	if err != nil {
		return "" // which Validate refuses
	}
	return name
}

// serve runs the agent until a signal comes.
func (env *environment) serve(ctx context.Context, o agent.Options) error {
	env.limitMemory()
	host, err := env.host(ctx, o.KubeletDir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal has its usual effect
	a, err := agent.New(ctx, o, host)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	go func() {
		select {
		case <-a.Opened():
			releaseProgram(ctx)
		case <-ctx.Done():
		}
	}()
	return a.Run(ctx)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/agent"
	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/volume"
)

// defaultConfig is read when it exists; a file that is named must exist.
const defaultConfig = "/etc/lvme/config.yaml"

// storeFlags say where the store's configuration and record are.
type storeFlags struct{ config, stateDir string }

func (f *storeFlags) add(fs *pflag.FlagSet) {
	addConfig(fs, &f.config)
	fs.StringVar(&f.stateDir, "state-dir", hostrecord.Dir, "directory of the host record")
}

func addConfig(fs *pflag.FlagSet, config *string) {
	fs.StringVar(config, "config", defaultConfig, "`file` with the drive classes; without one, every NVMe drive may be taken\nby hand into the class \"default\"")
}

// loadConfig reads the drive configuration: the file that the command line
// names, else the first that exists of first and the default file.
func (env *environment) loadConfig(cmd *cobra.Command, path string, first ...string) (drive.Config, error) {
	if cmd.Flags().Changed("config") {
		return env.readConfig(path)
	}
	for _, path := range append(first, path) {
		cfg, err := env.readConfig(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return cfg, err
		}
	}
	return drive.DefaultConfig(), nil
}

func (env *environment) readConfig(path string) (drive.Config, error) {
	data, err := env.readFile(path)
	if err != nil {
		return drive.Config{}, fmt.Errorf("--config: %w", err)
	}
	cfg, err := drive.ParseConfig(data)
	if err != nil {
		return drive.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// node is this node as a command finds it.
type node struct {
	ctx     context.Context
	options volume.Options
}

// node gets everything ready to open a store.
func (env *environment) node(cmd *cobra.Command, f storeFlags) (node, error) {
	if err := env.enter(); err != nil {
		return node{}, err
	}
	// A command means the drives as the agent does that runs here.
	cfg, err := env.loadConfig(cmd, f.config, offeredConfig)
	if err != nil {
		return node{}, err
	}
	ctx := klog.NewContext(cmd.Context(), newNotices(env.stderr))
	host, err := env.host(ctx, "")
	if err != nil {
		return node{}, err
	}
	if err := agent.CheckHost(ctx, host, cfg); err != nil {
		return node{}, err
	}
	return node{ctx: ctx, options: host.StoreOptions(f.stateDir, cfg)}, nil
}

// look opens the store to show it: nothing is changed.
func (n node) look() (*volume.Store, error) { return n.open(true) }

// change opens the store to change it.
func (n node) change() (*volume.Store, error) { return n.open(false) }

func (n node) open(readOnly bool) (*volume.Store, error) {
	o := n.options
	o.ReadOnly = readOnly
	return volume.Open(n.ctx, o)
}

// show runs a showing command: it opens the store, hands it on, closes it.
func (env *environment) show(cmd *cobra.Command, f storeFlags, with func(context.Context, *volume.Store) error) error {
	n, err := env.node(cmd, f)
	if err != nil {
		return err
	}
	s, err := n.look()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := n.adopted(s.Key()); err != nil {
		fmt.Fprintln(env.stderr, "lvme:", err)
	}
	return with(n.ctx, s)
}

// adopted says whether this host is the node of the store that was found on
// its drives; a store that is only looked at is shown before it is adopted.
func (n node) adopted(store string) error {
	if store == "" {
		return nil // there is none, and nothing to adopt
	}
	_, err := hostrecord.Load(n.options.Dir, n.options.Machine)
	if errors.Is(err, hostrecord.ErrNone) || errors.Is(err, hostrecord.ErrOtherMachine) {
		return fmt.Errorf("the drives of this node carry store %s, which is not this host's: 'lvme adopt' makes it so", store)
	}
	return err
}

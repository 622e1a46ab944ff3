package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/lvme/lvme/driver"
)

// versionView is `lvme version -o json`.
type versionView struct {
	Version   string `json:"version"`
	Driver    string `json:"driver"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

func newVersion(env *environment) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionView{driver.Version(), driver.Name, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if out.form == asJSON {
				return writeJSON(env.stdout, v)
			}
			_, err := fmt.Fprintf(env.stdout, "lvme %s (%s, %s, %s)\n", v.Version, v.Driver, v.GoVersion, v.Platform)
			return err
		},
	}
	out.add(cmd)
	return cmd
}

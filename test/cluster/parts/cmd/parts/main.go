// Command parts makes parts of a cluster and prints where they are: those named, or all that a cluster of virtual nodes
// needs. With -pin it writes the modules that the parts are built from instead.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/cluster/parts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	pin := flag.String("pin", "", "write modules/ anew in this `directory`, for the versions that stand there")
	flag.Parse()
	var err error
	if *pin != "" {
		err = parts.Pin(ctx, *pin)
	} else {
		err = run(ctx, flag.Args())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "parts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	start := time.Now()
	set, err := parts.Open(func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "parts %6.1fs: %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	})
	if err != nil {
		return err
	}
	list := slices.Concat(parts.Control(), parts.Node(), parts.Sidecars())
	if len(names) > 0 {
		list = nil
	}
	for _, name := range names {
		list = append(list, parts.Part(name))
	}
	if err := set.Ensure(ctx, list...); err != nil {
		return err
	}
	for _, p := range list {
		fmt.Println(set.Path(p))
	}
	return nil
}

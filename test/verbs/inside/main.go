// Command inside is what test/verbs runs in its node: beside an agent on the node's
// own drives it does what the agent does, in turn with it and without it. It is
// called with an order and the number of volume groups, and answers with the figures
// of the node, both JSON: once for each part of them, always with all there are. Called as lvm it notes the command and becomes the real one.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/verbs/figure"
)

func main() {
	if filepath.Base(os.Args[0]) == "lvm" {
		fmt.Fprintln(os.Stderr, note(os.Args)) // it returns only when it fails
		os.Exit(126)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("called with %q", args)
	}
	var order figure.Order
	if err := json.Unmarshal([]byte(args[0]), &order); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	groups, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return measure(ctx, order, groups, json.NewEncoder(os.Stdout))
}

// say tells how far it is.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

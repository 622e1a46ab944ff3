package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lvme/lvme/test/bed"
)

func main() {
	start := time.Now()
	log := func(f string, a ...any) {
		fmt.Fprintf(os.Stderr, "bed %.1f: "+f+"\n", append([]any{time.Since(start).Seconds()}, a...)...)
	}
	ctx := context.Background()
	if err := bed.Build(ctx, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 2 {
		n, err := bed.Start(ctx, bed.Options{Drives: []bed.Drive{{Serial: "A0"}, {Serial: "A1"}}})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		log("started")
		code, err := n.Run(ctx, bed.Cmd{Args: os.Args[2:], Stdout: os.Stdout, Stderr: os.Stderr})
		log("ran %d %v", code, err)
		log("%v", n.Close())
	}
}

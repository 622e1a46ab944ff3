// Command image puts the static binary of lvme into a container image, without a
// container daemon and without a base image: nothing of LVM, no libc, no shell.
//
// Given the same binaries and flags it makes the same image, byte for byte. It
// compiles nothing; `make image` does. Nor does it push: skopeo copy and crane push
// take what it writes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	binaries map[string]string // architecture → file
	meta     meta
	ref      string
	output   string
}

// run makes the image and prints its digest.
func run(args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	index, err := build(o.binaries, o.meta)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("digest of the image: %w", err)
	}
	if err := save(index, o.ref, o.output); err != nil {
		return fmt.Errorf("write %s: %w", o.output, err)
	}
	fmt.Fprintf(stdout, "%s@%s\n", o.ref, digest)
	return nil
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (options, error) {
	o := options{binaries: map[string]string{}}
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Func("binary", "`ARCH=FILE`, a static binary of lvme for amd64 or arm64; one for each architecture", func(s string) error {
		arch, file, ok := strings.Cut(s, "=")
		if _, known := machines[arch]; !ok || !known {
			return errors.New("must be amd64=FILE or arm64=FILE")
		}
		o.binaries[arch] = file
		return nil
	})
	fs.StringVar(&o.ref, "ref", "lvme/lvme:latest", "name and tag of the image")
	fs.StringVar(&o.output, "output", "", "`FILE` to write it to, an OCI layout in a tar that docker load takes too")
	fs.StringVar(&o.meta.version, "version", "unknown", "version, for its labels")
	fs.StringVar(&o.meta.revision, "revision", "", "commit, for its labels")
	created := fs.Int64("created", 0, "`SECONDS` since 1970 at which it counts as made, such as the commit's")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.meta.created = time.Unix(*created, 0).UTC()
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%q is no flag; see --help", fs.Arg(0))
	case len(o.binaries) == 0:
		return o, errors.New("no --binary was given; see --help")
	case o.output == "":
		return o, errors.New("no --output was given; see --help")
	}
	return o, nil
}

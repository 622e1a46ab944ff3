package main

import (
	"os"
	"testing"
)

// TestNodeTorture is a short walk with a fixed seed on a node of the bed.
func TestNodeTorture(t *testing.T) {
	if os.Getenv("LVME_TESTS") != "bed" {
		t.Skip("starts a virtual machine: set LVME_TESTS=bed after `go run ./test/bed/cmd/bed build`")
	}
	if err := run(t.Context(), flags{seed: 1, steps: 40, verbose: true}); err != nil {
		t.Fatal(err)
	}
}

package rig

import (
	"strings"
	"testing"
)

func TestTail(t *testing.T) {
	var log Tail
	for _, part := range []string{"one\ntw", "o\nthree\n"} {
		if _, err := log.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range map[int]string{1: "three", 2: "two\nthree", 3: "one\ntwo\nthree", 9: "one\ntwo\nthree"} {
		if have := log.Lines(n); have != want {
			t.Errorf("last %d lines: %q, want %q", n, have, want)
		}
	}
	if _, err := log.Write([]byte(strings.Repeat("x", 2*tailBytes) + "\nlast\n")); err != nil {
		t.Fatal(err)
	}
	if have := log.Lines(1); have != "last" || len(log.kept) != tailBytes {
		t.Errorf("after too much: %q, of %d bytes kept", have, len(log.kept))
	}
}

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, width: 70}
	s.begin(1, 2, "first")
	s.table("lvme pools", "VG\nlvme-a")
	s.end("a b c d e f g h i j k l m n o p", 1500*time.Millisecond, nil)
	s.begin(2, 2, "second")
	s.end("", time.Second, errors.New("broken\nin many lines"))
	s.summary(3 * time.Second)
	text := out.String()
	for _, want := range []string{
		"ok  1/2 first                              1.5 s  a b c d e f g h i j\n" + strings.Repeat(" ", 50) + "k l m n o p\n",
		"\n        $ lvme pools\n        VG\n        lvme-a\n",
		"FAILED  2/2 second                             1.0 s  broken\n",
		"all 2 steps as expected",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("colours where there is no terminal")
	}
}

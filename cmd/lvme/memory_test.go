package main

import (
	"os"
	"reflect"
	"testing"
)

func TestReadOnlyMappings(t *testing.T) {
	const maps = `00400000-01c00000 r-xp 00000000 fd:00 131 /usr/bin/lvme
01c00000-03a00000 r--p 01800000 fd:00 131 /usr/bin/lvme
03a00000-03b00000 rw-p 03600000 fd:00 131 /usr/bin/lvme
03b00000-03c00000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fd:00 132 /usr/bin/lvme2
7f0000001000-7f0000002000 r--p 00000000 fd:00 133 /etc/lvme/usr/bin/lvme
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0 [vdso]
no mapping
`
	want := []mapping{{0x400000, 0x1c00000}, {0x1c00000, 0x3a00000}}
	if got := readOnlyMappings([]byte(maps), "/usr/bin/lvme"); !reflect.DeepEqual(got, want) {
		t.Errorf("mappings %x, want %x", got, want)
	}
	if got := readOnlyMappings([]byte(maps), ""); len(got) != 0 {
		t.Errorf("of no file: %x", got)
	}
}

// TestReleaseProgram: the process goes on, and its variables are as they were.
func TestReleaseProgram(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if len(readOnlyMappings(maps, self)) == 0 {
		t.Fatalf("the program is nowhere in its own memory:\n%s", maps)
	}
	written = "before"
	releaseProgram(t.Context())
	if written != "before" {
		t.Errorf("a variable was lost: %q", written)
	}
}

var written = "at the start"

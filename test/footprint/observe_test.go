package main

import (
	"testing"
	"time"
)

const (
	earlier = "279 (lvme) S 1 279 279 0 -1 4194560 283 1940 0 56 217 583 29 51 20 0 11 0 26 1257938944 1227\nVmHWM:   28000 kB\nVmRSS:   27000 kB"
	later   = "279 (lvme) S 1 279 279 0 -1 4194560 283 1940 0 56 220 587 29 51 20 0 11 0 26 1257938944 1227\nVmHWM:   30832 kB\nVmRSS:   29696 kB\n" +
		"# tracer: nop\n            lvm-190     [000] .....     9.173781: sched_process_exec: filename=/usr/sbin/lvm pid=190 old_pid=190\n"
	reader = "            bash-191     [000] .....     9.191580: sched_process_exec: filename=/usr/bin/bash pid=191 old_pid=191\n"
)

func TestRead(t *testing.T) {
	s := seen{window: time.Second}
	if err := s.read(earlier, later+reader); err != nil {
		t.Fatal(err)
	}
	if s.cpu != 70*time.Millisecond || s.residentKiB != 29696 || s.peakKiB != 30832 {
		t.Errorf("read CPU %s, %d KiB resident, %d KiB at the peak", s.cpu, s.residentKiB, s.peakKiB)
	}
	if len(s.programs) != 1 || s.programs[0] != "/usr/sbin/lvm" {
		t.Errorf("programs started by others than the reader: %q", s.programs)
	}
}

func TestReadWithoutTrace(t *testing.T) {
	var s seen
	if err := s.read(earlier, later); err == nil {
		t.Error("a trace without the shell that reads it was believed")
	}
}

func TestJudge(t *testing.T) {
	good := seen{window: time.Minute, calls: 60, scrapes: 4, residentKiB: maxResidentKiB, cpu: 600 * time.Millisecond, slowdown: 1}
	if err := good.judge(); err != nil {
		t.Errorf("at its limits: %v", err)
	}
	for name, spoil := range map[string]func(*seen){
		"nothing asked":  func(s *seen) { s.calls = 0 },
		"an LVM command": func(s *seen) { s.commands = 1 },
		"a program":      func(s *seen) { s.programs = []string{"/usr/sbin/lvm"} },
		"memory":         func(s *seen) { s.residentKiB++ },
		"CPU":            func(s *seen) { s.cpu += time.Millisecond },
	} {
		bad := good
		spoil(&bad)
		if bad.judge() == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

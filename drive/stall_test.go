package drive

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// counters writes /sys/block/NAME/stat.
func counters(t *testing.T, root, name string, reads, writes, waiting int) {
	t.Helper()
	dir := filepath.Join(root, "sys/block", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%8d 0 0 0 %8d 0 0 0 %8d 0 0 0 0 0 0 0 0\n", reads, writes, waiting)
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStalls(t *testing.T) {
	h := Host{Root: t.TempDir()}
	var s Stalls
	begin := time.Now()
	for _, step := range []struct {
		second         int
		reads, waiting int // of nvme0n1
		want           []string
	}{
		{0, 10, 1, nil},                  // first sight
		{4, 11, 2, nil},                  // busy
		{8, 11, 2, nil},                  // slow
		{15, 11, 3, []string{"nvme0n1"}}, // hangs
		{17, 11, 3, []string{"nvme0n1"}},
		{19, 12, 3, nil}, // answers
		{40, 12, 0, nil}, // idle
		{80, 12, 1, nil}, // work after a long rest
		{92, 12, 1, []string{"nvme0n1"}},
	} {
		counters(t, h.Root, "nvme0n1", step.reads, 5, step.waiting)
		counters(t, h.Root, "nvme1n1", step.second, 5, 1)
		counters(t, h.Root, "sda", 1, 1, 1)
		if got := s.Look(h, begin.Add(time.Duration(step.second)*time.Second), 10*time.Second); !slices.Equal(got, step.want) {
			t.Errorf("second %d: %v hang, want %v", step.second, got, step.want)
		}
	}
}

func TestStalled(t *testing.T) {
	h := Host{Root: t.TempDir()}
	for name, waiting := range map[string]int{"nvme0n1": 0, "nvme1n1": 3} {
		counters(t, h.Root, name, 7, 5, waiting)
		if got := Stalled(t.Context(), h, name, time.Millisecond); got != (waiting > 0) {
			t.Errorf("%d requests wait: stalled %t", waiting, got)
		}
	}
	if Stalled(t.Context(), h, "nvme9n1", time.Millisecond) {
		t.Error("a drive that is not there")
	}
}

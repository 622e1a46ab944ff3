package blockdev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// TestReal works on the first drive of the bed.
func TestReal(t *testing.T) {
	if os.Getenv("LVME_BED") != "1" {
		t.Skip("needs the bed: make test-real REAL=./internal/blockdev")
	}
	dev := drivePath(t)
	size, err := Size(dev)
	if err != nil || size < 3*Step {
		t.Fatalf("size %d, %v", size, err)
	}
	h, ctx := Host{}, t.Context()

	// Ends that lie on both sides of a step's edge.
	fill(t, dev, Step-2*mib, 4*mib)
	if err := h.Zero(ctx, dev, Step-mib, 2*mib); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("x"), 4*mib)
	clear(want[mib : 3*mib])
	if got := read(t, dev, Step-2*mib, 4*mib); !bytes.Equal(got, want) {
		t.Error("zeroing 2 MiB did something else")
	}
	if err := h.ZeroShared(ctx, dev, Step-2*mib, mib); err != nil {
		t.Fatal(err)
	}
	clear(want[:mib])
	if got := read(t, dev, Step-2*mib, 4*mib); !bytes.Equal(got, want) {
		t.Error("zeroing a shared MiB did something else")
	}
	if err := h.Zero(ctx, dev, 0, 0); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dev, Step-2*mib, 4*mib); !bytes.Equal(got, make([]byte, 4*mib)) {
		t.Error("zeroing all left something")
	}

	fill(t, dev, size-mib, mib)
	if err := h.Discard(ctx, dev); err != nil {
		t.Errorf("discard: %v", err)
	}
	if err := h.Zero(ctx, dev, size-mib, 2*mib); err == nil {
		t.Error("zeroing beyond the end: no error")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := h.Zero(cancelled, dev, 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	testInUse(t, h, dev)
}

// testInUse holds the device as a mount does.
func testInUse(t *testing.T, h Host, dev string) {
	held, err := os.OpenFile(dev, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := h.Discard(t.Context(), dev); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) {
		t.Errorf("discard of a device in use: %v", err)
	}
	if err := h.Zero(t.Context(), dev, 0, mib); !errors.Is(err, ErrInUse) {
		t.Errorf("zeroing of a device in use: %v", err)
	}
	if err := h.ZeroShared(t.Context(), dev, 0, mib); err != nil {
		t.Errorf("zeroing a part of a device in use: %v", err)
	}
}

func TestNoDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		Host{}.Zero(t.Context(), path, 0, 0), Host{}.Discard(t.Context(), path), Host{}.ZeroShared(t.Context(), path, 0, 4),
		Host{}.Zero(t.Context(), path+"none", 0, 0),
	} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("on what is no device: %v", err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("a file was changed: %q, %v", data, err)
	}
}

func drivePath(t *testing.T) string {
	t.Helper()
	serial, _, _ := strings.Cut(os.Getenv("LVME_BED_DRIVES"), ",")
	found, err := filepath.Glob("/sys/block/nvme*/device/serial")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if data, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(data)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(path)))
		}
	}
	t.Fatalf("no drive with serial %q", serial)
	return ""
}

func fill(t *testing.T, dev string, offset int64, n int) {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("x"), n), offset); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dev string, offset int64, n int) []byte {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(f, offset, int64(n)), data); err != nil {
		t.Fatal(err)
	}
	return data
}

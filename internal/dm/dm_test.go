package dm

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestDeviceName(t *testing.T) {
	for _, tc := range []struct{ vg, lv, layer, want string }{
		{"lvme-x", "v-a", "", "lvme--x-v--a"},
		{"vg", "lv", "", "vg-lv"},
		{"lvme-x", "pool", "tpool", "lvme--x-pool-tpool"},
		{"a--b", "c", "", "a----b-c"},
	} {
		got := DeviceName(tc.vg, tc.lv)
		if tc.layer != "" {
			got = DeviceName(tc.vg, tc.lv, tc.layer)
		}
		if got != tc.want {
			t.Errorf("DeviceName(%s, %s, %s) = %s, want %s", tc.vg, tc.lv, tc.layer, got, tc.want)
		}
	}
}

func TestHeaderIsTheKernels(t *testing.T) {
	if size := unsafe.Sizeof(header{}); size != headerSize {
		t.Fatalf("header has %d bytes, struct dm_ioctl has %d", size, headerSize)
	}
}

// spec writes one struct dm_target_spec with its text.
func spec(start, length uint64, next uint32, kind, params string) []byte {
	b := make([]byte, specSize)
	binary.NativeEndian.PutUint64(b, start)
	binary.NativeEndian.PutUint64(b[8:], length)
	binary.NativeEndian.PutUint32(b[20:], next)
	copy(b[24:], kind)
	return append(append(b, params...), 0)
}

func TestParseTargets(t *testing.T) {
	first := spec(0, 8, 64, "linear", "")
	first = append(first, make([]byte, 64-len(first))...)
	data := append(first, spec(8, 16, 128, "thin", "24 1023")...)
	got, err := parseTargets(data, 2)
	want := []Target{{0, 4096, "linear", ""}, {4096, 8192, "thin", "24 1023"}}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
	for name, tc := range map[string]struct {
		data  []byte
		count int
	}{
		"truncated":   {data[:70], 2},
		"loop":        {spec(0, 8, 0, "linear", ""), 2},
		"nothing":     {nil, 1},
		"impossible":  {spec(1<<60, 8, 0, "linear", ""), 1},
		"count wrong": {data, 5},
	} {
		if got, err := parseTargets(tc.data, tc.count); err == nil {
			t.Errorf("%s: got %v and no error", name, got)
		}
	}
}

// entry writes one struct dm_name_list.
func entry(dev uint64, next uint32, name string) []byte {
	b := make([]byte, nameOffset)
	binary.NativeEndian.PutUint64(b, dev)
	binary.NativeEndian.PutUint32(b[8:], next)
	return append(append(b, name...), 0)
}

func TestParseNames(t *testing.T) {
	first := entry(1, 24, "vg-a")
	first = append(first, make([]byte, 24-len(first))...)
	got, err := parseNames(append(first, entry(2, 0, "vg-b")...))
	if want := []string{"vg-a", "vg-b"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, none := range [][]byte{nil, make([]byte, 32)} {
		if got, err := parseNames(none); err != nil || len(got) != 0 {
			t.Errorf("no devices: got %v, %v", got, err)
		}
	}
	if got, err := parseNames(entry(1, 4000, "x")); err == nil {
		t.Errorf("next outside: got %v and no error", got)
	}
}

func TestParseDeps(t *testing.T) {
	two := binary.NativeEndian.AppendUint32(nil, 2)
	two = append(two, 0, 0, 0, 0)
	two = binary.NativeEndian.AppendUint64(two, 259<<8|1)
	two = binary.NativeEndian.AppendUint64(two, 253<<8|0x7)
	got, err := parseDeps(two)
	if want := []Dep{{Major: 259, Minor: 1}, {Major: 253, Minor: 7}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := parseDeps(nil); err != nil || len(got) != 0 {
		t.Errorf("no table: got %v, %v", got, err)
	}
	for _, bad := range [][]byte{two[:5], two[:20]} {
		if got, err := parseDeps(bad); err == nil {
			t.Errorf("%d bytes: got %v and no error", len(bad), got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(spec(0, 8, 64, "linear", ""), 1)
	f.Add(spec(0, 8, 64, "thin", "8 7"), 3)
	f.Add(entry(1, 24, "vg-a"), 0)
	f.Fuzz(func(t *testing.T, data []byte, count int) {
		targets, err := parseTargets(data, count)
		if err == nil && len(targets) != max(count, 0) {
			t.Errorf("%d targets of %d and no error", len(targets), count)
		}
		for _, target := range targets {
			if target.Start < 0 || target.Length < 0 {
				t.Errorf("negative bounds: %+v", target)
			}
		}
		if deps, err := parseDeps(data); err == nil && len(deps)*8 > len(data) {
			t.Errorf("%d devices out of %d bytes", len(deps), len(data))
		}
		if _, err := parseNames(data); err == nil && len(data) > 0 && len(data) < nameOffset {
			t.Errorf("names out of %d bytes", len(data))
		}
	})
}

func TestKernelAbsentIsSaid(t *testing.T) {
	if _, err := os.Stat(control); err == nil {
		t.Skip("this host has device-mapper; lvmtest.Suite reads it")
	}
	k := Open()
	if _, err := k.Status(context.Background(), "vg-lv"); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) {
		t.Errorf("Status without device-mapper: %v, want %v", err, ErrUnavailable)
	}
	if _, err := k.Names(context.Background()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Names without device-mapper: %v, want %v", err, ErrUnavailable)
	}
}

func TestPresent(t *testing.T) {
	k := Open()
	for _, path := range []string{"/nonexistent/nvme0n1", "/dev/null", t.TempDir()} {
		if err := k.Present(path); !errors.Is(err, ErrNotFound) {
			t.Errorf("Present(%s) = %v, want %v", path, err, ErrNotFound)
		}
	}
}

func TestLongNamesAreNotCut(t *testing.T) {
	_, err := (&kernel{control: os.Stdin}).Info(context.Background(), strings.Repeat("x", MaxName+1))
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want %v", err, ErrNotFound)
	}
}

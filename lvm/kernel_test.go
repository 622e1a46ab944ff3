package lvm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/dm"
)

func TestParseThin(t *testing.T) {
	for params, want := range map[string]int64{"0 -": 0, "128 127": 65536, "10112 409599": 10112 * 512} {
		if got, err := parseThin(params); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", params, got, err, want)
		}
	}
	for _, params := range []string{"", "-", "Fail", "Error", "0", "128 -", "0 127", "x -", "-1 -", "128 x", "0 - -", "18446744073709551615 1"} {
		if got, err := parseThin(params); !errors.Is(err, ErrReport) {
			t.Errorf("%q: got %d, %v; want %v", params, got, err, ErrReport)
		}
	}
}

func TestParsePool(t *testing.T) {
	for params, want := range map[string]PoolStatus{
		"0 213/2048 0/6400 - rw discard_passdown error_if_no_space - 512 ": {
			MetaUsed: 213, MetaTotal: 2048, DataTotal: 6400, Mode: PoolWritable, NoSpaceError: true},
		"5 226/2048 1600/1600 - out_of_data_space discard_passdown error_if_no_space - 512 ": {
			TransactionID: 5, MetaUsed: 226, MetaTotal: 2048, DataUsed: 1600, DataTotal: 1600, Mode: PoolOutOfData, NoSpaceError: true},
		"7 1/2 3/4 61 ro no_discard_passdown queue_if_no_space needs_check 1024": {
			TransactionID: 7, MetaUsed: 1, MetaTotal: 2, DataUsed: 3, DataTotal: 4, HeldRoot: true, Mode: PoolReadOnly, NeedsCheck: true},
		"Fail":  {Mode: PoolFailed},
		"Error": {Mode: PoolFailed},
	} {
		if got, err := parsePool(params); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", params, got, err, want)
		}
	}
	for _, params := range []string{
		"", "0", "Failed", "0 213/2048 0/6400 - rw discard_passdown error_if_no_space",
		"0 213 0/6400 - rw discard_passdown error_if_no_space - 512",
		"0 213/2048 7000/6400 - rw discard_passdown error_if_no_space - 512",
		"0 213/2048 0/6400 - wo discard_passdown error_if_no_space - 512",
		"0 213/2048 0/6400 - rw discard_passdown explode_if_no_space - 512",
		"0 213/2048 0/6400 - rw discard_passdown error_if_no_space maybe 512",
		"-1 213/2048 0/6400 - rw discard_passdown error_if_no_space - 512",
	} {
		if got, err := parsePool(params); !errors.Is(err, ErrReport) {
			t.Errorf("%q: got %+v, %v; want %v", params, got, err, ErrReport)
		}
	}
}

func TestParseRaid(t *testing.T) {
	for params, want := range map[string]MirrorStatus{
		"raid1 2 AA 131072/131072 idle 0 0 -":   {Legs: 2, Synced: 64 << 20, Total: 64 << 20},
		"raid1 2 DA 524288/524288 idle 0 0 -":   {Legs: 2, Failed: 1, Synced: 256 << 20, Total: 256 << 20},
		"raid1 2 Aa 1024/131072 recover 0 0 -":  {Legs: 2, Synced: 1024 * 512, Total: 64 << 20},
		"raid1 3 AAA 0/8 frozen 0 0 - and more": {Legs: 3, Total: 8 * 512},
	} {
		if got, err := parseRaid(params); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", params, got, err, want)
		}
	}
	for _, bad := range []string{"", "raid1 2 AA", "raid1 2 A 1/1 idle", "raid1 x AA 1/1 idle", "raid1 2 A? 1/1 idle", "raid1 2 AA 3/1 idle", "raid1 2 AA 1 idle"} {
		if got, err := parseRaid(bad); !errors.Is(err, ErrReport) {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

func TestStatusOfTheRightDevice(t *testing.T) {
	ctx := context.Background()
	const pool = "thin-pool 0 213/2048 0/6400 - rw discard_passdown error_if_no_space - 512 "
	l := New(nil, kernel{status: map[string]string{
		"lvme--x-new": pool, "lvme--x-old": "linear ", "lvme--x-old-tpool": pool, "lvme--x-t": "linear ", "lvme--x-v": "thin 0 -",
	}})
	for _, name := range []string{"new", "old"} {
		if s, err := l.PoolStatus(ctx, "lvme-x", name); err != nil || s.DataTotal != 6400 {
			t.Errorf("pool %s: %+v, %v", name, s, err)
		}
	}
	if n, err := l.ThinMapped(ctx, "lvme-x", "v"); err != nil || n != 0 {
		t.Errorf("thin: %d, %v", n, err)
	}
	for what, err := range map[string]error{"thin": second(l.ThinMapped(ctx, "lvme-x", "t")), "pool": second(l.PoolStatus(ctx, "lvme-x", "t"))} {
		if !errors.Is(err, ErrReport) {
			t.Errorf("a linear device as %s: %v, want %v", what, err, ErrReport)
		}
	}
	for what, err := range map[string]error{"thin": second(l.ThinMapped(ctx, "lvme-x", "no")), "pool": second(l.PoolStatus(ctx, "lvme-x", "no"))} {
		if !errors.Is(err, dm.ErrNotFound) {
			t.Errorf("%s without a device: %v, want %v", what, err, dm.ErrNotFound)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzParseStatus(f *testing.F) {
	f.Add("0 -")
	f.Add("128 127")
	f.Add("Fail")
	f.Add("7 1/2 3/4 61 ro no_discard_passdown queue_if_no_space needs_check 1024")
	f.Fuzz(func(t *testing.T, params string) {
		if n, err := parseThin(params); err == nil && n < 0 || err != nil && n != 0 {
			t.Errorf("thin %q: %d, %v", params, n, err)
		}
		s, err := parsePool(params)
		if err == nil && (s.DataUsed > s.DataTotal || s.MetaUsed > s.MetaTotal || s.DataUsed < 0 || s.Mode == "") || err != nil && s != (PoolStatus{}) {
			t.Errorf("pool %q: %+v, %v", params, s, err)
		}
	})
}

// TestRemoveThin: only of what the kernel knows as a thin LVM is told beforehand
// that it may be active.
func TestRemoveThin(t *testing.T) {
	for status, want := range map[string][]string{
		"":                                    {"lvremove lvme-x/v-a"},
		"thin 2048 2047":                      {"lvremove --yes lvme-x/v-a"},
		"thin Fail":                           {"lvremove --yes lvme-x/v-a"}, // of a pool that has failed
		"error":                               {"lvchange -an lvme-x/v-a", "lvremove lvme-x/v-a"},
		"thin-pool 0 1/2048 0/64 - rw - - - ": {"lvchange -an lvme-x/v-a", "lvremove lvme-x/v-a"},
	} {
		r, k := &runner{}, kernel{}
		if status != "" {
			k.status = map[string]string{"lvme--x-v--a": status}
		}
		if err := New(r, k).RemoveThin(t.Context(), testVG, "v-a"); err != nil {
			t.Errorf("%q: %v", status, err)
		}
		var got []string
		for _, c := range r.cmds {
			got = append(got, strings.Join(slices.DeleteFunc(slices.Clone(c.Args), func(arg string) bool {
				return arg == "--devices" || arg == "--config" || arg == settings || arg == strings.Join(testVG.Devices, ",")
			}), " "))
		}
		if !slices.Equal(got, want) {
			t.Errorf("device %q: %q, want %q", status, got, want)
		}
	}
}

// TestFirstThinIsNotChecked: a pool is not checked where the kernel works with
// it, and is in every other case.
func TestFirstThinIsNotChecked(t *testing.T) {
	const first, used = "lvme--x-pool", "lvme--x-pool-tpool"
	pool := func(mode, check string) string {
		return "thin-pool 0 213/2048 0/6400 - " + mode + " discard_passdown error_if_no_space " + check + " 512 "
	}
	for _, c := range []struct {
		name      string
		status    map[string]string
		unchecked bool
	}{
		{"inactive", nil, false},
		{"first thin", map[string]string{first: pool("rw", "-")}, true},
		{"with a layer", map[string]string{first: "linear ", used: pool("rw", "-")}, false},
		{"needs check", map[string]string{first: pool("rw", "needs_check")}, false},
		{"read-only", map[string]string{first: pool("ro", "-")}, false},
		{"full", map[string]string{first: pool("out_of_data_space", "-")}, false},
		{"failed", map[string]string{first: "thin-pool Fail"}, false},
	} {
		r := &runner{}
		if err := New(r, kernel{status: c.status}).CreateThin(t.Context(), testVG, ThinSpec{Name: "v-a", Pool: "pool", Size: 1 << 30}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(r.cmds[0].String(), `thin_check_executable=""`); got != c.unchecked {
			t.Errorf("%s: unchecked %t, want %t: %s", c.name, got, c.unchecked, r.cmds[0])
		}
	}
}

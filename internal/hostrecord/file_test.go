package hostrecord

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var here = Machine{ID: "0123456789abcdef0123456789abcdef", Product: "4c4c4544-0033-4a10-8044-b7c04f4e3132"}

func sample() Record {
	return Record{
		StoreKey: "k7m2q9xa",
		VGs: []VG{{ID: "vg000001", UUID: "hY2kzP-x", Class: "fast", Number: 1, Drives: []Drive{
			{ID: "eui.0025385b71b0133a", Model: "SAMSUNG MZQL21T9HCJR-00A07", Serial: "S64GNE0R1", Bytes: 1920383410176}}}},
		Forgotten: []Forgotten{{VG: VG{ID: "vg000009", Class: "fast", Number: 9}, At: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}},
	}
}

// saved makes a directory with the sample record in it.
func saved(t *testing.T) (string, Record) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lvme")
	held := lock(t, dir)
	defer held.Unlock()
	rec, err := held.Save(here, sample())
	if err != nil {
		t.Fatal(err)
	}
	return dir, rec
}

func lock(t *testing.T, dir string) *Held {
	t.Helper()
	held, err := Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestSaveAndLoad(t *testing.T) {
	dir, rec := saved(t)
	want := sample()
	want.Generation = 1
	for _, got := range []Record{rec, load(t, dir)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
	for path, mode := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, filepath.Join(dir, fileName): 0o600, filepath.Join(dir, lockName): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, tempName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file is left: %v", err)
	}
}

func load(t *testing.T, dir string) Record {
	t.Helper()
	rec, err := Load(dir, here)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestRecordTellsNothingOfTheMachine(t *testing.T) {
	dir, _ := saved(t)
	data := content(t, dir)
	if strings.Contains(string(data), here.ID) || strings.Contains(string(data), here.Product) {
		t.Errorf("the record shows the machine id or product UUID:\n%s", data)
	}
}

func content(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLoadNone(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "no", "such")} {
		if _, err := Load(dir, here); !errors.Is(err, ErrNone) {
			t.Errorf("got %v, want ErrNone", err)
		}
	}
}

func TestLoadThatCannotLookIsNotNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, fileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, here); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("got %v, want an error other than ErrNone", err)
	}
}

// A record that was cut short anywhere is corrupt; it is never another record
// and never none.
func TestLoadTornFile(t *testing.T) {
	dir, _ := saved(t)
	whole := content(t, dir)
	trimmed := bytes.TrimSpace(whole)
	for n := range len(trimmed) {
		put(t, dir, fileName, whole[:n])
		rec, err := Load(dir, here)
		if !errors.Is(err, ErrCorrupt) || !reflect.DeepEqual(rec, Record{}) {
			t.Fatalf("first %d of %d bytes: got %+v, %v, want ErrCorrupt", n, len(whole), rec, err)
		}
	}
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, old, new string
		want           error
		says           string
	}{
		{"newer version", `"version": 1`, `"version": 2`, ErrVersion, "install the newer lvme"},
		{"wrong type", `"vgs": [`, `"vgs": [true, `, ErrCorrupt, "vgs"},
		{"no version", `"version": 1`, `"version": 0`, ErrCorrupt, "version is 0"},
		{"unknown field", `"storeKey"`, `"colour": "red", "storeKey"`, ErrCorrupt, `unknown field "colour"`},
		{"unknown field deep down", `"serial"`, `"shelf": 3, "serial"`, ErrCorrupt, `unknown field "shelf"`},
		{"bad store key", `k7m2q9xa`, `K7M2Q9XA`, ErrCorrupt, `storeKey is "K7M2Q9XA"`},
		{"bad VG id", `vg000001`, `../../..`, ErrCorrupt, `VG id is "../../.."`},
		{"a VG twice", `vg000009`, `vg000001`, ErrCorrupt, `VG id "vg000001" is there twice`},
		{"two records", "{\n", "{}\n{\n", ErrCorrupt, "after top-level value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, _ := saved(t)
			changed := strings.Replace(string(content(t, dir)), tc.old, tc.new, 1)
			put(t, dir, fileName, []byte(changed))
			rec, err := Load(dir, here)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v, want %v saying %q", err, tc.want, tc.says)
			}
			if !reflect.DeepEqual(rec, Record{}) {
				t.Errorf("a record came with the error: %+v", rec)
			}
			held := lock(t, dir)
			defer held.Unlock()
			if _, err := held.Save(here, sample()); !errors.Is(err, tc.want) {
				t.Errorf("save over it: got %v, want %v", err, tc.want)
			}
			if string(content(t, dir)) != changed {
				t.Error("the refused save changed the file")
			}
		})
	}
}

func TestOtherMachine(t *testing.T) {
	for _, tc := range []struct {
		name     string
		recorded Machine
		now      Machine
		other    bool
	}{
		{"same", here, here, false},
		{"cloned image", here, Machine{ID: here.ID, Product: "other"}, true},
		{"system installed anew", here, Machine{ID: "other", Product: here.Product}, true},
		{"product not readable now", here, Machine{ID: here.ID}, false},
		{"product not readable then", Machine{ID: here.ID}, here, false},
		{"no machine-id at all", Machine{Product: here.Product}, Machine{Product: here.Product}, false},
		{"nothing to compare", Machine{ID: here.ID}, Machine{Product: here.Product}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			held := lock(t, dir)
			defer held.Unlock()
			if _, err := held.Save(tc.recorded, sample()); err != nil {
				t.Fatal(err)
			}
			rec, err := Load(dir, tc.now)
			if errors.Is(err, ErrOtherMachine) != tc.other || (err != nil) != tc.other {
				t.Fatalf("got %v, want another machine's: %t", err, tc.other)
			}
			if rec.StoreKey != "k7m2q9xa" {
				t.Errorf("store key %q, want it for the report", rec.StoreKey)
			}
		})
	}
}

func TestReplaceKeepsTheOldRecord(t *testing.T) {
	dir, _ := saved(t)
	old := content(t, dir)
	clone := Machine{ID: "another"}
	held := lock(t, dir)
	defer held.Unlock()
	fresh := Record{StoreKey: "knewnewk"}
	if _, err := held.Save(clone, fresh); !errors.Is(err, ErrOtherMachine) {
		t.Fatalf("save: got %v, want ErrOtherMachine", err)
	}
	if _, err := held.Replace(clone, fresh); err != nil {
		t.Fatal(err)
	}
	if rec, err := Load(dir, clone); err != nil || rec.StoreKey != "knewnewk" {
		t.Errorf("after replace: %+v, %v", rec, err)
	}
	aside, err := filepath.Glob(filepath.Join(dir, fileName+".replaced-*"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("kept aside: %v, %v", aside, err)
	}
	if got, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(got, old) {
		t.Errorf("kept aside: %v, %q, want the old record", err, got)
	}
}

func TestSaveRefuses(t *testing.T) {
	dir, rec := saved(t)
	held := lock(t, dir)
	defer held.Unlock()
	next := rec
	next.VGs = nil
	if _, err := held.Save(here, next); err != nil {
		t.Fatal(err)
	}
	other := rec
	other.StoreKey, other.Generation = "kotherst", 2
	bad := rec
	bad.StoreKey, bad.Generation = "bad", 2
	for _, tc := range []struct {
		name string
		m    Machine
		rec  Record
		want error
	}{
		{"older generation", here, rec, ErrStale},
		{"another store", here, other, ErrStale},
		{"invalid", here, bad, nil},
		{"no machine", Machine{}, next, nil},
	} {
		before := content(t, dir)
		_, err := held.Save(tc.m, tc.rec)
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
		if !bytes.Equal(before, content(t, dir)) {
			t.Errorf("%s: the refused save changed the file", tc.name)
		}
	}
	held.Unlock()
	current := load(t, dir)
	if _, err := held.Save(here, current); err == nil {
		t.Error("saved without the lock")
	}
}

// Whatever a crash leaves of the temporary file, the record stands and the
// next save works.
func TestTornTemporaryFile(t *testing.T) {
	dir, rec := saved(t)
	for _, torn := range []string{"", "{", `{"version": 1, "storeKey": "kwrongwr"}`, strings.Repeat("x", 1<<20)} {
		put(t, dir, tempName, []byte(torn))
		if got := load(t, dir); !reflect.DeepEqual(got, rec) {
			t.Fatalf("got %+v, want %+v", got, rec)
		}
		held := lock(t, dir)
		next, err := held.Save(here, rec)
		held.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if got := load(t, dir); !reflect.DeepEqual(got, next) {
			t.Fatalf("got %+v, want %+v", got, next)
		}
		rec = next
	}
}

func TestFailedSaveKeepsTheRecord(t *testing.T) {
	dir, rec := saved(t)
	if err := os.Mkdir(filepath.Join(dir, tempName), 0o700); err != nil { // stands in the way of the temporary file
		t.Fatal(err)
	}
	held := lock(t, dir)
	defer held.Unlock()
	if _, err := held.Save(here, rec); err == nil {
		t.Fatal("saved all the same")
	}
	if got := load(t, dir); !reflect.DeepEqual(got, rec) {
		t.Errorf("got %+v, want %+v", got, rec)
	}
}

func TestStamp(t *testing.T) {
	dir := t.TempDir()
	stamps := []Stamp{stamp(t, dir)}
	if stamps[0] != (Stamp{}) {
		t.Errorf("stamp of no record: %+v", stamps[0])
	}
	held := lock(t, dir)
	defer held.Unlock()
	rec := sample()
	for range 3 {
		var err error
		if rec, err = held.Save(here, rec); err != nil {
			t.Fatal(err)
		}
		last := stamps[len(stamps)-1]
		now := stamp(t, dir)
		if now == last {
			t.Errorf("a save left the stamp at %+v", now)
		}
		if again := stamp(t, dir); again != now {
			t.Errorf("stamp went from %+v to %+v without a save", now, again)
		}
		stamps = append(stamps, now)
	}
}

func stamp(t *testing.T, dir string) Stamp {
	t.Helper()
	s, err := ReadStamp(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

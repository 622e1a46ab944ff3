package speed

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat("   100    1    800   50   20    0    160    9    0   60   59    3    0    24    1    7    2")
	if want := (Traffic{100, 409600, 20, 81920, 7}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 2 3", "1 2 3 4 5 6 7 8 9 10 11", "a b c d e f g h i j k l m n o p q"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is read without an error", bad)
		}
	}
}

// TestTheory: each case is what is right, and each change of one figure is a finding.
func TestTheory(t *testing.T) {
	const n, chunk = 64, 512 * kib
	read, write, synced := operations[0], operations[1], operations[2]
	for name, tc := range map[string]struct {
		op     operation
		e      expected
		count  Count
		spoilt []func(*Count)
	}{
		"read": {read, expected{flushes: true}, Count{Drive: Traffic{Reads: n, ReadBytes: n * page}}, []func(*Count){
			func(c *Count) { c.Drive.Reads++ }, func(c *Count) { c.Drive.ReadBytes += page }, func(c *Count) { c.Drive.Writes++ },
		}},
		"write": {write, expected{flushes: true}, Count{Drive: Traffic{Writes: n, WriteBytes: n * page}}, []func(*Count){
			func(c *Count) { c.Drive.Flushes = n }, func(c *Count) { c.Metadata.Writes = 1 }, func(c *Count) { c.Drive.WriteBytes *= 2 },
		}},
		"sync": {synced, expected{flushes: true}, Count{Drive: Traffic{Writes: 2 * n, WriteBytes: n * page, Flushes: n}}, []func(*Count){
			func(c *Count) { c.Drive.Flushes = 0 }, func(c *Count) { c.Drive.Flushes *= 2 },
		}},
		"sync without a cache": {synced, expected{}, Count{Drive: Traffic{Writes: n, WriteBytes: n * page}}, []func(*Count){func(c *Count) { c.Drive.Flushes = n }}},
		"first touch": {
			synced, expected{state: unmapped, chunk: chunk, zeroing: true, flushes: true},
			Count{Data: Traffic{WriteBytes: n * (chunk + page)}, Metadata: Traffic{WriteBytes: n * 8 * page}, Drive: Traffic{Flushes: 3 * n}},
			[]func(*Count){
				func(c *Count) { c.Data.WriteBytes = n * page }, func(c *Count) { c.Data.ReadBytes = page }, func(c *Count) { c.Metadata.WriteBytes = 0 },
				func(c *Count) { c.Metadata.WriteBytes *= 100 }, func(c *Count) { c.Drive.Flushes = 1 },
			},
		},
		"first touch without zeroing": {
			write, expected{state: unmapped, chunk: chunk}, Count{Data: Traffic{WriteBytes: n * page}},
			[]func(*Count){func(c *Count) { c.Data.WriteBytes = n * (chunk + page) }},
		},
		"after a snapshot": {
			write, expected{state: shared, chunk: chunk, zeroing: true}, Count{Data: Traffic{ReadBytes: n * chunk, WriteBytes: n * (chunk + page)}},
			[]func(*Count){func(c *Count) { c.Data.ReadBytes = 0 }, func(c *Count) { c.Data.WriteBytes = n * page }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.count.IOs = n
			right := tc.count
			if right.judge(tc.op, tc.e); len(right.Wrong) > 0 || right.Verdict() != "as expected" {
				t.Errorf("%+v", right)
			}
			for i, spoil := range tc.spoilt {
				wrong := tc.count
				spoil(&wrong)
				if wrong.judge(tc.op, tc.e); len(wrong.Wrong) == 0 || wrong.Verdict() != "wrong" {
					t.Errorf("change %d is not found: %+v", i, wrong)
				}
			}
		})
	}
}

// TestOperations does them on a file.
func TestOperations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := &direct{File: f}
	for _, op := range []operation{operations[1], operations[2], operations[0]} {
		if err := op.do(d, 3*mib, mib, 4); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
	if info, err := f.Stat(); err != nil || info.Size() != 6*mib+page {
		t.Errorf("the last byte written is %v, %v", info.Size(), err)
	}
	if err := operations[0].do(d, 0, mib, 9); err == nil {
		t.Error("reading beyond the end is no error")
	}
}

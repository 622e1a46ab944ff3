package data

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// chance is randomness that a failed test can be repeated with.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("LVME_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("LVME_SEED=%q: %v", text, err)
		}
	}
	t.Logf("LVME_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for k := range 8 {
			b[i+k] = byte(v >> (8 * k))
		}
	}
	return b
}

// sums are checksums by the name of a file, or by the place in a device.
type sums map[string][32]byte

const blockStep = 3 * mib // not a multiple of any chunk, so that all kinds of parts are written

// fill writes new content to a published volume and says what it is. On a host
// in memory there is none.
func (n *node) fill(t *testing.T, r *rand.Rand, v *vol) sums {
	t.Helper()
	if !n.real {
		return nil
	}
	if v.fs == "" {
		return n.fillBlock(t, r, v)
	}
	s := sums{}
	for i, size := range []int{0, 1, 4096, 70_000, 900_000} {
		name := fmt.Sprintf("dir-%d/file-%d", i%2, i)
		path := filepath.Join(v.target(), name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		b := random(r, size)
		must(t, os.WriteFile(path, b, 0o600))
		s[name] = sha256.Sum256(b)
	}
	syncFS(t, v.target())
	return s
}

func (n *node) fillBlock(t *testing.T, r *rand.Rand, v *vol) sums {
	t.Helper()
	f, err := os.OpenFile(v.target(), os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for at := int64(0); at+700_000 < minBytes(""); at += blockStep {
		_, err := f.WriteAt(random(r, 700_000), at)
		must(t, err)
	}
	must(t, f.Sync())
	return n.sums(t, v)
}

// sums reads what a published volume holds, from its drive.
func (n *node) sums(t *testing.T, v *vol) sums {
	t.Helper()
	if !n.real {
		return nil
	}
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0))
	s := sums{}
	if v.fs == "" {
		f, err := os.Open(v.target())
		must(t, err)
		defer f.Close()
		b := make([]byte, blockStep)
		for at := int64(0); at < minBytes(""); at += blockStep {
			k, err := f.ReadAt(b, at)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			s[fmt.Sprint(at)] = sha256.Sum256(b[:min(int64(k), minBytes("")-at)])
		}
		return s
	}
	must(t, filepath.WalkDir(v.target(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(v.target(), path)
		s[name] = sha256.Sum256(b)
		return err
	}))
	return s
}

// holds verifies the content of published volumes, bit for bit.
func (n *node) holds(t *testing.T, want sums, volumes ...*vol) {
	t.Helper()
	for _, v := range volumes {
		if have := n.sums(t, v); !maps.Equal(have, want) {
			t.Errorf("%s holds %d items that are not the %d of its content: %s", v.name, len(have), len(want), difference(have, want))
		}
	}
}

func difference(have, want sums) string {
	var text []string
	for name, sum := range want {
		if h, ok := have[name]; !ok {
			text = append(text, name+" is missing")
		} else if h != sum {
			text = append(text, name+" differs")
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			text = append(text, name+" is too much")
		}
	}
	return strings.Join(text, ", ")
}

func syncFS(t *testing.T, path string) {
	t.Helper()
	d, err := os.Open(path)
	must(t, err)
	defer d.Close()
	must(t, unix.Syncfs(int(d.Fd())))
}

// testContent: snapshots, restores and clones have the content of their
// moment, stand beside each other, and outlive what they were made of.
func testContent(t *testing.T, n *node, fs string) {
	r := chance(t)
	least := minBytes(fs)
	source := n.create(t, spec{name: "source", fs: fs, bytes: least})
	n.publish(t, source)
	before := n.fill(t, r, source)
	snapshot := n.snapshot(t, "snap", source)
	after := n.fill(t, r, source)
	same := n.create(t, spec{name: "same", fs: fs, source: snapshot})
	larger := n.create(t, spec{name: "larger", fs: fs, bytes: least + 64*mib, source: snapshot})
	clone := n.create(t, spec{name: "clone", fs: fs, source: source.id})
	if same.size != source.size || clone.size != source.size || larger.size < least+64*mib {
		t.Errorf("sizes: source %d, restored %d, larger %d, clone %d", source.size, same.size, larger.size, clone.size)
	}
	n.publish(t, same, larger, clone)
	n.holds(t, before, same, larger)
	n.holds(t, after, clone, source)
	n.roomy(t, source, same, larger, clone)
	n.consistent(t)

	// What is written to one is nobody else's.
	own := n.fill(t, r, clone)
	n.holds(t, after, source)
	n.holds(t, before, same)
	n.holds(t, own, clone)

	contents := map[*vol]sums{source: after, same: before, larger: before, clone: own}
	gone := []string{snapshot}
	for v := range contents {
		gone = append(gone, v.id)
	}
	r.Shuffle(len(gone), func(i, k int) { gone[i], gone[k] = gone[k], gone[i] })
	for _, id := range gone {
		for v := range contents {
			if v.id == id {
				n.unpublish(t, v)
				delete(contents, v)
			}
		}
		n.remove(t, id)
		for v, want := range contents {
			n.holds(t, want, v)
		}
	}
	n.consistent(t)
}

// roomy verifies that the bytes of published volumes are there for their user.
func (n *node) roomy(t *testing.T, volumes ...*vol) {
	t.Helper()
	if !n.real {
		return
	}
	for _, v := range volumes {
		if v.fs == "" {
			f, err := os.Open(v.target())
			must(t, err)
			size, err := f.Seek(0, io.SeekEnd)
			must(t, err)
			must(t, f.Close())
			if size != v.size {
				t.Errorf("%s has %d bytes, its device %d", v.name, v.size, size)
			}
			continue
		}
		var s unix.Statfs_t
		must(t, unix.Statfs(v.target(), &s))
		if have := int64(s.Blocks) * s.Bsize; have > v.size || have < v.size*2/3 {
			t.Errorf("%s has %d bytes, its filesystem %d", v.name, v.size, have)
		}
	}
}

// testSnapshotUnderWrite: what a program was told to be safely written before
// the snapshot began is in the snapshot.
func testSnapshotUnderWrite(t *testing.T, n *node) {
	kinds := []string{"xfs", "ext4"}
	if full() {
		kinds = append(kinds, "btrfs")
	}
	for _, fs := range kinds {
		t.Run(fs, func(t *testing.T) {
			v := n.create(t, spec{name: "written", fs: fs, bytes: minBytes(fs)})
			n.publish(t, v)
			w := startWriter(v.target())
			w.await(t, 10)
			safe := w.acknowledged()
			snapshot := n.snapshot(t, "under-write", v)
			w.await(t, len(safe)+10)
			w.stop(t)
			restored := n.create(t, spec{name: "restored", fs: fs, source: snapshot})
			n.publish(t, restored)
			for i, want := range safe {
				got, err := os.ReadFile(filepath.Join(restored.target(), fmt.Sprintf("record-%d", i)))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("record %d of %d: %d bytes of %d, %v", i, len(safe), len(got), len(want), err)
				}
			}
			n.unpublish(t, v, restored)
			n.remove(t, v.id, snapshot, restored.id)
		})
	}
}

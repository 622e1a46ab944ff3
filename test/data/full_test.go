package data

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
)

// createIn makes a volume in that VG.
func (n *node) createIn(t *testing.T, vg string, s spec) *vol {
	t.Helper()
	var others []string
	for i := range 10 {
		s.name = fmt.Sprintf("%s-%d", strings.TrimRight(s.name, "-0123456789"), i)
		v := n.create(t, s)
		if v.vg() == vg {
			n.remove(t, others...)
			return v
		}
		others = append(others, v.id)
	}
	t.Fatalf("no volume is made in %s", vg)
	return nil
}

// vg is the VG's short id.
func (v *vol) vg() string { return strings.Split(v.id, "/")[1] }

// lv is where the volume lies by LVM's names.
func (v *vol) lv() (vg, lv string) { return "lvme-" + v.vg(), strings.Split(v.id, "/")[2] }

// fillUp writes to a published block volume until its pool takes no more.
func (n *node) fillUp(t *testing.T, v *vol) error {
	t.Helper()
	if n.fake != nil {
		vg, lv := v.lv()
		if n.fake.host.LVM.Map(vg, lv, v.size) < v.size {
			return syscall.ENOSPC
		}
		return nil
	}
	f, err := os.OpenFile(v.target(), os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for at, b := int64(0), bytes.Repeat([]byte("full"), int(mib)); at+int64(len(b)) <= v.size; at += int64(len(b)) {
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// testPoolFull: a pool that is full tells its writers so, hangs nobody, keeps
// what it acknowledged, and works again as soon as something was deleted.
func testPoolFull(t *testing.T, n *node, fs string) {
	victim := n.create(t, spec{name: "victim", fs: fs, bytes: 8 * minBytes("ext4")})
	size := n.poolBytes(t, victim.vg())
	ballast := n.createIn(t, victim.vg(), spec{name: "ballast", bytes: size + size/4})
	other := n.create(t, spec{name: "other", fs: fs, bytes: 8 * minBytes("ext4")})
	if other.vg() == victim.vg() {
		t.Fatal("the class does not spread")
	}
	n.publish(t, victim, ballast, other)
	var w, elsewhere *writer
	if n.real {
		w, elsewhere = startWriter(victim.target()), startWriter(other.target())
		w.await(t, 5)
	}
	if err := n.fillUp(t, ballast); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
		t.Fatalf("the pool of %d bytes took %d: %v", size, ballast.size, err)
	}
	_, err := n.CreateVolume(t.Context(), spec{name: "clone", fs: fs, source: victim.id}.request())
	refused(t, "clone in a full pool", err, codes.ResourceExhausted, victim.vg())
	n.ails(t, victim, "PoolNearlyFull")
	created := n.create(t, spec{name: "new", bytes: 4 * mib})
	if created.vg() == victim.vg() {
		t.Error("a new volume was made in the full pool")
	}
	if n.real {
		t.Logf("the writer was told: %v", w.failed(t))
		elsewhere.await(t, len(elsewhere.acknowledged())+5)
		elsewhere.stop(t)
	}
	n.unpublish(t, ballast)
	n.remove(t, ballast.id)

	// No reboot: the volume is mounted anew, as for a new pod.
	n.unpublish(t, victim)
	n.publish(t, victim)
	if n.real {
		for i, want := range w.acknowledged() {
			got, err := os.ReadFile(filepath.Join(victim.target(), fmt.Sprintf("record-%d", i)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("record %d was acknowledged: %v", i, err)
			}
		}
		again := startWriter(victim.target())
		again.await(t, 5)
		again.stop(t)
	}
	n.healthy(t, victim)
	clone := n.create(t, spec{name: "clone", fs: fs, source: victim.id})
	n.unpublish(t, victim, other)
	n.remove(t, victim.id, other.id, clone.id, created.id)
}

// poolBytes is the size of a VG's pool.
func (n *node) poolBytes(t *testing.T, vg string) int64 {
	t.Helper()
	for _, r := range n.scan(t) {
		if lv, ok := r.LV("pool"); ok && r.Name == "lvme-"+vg {
			return lv.Size
		}
	}
	t.Fatalf("%s has no pool", vg)
	return 0
}

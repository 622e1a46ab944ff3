package volume

import (
	"errors"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/dm"
	"github.com/lvme/lvme/lvm"
)

func TestNamesThatLVMTakes(t *testing.T) {
	plainNames := []string{"pvc-0e6a1f8e-5b0c-4b7e-9c0e-2f2b7a7f3c11", "pool", "snapshot-0e6a1f8e-5b0c-4b7e-9c0e-2f2b7a7f3c11", "a", "-", ".", "..", "A.b_c"}
	hashed := []string{
		strings.Repeat("a", 61), strings.Repeat("-", 60), strings.Repeat("ü", 64), "a/b", "a b", "a,b", "a\nb", "../../etc", "x_tdata", "a+b", "+abc",
		strings.Repeat("x", 128),
	}
	for _, name := range append(plainNames, hashed...) {
		for _, lv := range []string{VolumeLV(name), snapshotLV(name)} {
			if err := lvm.ValidName("lvme-abcd1234", lv); err != nil {
				t.Errorf("%q became %q: %v", name, lv, err)
			}
			if n := len(dm.DeviceName("lvme-abcd1234", lv, "rimage_0-missing_0_0")); n > dm.MaxName {
				t.Errorf("%q became %q: %d characters for device-mapper", name, lv, n)
			}
			if k := (Key{"abcd1234", "abcd1234", lv}); len(k.String()) > maxID {
				t.Errorf("%q: id of %d bytes", name, len(k.String()))
			}
		}
	}
	for _, name := range plainNames {
		if got := VolumeLV(name); got != "v-"+name {
			t.Errorf("%q became %q", name, got)
		}
	}
	for _, name := range hashed {
		if got := VolumeLV(name); !strings.HasPrefix(got, "v-+") || len(got) != 35 {
			t.Errorf("%q became %q, not a hash", name, got)
		}
	}
}

func TestNoNameMeetsAnothersHash(t *testing.T) {
	long := strings.Repeat("a", 100)
	imitation := strings.TrimPrefix(VolumeLV(long), "v-")
	if VolumeLV(long) == VolumeLV(imitation) {
		t.Errorf("%q and %q have one LV name", long, imitation)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "ü/,;": true, "tab\t": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "bell\a": false, "c1\u0085": false,
	} {
		if err := checkName(name); (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	for _, id := range []string{"abcd1234/efgh5678/v-a", "abcd1234/efgh5678/s-+abc", "abcd1234/efgh5678/v-.."} {
		k, err := ParseKey(id)
		if err != nil || k.String() != id || k.IsSnapshot() == k.IsVolume() {
			t.Errorf("%q: %+v, %v", id, k, err)
		}
	}
	for _, id := range []string{
		"", "fake-vol-id", "abcd1234/efgh5678", "abcd1234/efgh5678/pool", "abcd1234/efgh5678/w-init", "abcd1234/efgh5678/v-",
		"ABCD1234/efgh5678/v-a", "abcd123/efgh5678/v-a", "abcd1234/../v-a", "abcd1234/efgh5678/v-a/b", "abcd1234/efgh5678/v-a b",
		"abcd1234/efgh5678/v-\n", "abcd1234/efgh5678/v-" + strings.Repeat("a", 128), "/abcd1234/efgh5678/v-a",
	} {
		if k, err := ParseKey(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %+v, %v; want ErrNotFound", id, k, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("abcd1234/efgh5678/v-a")
	f.Add("a/b/c")
	f.Fuzz(func(t *testing.T, id string) {
		k, err := ParseKey(id)
		if err != nil {
			return
		}
		if k.String() != id {
			t.Fatalf("%q became %q", id, k)
		}
		if strings.ContainsAny(k.LV, "/ \n,") || k.LV == "" || strings.HasPrefix(k.LV, "-") {
			t.Fatalf("%q holds the LV name %q", id, k.LV)
		}
	})
}

package lvm

import (
	"errors"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/dm"
)

func TestValidName(t *testing.T) {
	for _, good := range []string{"v-a", "v_b", "a.b+c", "1", "_x", "pool", "v-snapshot", "V", "lvol0", "a" + strings.Repeat("b", 90)} {
		if err := ValidName("vg", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "-a", "a b", "a/b", "a:b", "a@b", "ä", "a\x00", "snapshot", "snapshot1", "pvmove0", "x_tdata", "x_tmeta",
		"lvol0_pmspare", "x_rimage_0", "x_mlog", "x_corig", strings.Repeat("a", 128), strings.Repeat("-", 60) + "a", "a" + strings.Repeat("-", 60),
	} {
		err := ValidName("vg", bad)
		var name *NameError
		if !errors.As(err, &name) || !errors.Is(err, ErrInvalid) || name.Name != bad || name.Reason == "" {
			t.Errorf("%q: %v, want a NameError", bad, err)
		}
	}
}

// TestLongestName: every layer that LVM may put below an LV finds room.
func TestLongestName(t *testing.T) {
	for _, letter := range []string{"a", "-"} {
		name := "v"
		for ValidName("lvme-0123abcd", name+letter) == nil {
			name += letter
		}
		if n := len(dm.DeviceName("lvme-0123abcd", name)) + len("_tdata_rimage_0_extracted"); n > dm.MaxName || n < dm.MaxName-1 {
			t.Errorf("the longest name of %q has a device name of %d with all suffixes, most is %d", letter, n, dm.MaxName)
		}
	}
}

func TestValidTag(t *testing.T) {
	for _, good := range []string{"a", "lvme.store=abc", "a/b:c&d!e#f", "fresh", strings.Repeat("x", MaxTag)} {
		if err := ValidTag(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a b", "a,b", `a"b`, "@a", "-a", "ä", "a\n", "a*", "a[0]", strings.Repeat("x", MaxTag+1)} {
		if err := ValidTag(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want %v", bad, err, ErrInvalid)
		}
	}
}

func FuzzValid(f *testing.F) {
	f.Add("vg", "v-a")
	f.Add("a", "snapshot")
	f.Fuzz(func(t *testing.T, vg, name string) {
		if ValidTag(name) == nil && strings.ContainsAny(name, ", \n\"") {
			t.Errorf("tag %q would break a report", name)
		}
		if ValidVG(vg) != nil || ValidName(vg, name) != nil {
			return
		}
		if strings.HasPrefix(name, "-") || strings.ContainsAny(name, "/ \x00") || len(dm.DeviceName(vg, name)) > dm.MaxName {
			t.Errorf("%q/%q is taken", vg, name)
		}
	})
}
